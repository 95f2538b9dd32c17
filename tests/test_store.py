"""The store: what is put is there, for every process, unless it is damaged."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l.errors import StoreError
from m2l.records import Completion, FinishReason, Request, SamplingParams
from m2l.store import Store

SAMPLING = SamplingParams(
    temperature=0.7, top_k=40, top_p=0.9, min_p=0.0, repeat_penalty=1.0, repeat_last_n=0,
    dry_multiplier=0.0, dry_base=1.0, dry_allowed_length=1,
)  # fmt: skip


def request(prompt: str) -> Request:
    """A request that differs by its prompt."""
    return Request(prompt=prompt, model="m", chat_template=None, backend="b", sampling=SAMPLING, max_tokens=5)


def answer(text: str) -> Completion:
    """A completion of a text."""
    return Completion(text=text, finish_reason=FinishReason.STOP, prompt_tokens=3, completion_tokens=2)


def test_what_is_put_is_read_by_another_store(tmp_path: Path) -> None:
    """Completions survive closing, by content and not by order."""
    with Store(tmp_path / "s.sqlite") as store:
        for word in ("ein", "два", "三"):
            store.put(request(word), answer(word * 2))
    with Store(tmp_path / "s.sqlite", readonly=True) as store:
        found = store.get([request("三"), request("vier"), request("ein")])
        assert {key: value.text for key, value in found.items()} == {
            request("三").key: "三三",
            request("ein").key: "einein",
        }
        assert len(store) == 3


def test_the_first_writer_wins(tmp_path: Path) -> None:
    """A second completion of the same request is dropped, and its writer is given the first."""
    with Store(tmp_path / "s.sqlite") as store:
        assert store.put(request("a"), answer("first")).text == "first"
        assert store.put(request("a"), answer("second")).text == "first"


@given(st.binary(min_size=1, max_size=1), st.integers(min_value=0))
def test_any_flipped_byte_of_an_entry_is_noticed(byte: bytes, place: int) -> None:
    """A completion or request that is not what was put is as good as missing."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        with Store(path) as store:
            store.put(request("a"), answer("one"))
            store.put(request("b"), answer("two"))
        connection = sqlite3.connect(path)
        column = ("request", "completion")[place % 2]
        value = bytearray(
            connection.execute(f"SELECT {column} FROM completions WHERE key=?", [request("a").key]).fetchone()[0]
        )
        changed = value[place % len(value)] != byte[0]
        value[place % len(value)] = byte[0]
        connection.execute(f"UPDATE completions SET {column}=? WHERE key=?", [bytes(value), request("a").key])
        connection.commit()
        connection.close()
        with Store(path) as store:
            found = store.get([request("a"), request("b")])
            assert found[request("b").key].text == "two"
            assert (request("a").key in found) == (not changed)
            assert store.put(request("a"), answer("again")).text == ("again" if changed else "one")


def test_a_collision_of_keys_is_no_hit(tmp_path: Path) -> None:
    """The whole request is compared: an entry of another request under the same key is not used."""
    with Store(tmp_path / "s.sqlite") as store:
        store.put(request("a"), answer("of a"))
    connection = sqlite3.connect(tmp_path / "s.sqlite")
    connection.execute("UPDATE completions SET key=?", [request("b").key])
    connection.commit()
    connection.close()
    with Store(tmp_path / "s.sqlite") as store:
        assert store.get([request("b")]) == {}


def _write(path: Path, worker: int) -> None:
    with Store(path) as store:
        for number in range(40):
            store.put(request(str(number)), answer(f"{number} by {worker}"))


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    """Four processes put the same requests; each is there once, and all read the same."""
    path = tmp_path / "s.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with Store(path, readonly=True) as store:
        assert len(store) == 40
        found = store.get([request(str(number)) for number in range(40)])
        assert all(found[request(str(n)).key].text.startswith(f"{n} by ") for n in range(40))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The path, the reason and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/s\.sqlite: .*\. Check that the folder can be written\.$"):
        Store(tmp_path / "file" / "s.sqlite")


def test_a_store_that_is_not_there_has_nothing_and_is_not_made(tmp_path: Path) -> None:
    """Reading makes no file."""
    with Store(tmp_path / "s.sqlite", readonly=True) as store:
        assert store.get([request("a")]) == {}
        assert store.pace("m", "b") is None
    assert list(tmp_path.iterdir()) == []


def test_pace_is_what_past_runs_took(tmp_path: Path) -> None:
    """Tokens and seconds a call, of the runs with the same model and backend."""
    with Store(tmp_path / "s.sqlite") as store:
        store.record_run("m", "b", calls=10, tokens=300, seconds=5.0)
        store.record_run("m", "b", calls=30, tokens=100, seconds=3.0)
        store.record_run("other", "b", calls=1, tokens=1, seconds=900.0)
        assert store.pace("m", "b") == (10.0, 0.2)
