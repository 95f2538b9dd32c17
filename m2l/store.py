"""The content-addressed store of completions: one SQLite file, one entry per model call.

An entry is (key, request, completion, checksum). The whole request is kept beside the
completion and compared on every hit, because xxh3 is no cryptographic hash; the checksum
covers both, so that a flipped bit loses that entry and no other. Each `put` is one
transaction in write-ahead mode: a killed process loses nothing that it had put.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import msgspec

from m2l.digest import digest_bytes
from m2l.errors import StoreError
from m2l.records import Completion, FinishReason, Request

SCHEMA_VERSION = 1
_BATCH = 500

_CREATE = (
    """
    CREATE TABLE IF NOT EXISTS completions (
        key TEXT PRIMARY KEY, request BLOB NOT NULL, completion BLOB NOT NULL, checksum TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS runs (
        model TEXT NOT NULL, backend TEXT NOT NULL,
        calls INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL
    )
    """,
)


class Store:
    """Completions by request; safe for several processes at once.

    Raises StoreError if the file cannot be opened, is not a store, was written by
    another version of it, or the disk is full.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if readonly and not path.exists():
            return
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                connection.close()
                raise StoreError(
                    f"{path}: written with store version {version}, this m2l reads {SCHEMA_VERSION}. "
                    f"Use the m2l that wrote it, or move the file away to begin anew."
                )
            if not readonly:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                for statement in _CREATE:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._connection = connection

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, requests: Sequence[Request]) -> dict[str, Completion]:
        """Return the completions that the store has, by the request's key.

        An entry whose checksum or request does not fit is passed over, as if it were missing.
        """
        wanted = {request.key: request for request in requests}
        keys = list(wanted)
        found: dict[str, Completion] = {}
        for start in range(0, len(keys), _BATCH):
            for key, request, completion, checksum in self._select(keys[start : start + _BATCH]):
                if checksum == _checksum(request, completion) and request == wanted[key].canonical:
                    found[key] = msgspec.json.decode(completion, type=Completion)
        return found

    def put(self, request: Request, completion: Completion) -> Completion:
        """Keep a completion and return the one that stands in the store.

        The first writer wins; only a damaged entry or one that ended in an error is replaced.
        """
        value = msgspec.json.encode(completion, order="sorted")
        row = (request.key, request.canonical, value, _checksum(request.canonical, value))
        with self._errors():
            if self._connection is None:
                raise StoreError(f"{self.path}: closed, or opened to be read. Open it again.")
            self._connection.execute("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?)", row)
        standing = self.get([request]).get(request.key)
        if standing is None or standing.finish_reason is FinishReason.ERROR:
            with self._errors():
                self._connection.execute("INSERT OR REPLACE INTO completions VALUES (?, ?, ?, ?)", row)
            return completion
        return standing

    def requests(self, keys: Iterable[str]) -> dict[str, tuple[Request, Completion]]:
        """Return the requests and completions of some keys, to show a row's way."""
        found = {}
        for key, request, completion, checksum in self._select(list(keys)):
            if checksum == _checksum(request, completion):
                asked = msgspec.json.decode(request, type=_Kept).request
                found[key] = (asked, msgspec.json.decode(completion, type=Completion))
        return found

    def record_run(self, model: str, backend: str, *, calls: int, tokens: int, seconds: float) -> None:
        """Remember what some calls took on this machine, for the estimates of later plans."""
        with self._errors():
            if self._connection is not None:
                self._connection.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (model, backend, calls, tokens, seconds)
                )

    def pace(self, model: str, backend: str) -> tuple[float, float] | None:
        """Return (tokens per call, seconds per call) of the last hundred runs, or None before the first."""
        if self._connection is None:
            return None
        query = (
            "SELECT sum(calls), sum(tokens), sum(seconds) FROM "
            "(SELECT * FROM runs WHERE model = ? AND backend = ? ORDER BY rowid DESC LIMIT 100)"
        )
        with self._errors():
            calls, tokens, seconds = self._connection.execute(query, (model, backend)).fetchone()
        return (tokens / calls, seconds / calls) if calls else None

    def __len__(self) -> int:
        if self._connection is None:
            return 0
        with self._errors():
            return int(self._connection.execute("SELECT count(*) FROM completions").fetchone()[0])

    def _select(self, keys: list[str]) -> Iterator[tuple[str, bytes, bytes, str]]:
        if self._connection is None or not keys:
            return iter(())
        marks = ",".join("?" * len(keys))
        with self._errors():
            rows = self._connection.execute(
                f"SELECT key, request, completion, checksum FROM completions WHERE key IN ({marks})", keys
            ).fetchall()
        return iter(rows)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as err:
            if "full" in str(err) or "disk I/O" in str(err):
                raise StoreError(
                    f"{self.path}: {err}; all completions up to here are kept. "
                    f"Free some space and run the same command again."
                ) from err
            raise StoreError(f"{self.path}: {err}. See that it can be written and no other program holds it.") from err
        except sqlite3.DatabaseError as err:
            raise StoreError(f"{self.path}: {err}. Move the file away; the next run makes a new store.") from err
        except OSError as err:
            raise StoreError(f"{self.path}: {err.strerror}. Check that the folder can be written.") from err


class _Kept(msgspec.Struct):
    request: Request


def _checksum(request: bytes, completion: bytes) -> str:
    return digest_bytes(request + b"\0" + completion)
