"""What the store's file holds: its tables, the checksum of each row, and how older versions are brought up.

Every row says by a checksum that it is what was put, so that a flipped bit is seen
wherever it falls, and a row can be known for sound without the tree that leads to it.
Leases have none: they end by themselves.
"""

import sqlite3
from collections.abc import Sequence

import msgspec
import xxhash

from m2l.digest import canonical, digest_bytes
from m2l.errors import DamagedStoreError, StoreError
from m2l.records import Request

VERSION = 3
_MARK = 0x6D326C00
"""`m2l` and the version: the second place that says it, so that a flipped bit in either is no other version."""

CREATE = {
    "completions": "CREATE TABLE completions (key TEXT PRIMARY KEY, request BLOB NOT NULL, completion BLOB NOT NULL, "
    "checksum TEXT NOT NULL) WITHOUT ROWID",
    "runs": "CREATE TABLE runs (model TEXT NOT NULL, backend TEXT NOT NULL, calls INTEGER NOT NULL, "
    "tokens INTEGER NOT NULL, seconds REAL NOT NULL, checksum INTEGER NOT NULL)",
    "leases": "CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL)",
    "roots": "CREATE TABLE roots (slice TEXT PRIMARY KEY, scope TEXT NOT NULL, keys BLOB NOT NULL, "
    "checksum INTEGER NOT NULL) WITHOUT ROWID",
    "builds": "CREATE TABLE builds (id INTEGER PRIMARY KEY, language TEXT NOT NULL, slice TEXT NOT NULL, "
    "content BLOB NOT NULL, reason TEXT NOT NULL, leaves TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "made": "CREATE TABLE made (key TEXT PRIMARY KEY, build INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
}
GUARDED = {"runs": 5, "roots": 3, "builds": 6, "made": 2}
"""Tables whose rows end with a checksum over the columns before it, and how many those are."""


class Kept(msgspec.Struct):
    """The stored form of a request, of any version."""

    request: Request


def checksum(request: bytes, completion: bytes) -> str:
    """Return the checksum of an entry."""
    return digest_bytes(request + b"\0" + completion)


def sound(key: object, request: object, completion: object, check: object) -> bool:
    """Say whether an entry is what was put: its key is its request's, and the checksum that of both."""
    return (
        isinstance(request, bytes)
        and isinstance(completion, bytes)
        and key == digest_bytes(request)
        and check == checksum(request, completion)
    )


def guard(table: str, values: Sequence[object]) -> int:
    """Return the checksum of a row of a guarded table, as a signed 64-bit integer."""
    return xxhash.xxh3_64_intdigest(canonical([table, *values])) - 2**63


def insert(connection: sqlite3.Connection, table: str, values: Sequence[object]) -> None:
    """Put a row into a guarded table, in place of one with the same key."""
    marks = ",".join("?" * (len(values) + 1))
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", [*values, guard(table, values)])


def row_sound(table: str, row: Sequence[object]) -> bool:
    """Say whether a row of any table, its checksum last, is what was put."""
    if table == "completions":
        return len(row) == 4 and sound(*row)
    return len(row) == GUARDED[table] + 1 and row[-1] == guard(table, row[:-1])


def version(connection: sqlite3.Connection, path: object) -> int:
    """Return the version that a file was written with, 0 for a new one.

    Raises StoreError for one that is not known, DamagedStoreError if the file says two.
    """
    said = connection.execute("PRAGMA user_version").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    if mark and mark != _MARK + said:
        raise DamagedStoreError(f"{path}: damaged, its header names two versions. {REPAIR}")
    if said > VERSION:
        raise StoreError(
            f"{path}: written with store version {said}, this m2l reads {VERSION}. "
            f"Use the m2l that wrote it, or move the file away to begin anew."
        )
    return int(said)


REPAIR = "Run `m2l verify --repair`, which keeps all that can be read."


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of this version in an empty file."""
    for statement in CREATE.values():
        connection.execute(statement)
    _sign(connection)


def upgrade(connection: sqlite3.Connection, old: int) -> None:
    """Bring the tables of a version to this one inside a transaction; every sound completion is kept."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names & CREATE.keys()}
    for name in rows:
        connection.execute(f"DROP TABLE {name}")
    create(connection)
    for key, request, completion, check in rows.get("completions", ()):
        if sound(key, request, completion, check):
            if old == 1:  # keyed requests without `attempt`, of which all were the first
                asked = msgspec.json.decode(request, type=Kept).request
                key, request = asked.key, asked.canonical
            row = (key, request, completion, checksum(request, completion))
            connection.execute("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?)", row)
    for name in GUARDED:
        for values in rows.get(name, ()):
            insert(connection, name, values)


def _sign(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute(f"PRAGMA application_id={_MARK + VERSION}")
