"""The content-addressed store of completions: one SQLite file, one entry per model call.

An entry is (key, request, completion, checksum). The whole request is kept beside the
completion and compared on every hit, because xxh3 is no cryptographic hash; the checksum
covers both, so that a flipped bit loses that entry and no other. Each `put` is one
transaction in write-ahead mode: a killed process loses nothing that it had put.

The same file holds what `ledger` writes of builds, and runs, for the estimates of plans.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from m2l.digest import digest_bytes
from m2l.errors import StoreError
from m2l.records import Completion, FinishReason, Request

SCHEMA_VERSION = 2
BATCH = 500

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
    "CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS roots (slice TEXT PRIMARY KEY, scope TEXT NOT NULL, keys BLOB NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS builds (
        id INTEGER PRIMARY KEY, language TEXT NOT NULL, slice TEXT NOT NULL, content BLOB NOT NULL,
        reason TEXT NOT NULL, leaves TEXT NOT NULL
    )
    """,
    "CREATE TABLE IF NOT EXISTS made (key TEXT PRIMARY KEY, build INTEGER NOT NULL) WITHOUT ROWID",
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
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                connection.close()
                raise StoreError(
                    f"{path}: written with store version {version}, this m2l reads {SCHEMA_VERSION}. "
                    f"Use the m2l that wrote it, or move the file away to begin anew."
                )
            if 0 < version < SCHEMA_VERSION and readonly:
                connection.close()
                raise StoreError(
                    f"{path}: written with store version {version}, this m2l reads {SCHEMA_VERSION}. "
                    f"Run `m2l store upgrade`, which keeps every completion."
                )
            if not readonly:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                _upgrade(connection, version)
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
        for start in range(0, len(keys), BATCH):
            for key, request, completion, checksum in self._select(keys[start : start + BATCH]):
                if checksum == _checksum(request, completion) and request == wanted[key].canonical:
                    found[key] = msgspec.json.decode(completion, type=Completion)
        return found

    def put(self, request: Request, completion: Completion) -> Completion:
        """Keep a completion and return the one that stands in the store.

        The first writer wins; only a damaged entry or one that ended in an error is replaced.
        """
        value = msgspec.json.encode(completion, order="sorted")
        row = (request.key, request.canonical, value, _checksum(request.canonical, value))
        with self.errors():
            self._writable().execute("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?)", row)
        standing = self.get([request]).get(request.key)
        if standing is None or standing.finish_reason is FinishReason.ERROR:
            with self.errors():
                self._writable().execute("INSERT OR REPLACE INTO completions VALUES (?, ?, ?, ?)", row)
            return completion
        return standing

    def entries(self) -> Iterator[tuple[str, bytes, bytes, str]]:
        """Yield every entry as it stands, damaged or not, by key."""
        if self._connection is None:
            return
        last = ""
        while True:
            with self.errors():
                rows = self._connection.execute(
                    "SELECT key, request, completion, checksum FROM completions WHERE key > ? ORDER BY key LIMIT ?",
                    (last, BATCH),
                ).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]

    def drop(self, keys: Iterable[str]) -> None:
        """Forget entries."""
        with self.errors(), self.transaction() as connection:
            listed = [(key,) for key in keys]
            connection.executemany("DELETE FROM completions WHERE key = ?", listed)
            connection.executemany("DELETE FROM made WHERE key = ?", listed)

    def shrink(self) -> None:
        """Give the space of forgotten entries back to the file system."""
        with self.errors():
            self._writable().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writable().execute("VACUUM")

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
        with self.errors():
            self._writable().execute(
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
        with self.errors():
            calls, tokens, seconds = self._connection.execute(query, (model, backend)).fetchone()
        return (tokens / calls, seconds / calls) if calls else None

    def __len__(self) -> int:
        if self._connection is None:
            return 0
        with self.errors():
            return int(self._connection.execute("SELECT count(*) FROM completions").fetchone()[0])

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds; nothing in a store that is not there."""
        if self._connection is None:
            return []
        with self.errors():
            return self._connection.execute(query, values).fetchall()

    def _select(self, keys: list[str]) -> Iterator[tuple[str, bytes, bytes, str]]:
        if self._connection is None or not keys:
            return iter(())
        marks = ",".join("?" * len(keys))
        with self.errors():
            rows = self._connection.execute(
                f"SELECT key, request, completion, checksum FROM completions WHERE key IN ({marks})", keys
            ).fetchall()
        return iter(rows)

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path}: closed, or opened to be read. Open it again.")
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all that happens inside, or nothing of it; raises StoreError if the store was opened to be read."""
        connection = self._writable()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise inside into a StoreError of one line."""
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


def sound(key: str, request: bytes, completion: bytes, checksum: str) -> bool:
    """Say whether an entry is what was put: its key is its request's, and the checksum that of both."""
    return key == digest_bytes(request) and checksum == _checksum(request, completion)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Make the tables, and bring entries of an older version to the keys of this one; all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _CREATE:
            connection.execute(statement)
        if version == 1:
            _rekey(connection)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _rekey(connection: sqlite3.Connection) -> None:
    """Version 1 keyed requests without `attempt`, of which all were the first."""
    rows = connection.execute("SELECT key, request, completion, checksum FROM completions").fetchall()
    connection.execute("DELETE FROM completions")
    for key, old, completion, checksum in rows:
        if sound(key, old, completion, checksum):
            request = msgspec.json.decode(old, type=_Kept).request
            row = (request.key, request.canonical, completion, _checksum(request.canonical, completion))
            connection.execute("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?)", row)


def _checksum(request: bytes, completion: bytes) -> str:
    return digest_bytes(request + b"\0" + completion)
