"""What the store knows of builds: who is at which key, what a slice needs, and what each build changed.

Leases let several builds at once ask for each thing once. A root is the set of keys that
a rebuild from one slice walks past, so that garbage can be told. A build that made calls
or changed a slice is remembered with its reason, so that a person can ask why.
"""

import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from m2l import store_tables
from m2l.digest import canonical
from m2l.process import Owner
from m2l.store import BATCH, Store

LEASE_SECONDS = 60.0
"""How long a lease holds that its owner does not renew; one of a process that has ended holds no longer."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A build that changed something: why (`reason`, and the leaves that moved) and from which slice."""

    id: int
    language: str
    slice: str
    reason: str
    leaves: tuple[str, ...]


class Ledger:
    """Writes to and reads from a store what builds do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def claim(self, keys: Iterable[str], owner: Owner) -> set[str]:
        """Lease keys to a process and return those that it now holds; the others somebody else is at.

        A lease ends with `release`, when it is not renewed (by claiming again) for
        LEASE_SECONDS, or when its owner on this machine has ended.
        """
        wanted = list(keys)
        now = time.time()
        with self.store.errors(), self.store.transaction() as connection:
            held = connection.execute("SELECT DISTINCT owner FROM leases").fetchall()
            gone = [name for (name,) in held if not Owner.parse(name).alive()]
            connection.executemany("DELETE FROM leases WHERE owner = ?", [(name,) for name in gone])
            connection.execute("DELETE FROM leases WHERE expires < ?", [now])
            connection.executemany(
                "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET expires = excluded.expires "
                "WHERE owner = excluded.owner",
                [(key, str(owner), now + LEASE_SECONDS) for key in wanted],
            )
            mine = {key for (key,) in connection.execute("SELECT key FROM leases WHERE owner = ?", [str(owner)])}
        return mine & set(wanted)

    def release(self, keys: Iterable[str], owner: Owner) -> None:
        """Give leases back."""
        with self.store.errors(), self.store.transaction() as connection:
            connection.executemany(
                "DELETE FROM leases WHERE key = ? AND owner = ?", [(key, str(owner)) for key in keys]
            )

    def record_root(self, slice_digest: str, scope: str, keys: Mapping[str, Iterable[str]]) -> None:
        """Remember all keys, by task, that a rebuild from a slice walks past; `scope` says where its tables lie."""
        packed = zlib.compress(canonical({task: sorted(listed) for task, listed in keys.items()}))
        with self.store.errors(), self.store.transaction() as connection:
            store_tables.insert(connection, "roots", (slice_digest, scope, packed))

    def roots(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Return (scope, keys) of every slice that was ever built with this store, by its digest."""
        rows = self.store.rows("SELECT slice, scope, keys FROM roots")
        return {name: (scope, frozenset().union(*_by_task(keys).values())) for name, scope, keys in rows}

    def root(self, slice_digest: str) -> dict[str, frozenset[str]] | None:
        """Return the keys, by task, that a rebuild from a slice walks past; None if it was never built here."""
        rows = self.store.rows("SELECT keys FROM roots WHERE slice = ?", [slice_digest])
        return _by_task(rows[0][0]) if rows else None

    def record_build(
        self,
        language: str,
        slice_digest: str,
        content: bytes,
        *,
        reason: str,
        leaves: Sequence[str],
        made: Iterable[str],
    ) -> None:
        """Remember a build that changed something, the slice that it was made from, and the calls that it made."""
        with self.store.errors(), self.store.transaction() as connection:
            number = connection.execute("SELECT ifnull(max(id), 0) + 1 FROM builds").fetchone()[0]
            told = json.dumps(list(leaves), ensure_ascii=False)
            row = (number, language, slice_digest, zlib.compress(content), reason, told)
            store_tables.insert(connection, "builds", row)
            for key in made:
                store_tables.insert(connection, "made", (key, number))

    def builds(self, language: str) -> list[Build]:
        """Return the builds of a language, the first one first."""
        rows = self.store.rows(
            "SELECT id, language, slice, reason, leaves FROM builds WHERE language = ? ORDER BY id", [language]
        )
        return [
            Build(id=number, language=name, slice=digest, reason=reason, leaves=tuple(json.loads(leaves)))
            for number, name, digest, reason, leaves in rows
        ]

    def last_slice(self, language: str, slice_digest: str | None = None) -> bytes | None:
        """Return the slice of a language's last recorded build, or of the last one of a digest, as it was."""
        rows = self.store.rows(
            "SELECT content FROM builds WHERE language = ?1 AND (?2 IS NULL OR slice = ?2) ORDER BY id DESC LIMIT 1",
            [language, slice_digest],
        )
        return zlib.decompress(rows[0][0]) if rows else None

    def made_by(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the id of the build that made each key, for those that are known."""
        wanted = list(keys)
        found: dict[str, int] = {}
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            found |= dict(
                self.store.rows(f"SELECT key, build FROM made WHERE key IN ({','.join('?' * len(part))})", part)
            )
        return found

    def drop_roots(self, digests: Iterable[str]) -> None:
        """Forget which keys some slices need."""
        with self.store.errors(), self.store.transaction() as connection:
            connection.executemany("DELETE FROM roots WHERE slice = ?", [(digest,) for digest in digests])


def _by_task(packed: bytes) -> dict[str, frozenset[str]]:
    """Unpack a root; those written before tasks were told apart have one for all."""
    keys = json.loads(zlib.decompress(packed))
    return {task: frozenset(listed) for task, listed in (keys if isinstance(keys, dict) else {"": keys}).items()}
