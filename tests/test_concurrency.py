"""Several builds at once: each thing is asked for once, whoever asks, and a dead process holds up nobody."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

from m2l import build, slices
from m2l.ledger import LEASE_SECONDS, Ledger
from m2l.process import Owner
from m2l.store import Store
from tests.helpers import Slow, compose, tree

DEAD = Owner("elsewhere", 1, "5")


def _build(root: Path, number: int) -> None:
    os.chdir(root)
    piece = slices.read(root / slices.FOLDER, "eng_Latn")
    build.build(root, piece, tables=Path(f"tables{number}"), engine=Slow())


def test_eight_processes_ask_for_each_thing_once_and_write_the_same(project: Path) -> None:
    """Eight builds of one slice over one store, each with tables of its own: every key once, equal bytes."""
    slices.write(compose(project), project / slices.FOLDER)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build, args=(project, number)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(180)
        assert worker.exitcode == 0
    asked = Counter((project / "calls.txt").read_text(encoding="ascii").split())
    assert len(asked) == 138
    assert set(asked.values()) == {1}
    trees = [tree(project / f"tables{number}") for number in range(8)]
    assert all(one == trees[0] for one in trees)
    with Store(project / build.STORE, readonly=True) as store:
        assert store.rows("SELECT count(*) FROM leases") == [(0,)]


def test_who_comes_second_gets_what_is_free(tmp_path: Path) -> None:
    """A key is held by one process; others get the rest, and get it once it was released."""
    with Store(tmp_path / "s.sqlite") as store:
        ledger, me, other = Ledger(store), Owner.me(), Owner(Owner.me().host, os.getppid(), _began(os.getppid()))
        assert ledger.claim(["a", "b"], me) == {"a", "b"}
        assert ledger.claim(["b", "c"], other) == {"c"}
        assert ledger.claim(["a", "b"], me) == {"a", "b"}
        ledger.release(["b"], me)
        assert ledger.claim(["a", "b"], other) == {"b"}


def test_a_lease_of_a_process_that_has_ended_holds_no_longer(tmp_path: Path) -> None:
    """After kill -9 nobody waits: the next claim takes over at once."""
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_claim_and_wait, args=(tmp_path / "s.sqlite",))
    worker.start()
    with Store(tmp_path / "s.sqlite") as store:
        ledger = Ledger(store)
        deadline = time.monotonic() + 60
        while not store.rows("SELECT 1 FROM leases") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ledger.claim(["a"], Owner.me()) == set()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(30)
        assert ledger.claim(["a"], Owner.me()) == {"a"}


def test_a_lease_of_another_machine_ends_with_its_time(tmp_path: Path) -> None:
    """What cannot be looked up is believed until the lease runs out."""
    with Store(tmp_path / "s.sqlite") as store:
        ledger = Ledger(store)
        assert ledger.claim(["a"], DEAD) == {"a"}
        assert ledger.claim(["a"], Owner.me()) == set()
        with store.transaction() as connection:
            connection.execute("UPDATE leases SET expires = expires - ?", [LEASE_SECONDS + 1])
        assert ledger.claim(["a"], Owner.me()) == {"a"}


def _claim_and_wait(path: Path) -> None:
    with Store(path) as store:
        Ledger(store).claim(["a"], Owner.me())
        time.sleep(60)


def _began(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
