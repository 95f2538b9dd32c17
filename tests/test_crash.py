"""Two hundred builds killed with SIGKILL, at random: nothing lost, nothing doubled, the same bytes in the end.

The points are drawn from a fixed rng seed, over the whole of a build: composing, generating,
writing tables, assembling. A killed build may have asked for one text that was not yet
in the store, and for no more.
"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from m2l import build, slices
from m2l.store import Store
from tests.command import m2l
from tests.helpers import Brief, compose, run, tree
from tests.test_dvc import DVC, SLOW, dvc, environment

PROCESSES, DVCS = 140, 30
PARAMS = SLOW.replace("Slow", "Brief")


def _build(root: Path) -> None:
    os.chdir(root)
    build.build(root, slices.read(root / slices.FOLDER, "eng_Latn"), engine=Brief())


def _calls(project: Path) -> Counter[str]:
    path = project / "calls.txt"
    return Counter(path.read_text(encoding="ascii").split("\n")[:-1]) if path.is_file() else Counter()


def _intact(project: Path, kills: int) -> None:
    """What was asked for is in the store, each thing once but for the call that a kill cut off, and all is sound."""
    asked = _calls(project)
    with Store(project / build.STORE) as store:
        assert not list(store.damage())
        assert len(asked) - len(store) <= 1
    assert asked.total() - len(asked) <= kills


def test_processes_killed_at_random(project: Path) -> None:
    """The process that builds is killed, again and again; whenever it comes to its end, the tables are right."""
    run(project)
    expected = tree(project / build.TABLES)
    shutil.rmtree(project / build.TABLES)
    (project / build.STORE).unlink()
    slices.write(compose(project), project / slices.FOLDER)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_crash"])
    rng = random.Random(20261124)
    kills = since = whole = 0
    while kills < PROCESSES:
        worker = context.Process(target=_build, args=(project,))
        worker.start()
        worker.join(rng.uniform(0.01, 0.6))
        if worker.is_alive():
            worker.kill()  # unlike os.kill, it does not mind that the process has ended meanwhile
            kills, since = kills + 1, since + 1
        worker.join()
        _intact(project, since)
        if worker.exitcode == 0:
            assert tree(project / build.TABLES) == expected
            for path in (project / build.STORE, project / "calls.txt"):
                path.unlink()
            shutil.rmtree(project / build.TABLES)
            since, whole = 0, whole + 1
    worker = context.Process(target=_build, args=(project,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert tree(project / build.TABLES) == expected


@pytest.mark.parametrize("both", [False, True], ids=["dvc", "dvc and its stage"])
def test_dvc_killed_at_random(both: bool, project: Path) -> None:
    """DVC is killed, alone or with the stage that it runs; `dvc repro` ends in the bytes of a build left alone."""
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / "params.yaml").write_text(PARAMS)
    dvc(project, "repro")
    expected = tree(project / "data/dist") | tree(project / build.TABLES)
    _begin_anew(project)
    rng = random.Random(int(both))
    kills = since = 0
    while kills < DVCS:
        repro = subprocess.Popen(
            [DVC, "repro"], cwd=project, env=environment(), text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            _, said = repro.communicate(timeout=rng.uniform(0.3, 6))
        except subprocess.TimeoutExpired:
            (os.killpg if both else os.kill)(repro.pid, signal.SIGKILL)
            repro.communicate()
            kills, since = kills + 1, since + 1
            time.sleep(0.05)  # the stage dies with its parent
            if (project / build.STORE).is_file():
                _intact(project, since)
        else:
            assert repro.returncode == 0 or m2l(project, "verify", "--repair").returncode == 0, said
            if repro.returncode == 0:
                assert tree(project / "data/dist") | tree(project / build.TABLES) == expected
                _begin_anew(project)
                since = 0
    m2l(project, "verify", "--repair")  # a kill may have torn DVC's own lock
    dvc(project, "repro")
    _intact(project, since)
    assert tree(project / "data/dist") | tree(project / build.TABLES) == expected
    ids = pl.read_parquet(project / "data/dist/full_data/train.parquet")["row_id"]
    assert ids.n_unique() == len(ids)


def _begin_anew(project: Path) -> None:
    for path in (project / build.STORE, project / "dvc.lock", project / "calls.txt"):
        path.unlink()
    for folder in (build.TABLES, build.DIST, slices.FOLDER, Path("cache/dvc")):
        shutil.rmtree(project / folder)
