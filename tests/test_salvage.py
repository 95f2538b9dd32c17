"""A damaged store: whichever bit flips, it is seen, and at most the row that it is in is lost."""

import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from m2l import salvage, upkeep
from m2l.errors import DamagedStoreError
from m2l.ledger import Ledger
from m2l.process import Owner
from m2l.records import Completion
from m2l.store import Store
from tests.test_store import answer, request

Content = dict[str, list[tuple[object, ...]]]
TABLES = ("completions", "runs", "roots", "builds", "made")
PARTS = 4
PAGE = 512


def small(path: Path) -> None:
    """A store of small pages with everything in it: entries that fill a page and that overflow, and a ledger."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("DROP TABLE t")
    connection.close()
    with Store(path) as store:
        asked = [request(text) for text in ("short", "ভাষা " * 40)]
        for one in asked:
            store.put(one, answer(f"answer to {one.prompt!s}"))
        store.record_run("m", "b", calls=3, tokens=30, seconds=1.5)
        ledger = Ledger(store)
        keys = [one.key for one in asked]
        ledger.record_root("5" * 32, "data/tables", {"general": keys})
        ledger.record_build("eng_Latn", "5" * 32, b"{}", reason="first_run", leaves=["a: 1 -> 2"], made=keys)
        ledger.claim(keys, Owner.me())
        ledger.release(keys, Owner.me())
        store.shrink()


def content(path: Path) -> Content:
    """All rows of a store, as SQLite reads them."""
    with Store(path, readonly=True) as store:
        return {table: sorted(store.rows(f"SELECT * FROM {table}")) for table in TABLES}


def seen(path: Path) -> bool:
    """Whether the damage of a store is noticed."""
    return bool(list(upkeep._damaged_store(path)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Content]:
    """The bytes of a small store, and its rows."""
    path = tmp_path_factory.mktemp("small") / "s.sqlite"
    small(path)
    return path.read_bytes(), content(path)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: every bit is a file that is written."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


def flips(data: bytes, part: int) -> Iterator[tuple[int, bytes]]:
    """Each bit of all bytes that a part of the tests looks at, flipped."""
    for bit in range(part, 8 * len(data), PARTS):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(flipped)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_flipped_bit_is_seen_or_changes_nothing(part: int, whole: tuple[bytes, Content], memory: Path) -> None:
    """Over all bits of a store: damage is named unless every row reads as before, and salvage loses one row at most."""
    data, rows = whole
    path = memory / "s.sqlite"
    total = sum(map(len, rows.values()))
    noticed = 0
    for bit, flipped in flips(data, part):
        path.write_bytes(flipped)
        if seen(path):
            noticed += 1
            kept = salvage.rows(path)
            lost = [row for table in TABLES for row in rows[table] if row not in kept[table]]
            invented = [row for table in TABLES for row in kept[table] if row not in rows[table]]
            assert len(lost) <= 1, f"bit {bit}: {lost}"
            assert not invented, f"bit {bit}"
        else:
            assert content(path) == rows, f"bit {bit} of byte {bit // 8} was not seen"
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert total == 7
    assert noticed > len(data) // 2


def test_what_is_whole_is_kept_and_the_rest_made_anew(tmp_path: Path) -> None:
    """A page of nonsense loses the rows on it; the others stand in a sound store, the old file beside it."""
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        for number in range(200):
            store.put(request(str(number)), answer(str(number)))
    data = bytearray(path.read_bytes())
    start = len(data) // 2 // 4096 * 4096
    data[start : start + 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(data)
    assert seen(path)
    kept = upkeep._rescue(path)
    assert 190 <= kept < 200
    assert not seen(path)
    with Store(path, readonly=True) as store:
        assert len(store) == kept
        assert all(value.text == key for key, value in _by_prompt(store).items())
    assert path.with_name("s.sqlite.damaged").read_bytes() == data


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_torn_file_gives_what_it_has(share: float, tmp_path: Path) -> None:
    """Of a file that ends too early all that is before its end is kept."""
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        for number in range(1000):
            store.put(request(str(number)), answer(str(number)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert seen(path)
    kept = upkeep._rescue(path)
    assert 1000 * share - 100 < kept < 1000
    with Store(path, readonly=True) as store:
        assert len(store) == kept


def test_a_torn_log_loses_what_was_written_last(tmp_path: Path) -> None:
    """A log that a power cut has torn, at any place, leaves a sound store with all entries but the last ones."""
    path, copy = tmp_path / "s.sqlite", tmp_path / "t" / "s.sqlite"
    copy.parent.mkdir()
    log = path.with_name("s.sqlite-wal")
    with Store(path) as store:
        for number in range(30):
            store.put(request(str(number)), answer(str(number)))
        data, logged = path.read_bytes(), log.read_bytes()
    last = 0
    for size in range(0, len(logged), 1111):
        copy.write_bytes(data)
        copy.with_name(log.name).write_bytes(logged[:size])
        with Store(copy) as torn:
            assert not list(torn.damage())
            assert set(_by_prompt(torn)) == {str(number) for number in range(len(torn))}
            assert len(torn) >= last
            last = len(torn)
    assert last >= 29


def test_a_store_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    """A build is stopped by one line that names the command, and loses nothing."""
    path = tmp_path / "s.sqlite"
    small(path)
    data = bytearray(path.read_bytes())
    data[0:16] = b"SQLite farmat 3\0"
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match=r"s\.sqlite: .*Run `m2l verify --repair`, which keeps all"):
        Store(path)
    assert upkeep._rescue(path) == 2


def _by_prompt(store: Store) -> dict[str, Completion]:
    keys = [key for key, *_ in store.entries()]
    return {str(asked.prompt): completion for asked, completion in store.requests(keys).values()}
