"""The content-addressed store of completions: one SQLite file, one entry per model call.

An entry is (key, request, completion, checksum). The whole request is kept beside the
completion and compared on every hit, because xxh3 is no cryptographic hash; the checksum
covers both, so that a flipped bit loses that entry and no other. Each `put` is one
transaction in write-ahead mode: a killed process loses nothing that it had put.

The same file holds what `ledger` writes of builds, and runs, for the estimates of plans.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from m2l import store_tables
from m2l.errors import DamagedStoreError, StoreError
from m2l.records import Completion, FinishReason, Request
from m2l.store_tables import Kept, checksum, sound

BATCH = 500


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
            connection.text_factory = lambda raw: raw.decode(errors="replace")  # a damaged text is no reason to stop
            try:
                self._open(connection, readonly=readonly)
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _open(self, connection: sqlite3.Connection, *, readonly: bool) -> None:
        version = store_tables.version(connection, self.path)
        if readonly:
            if 0 < version < store_tables.VERSION:
                raise StoreError(
                    f"{self.path}: written with store version {version}, this m2l reads {store_tables.VERSION}. "
                    f"Run `m2l store upgrade`, which keeps every completion."
                )
            return
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if version < store_tables.VERSION:
            with _all_or_nothing(connection):
                version = store_tables.version(connection, self.path)  # another process may have been faster
                if version == 0:
                    store_tables.create(connection)
                elif version < store_tables.VERSION:
                    store_tables.upgrade(connection, version)

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
            for key, request, completion, check in self._select(keys[start : start + BATCH]):
                if check == checksum(request, completion) and request == wanted[key].canonical:
                    found[key] = msgspec.json.decode(completion, type=Completion)
        return found

    def put(self, request: Request, completion: Completion) -> Completion:
        """Keep a completion and return the one that stands in the store.

        The first writer wins; only a damaged entry or one that ended in an error is replaced.
        """
        value = msgspec.json.encode(completion, order="sorted")
        row = (request.key, request.canonical, value, checksum(request.canonical, value))
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
            if not (isinstance(rows[-1][0], str) and rows[-1][0] > last):
                raise DamagedStoreError(f"{self.path}: damaged, its keys are out of order. {store_tables.REPAIR}")
            last = rows[-1][0]

    def damage(self) -> Iterator[str]:
        """Yield what is not as it was written: the keys of entries, rows of other tables, and what SQLite says."""
        if self._connection is None:
            return
        with self.errors():
            for (found,) in self._connection.execute("PRAGMA integrity_check"):
                if found != "ok":
                    yield f"{self.path.name}, {found.splitlines()[-1]}"
            made = dict(self._connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
            if made != store_tables.CREATE:
                yield f"{self.path.name}, its schema"
        for key, request, completion, check in self.entries():
            if not sound(key, request, completion, check):
                yield key
        for table in store_tables.GUARDED:
            for row in self.rows(f"SELECT * FROM {table}"):
                if not store_tables.row_sound(table, row):
                    yield f"{self.path.name}, {table} of {row[0]}"

    def restore(self, rows: Mapping[str, Iterable[Sequence[object]]]) -> None:
        """Put rows of a damaged store, whole as they are, into this one."""
        with self.errors(), self.transaction() as connection:
            for table, listed in rows.items():
                for row in listed:
                    marks = ",".join("?" * len(row))
                    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

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

    def lacks(self, keys: Iterable[str]) -> set[str]:
        """Return the keys that have no entry."""
        wanted = sorted(keys)
        return set(wanted) - {
            row[0] for start in range(0, len(wanted), BATCH) for row in self._select(wanted[start : start + BATCH])
        }

    def requests(self, keys: Iterable[str]) -> dict[str, tuple[Request, Completion]]:
        """Return the requests and completions of some keys, to show a row's way."""
        found = {}
        for key, request, completion, check in self._select(list(keys)):
            if check == checksum(request, completion):
                asked = msgspec.json.decode(request, type=Kept).request
                found[key] = (asked, msgspec.json.decode(completion, type=Completion))
        return found

    def record_run(self, model: str, backend: str, *, calls: int, tokens: int, seconds: float) -> None:
        """Remember what some calls took on this machine, for the estimates of later plans."""
        with self.errors():
            store_tables.insert(self._writable(), "runs", (model, backend, calls, tokens, seconds))

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
        with _all_or_nothing(connection):
            yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise inside into a StoreError of one line."""
        try:
            yield
        except sqlite3.OperationalError as err:
            if "no such" in str(err) or "file format" in str(err):
                raise DamagedStoreError(f"{self.path}: damaged, {err}. {store_tables.REPAIR}") from err
            if "full" in str(err) or "disk I/O" in str(err):
                raise StoreError(
                    f"{self.path}: {err}; all completions up to here are kept. "
                    f"Free some space and run the same command again."
                ) from err
            raise StoreError(f"{self.path}: {err}. See that it can be written and no other program holds it.") from err
        except sqlite3.DatabaseError as err:
            raise DamagedStoreError(f"{self.path}: {err}. {store_tables.REPAIR}") from err
        except UnicodeDecodeError as err:
            raise DamagedStoreError(f"{self.path}: damaged, its schema is no text. {store_tables.REPAIR}") from err
        except OSError as err:
            raise StoreError(f"{self.path}: {err.strerror}. Check that the folder can be written.") from err


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
