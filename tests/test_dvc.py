"""What a person does: `dvc repro`, edits, kills, sweeps; the real dvc and the real stages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import ROOT, Edit
from tests.helpers import tree
from tests.test_docs import FILES

DVC = Path(sys.executable).parent / "dvc"
OPERATOR = "conf/operator/general_constraint.yaml"
SLOW = (
    "languages: [eng_Latn]\n"
    "overrides: [recipe=starter, recipe.repairs=0, engine=fake, engine._target_=tests.helpers.Slow]\n"
)


def environment() -> dict[str, str]:
    """The environment of the stages: this Python first on the path, and the tests importable."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def dvc(project: Path, *arguments: str) -> str:
    """Run dvc and return what it and the stages said; it must succeed."""
    done = subprocess.run(
        [DVC, *arguments], cwd=project, capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(output: str) -> list[str]:
    """Return the names of the stages that ran."""
    return re.findall(r"^Running stage '(.+)':$", output, flags=re.MULTILINE)


@pytest.fixture
def repository(project: Path) -> Path:
    """The project as a git repository with English and Hindi, built once."""
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / "params.yaml").write_text(
        "languages: [eng_Latn, hin_Deva]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    assert ran(dvc(project, "repro")) == ["compose", "build@eng_Latn", "build@hin_Deva", "assemble"]
    return project


def test_stages_run_only_for_what_changed(repository: Path, edit: Edit) -> None:
    """Nothing, a touch and a comment run no build; a Hindi prompt runs Hindi alone; a revert restores the bytes."""
    first = tree(repository / "data" / "dist")
    assert ran(dvc(repository, "repro")) == []
    for path in (repository / "conf").rglob("*.yaml"):
        path.touch()
    assert ran(dvc(repository, "repro")) == []
    edit(OPERATOR, "family: constraint", "family: constraint # a comment")
    assert ran(dvc(repository, "repro")) == ["compose"]
    text = (repository / OPERATOR).read_text(encoding="utf-8")
    hindi = re.search(r"hin_Deva: >-\n((?:    .*\n)+)", text)
    assert hindi is not None
    edit(OPERATOR, hindi[1], hindi[1] + "    धन्यवाद।\n")
    output = dvc(repository, "repro")
    assert ran(output) == ["compose", "build@hin_Deva", "assemble"]
    assert re.search(r"^hin_Deva: [1-9]\d* calls made, [1-9]\d* reused", output, flags=re.MULTILINE)
    assert tree(repository / "data" / "dist") != first
    (repository / OPERATOR).write_text(text, encoding="utf-8")
    output = dvc(repository, "repro")
    assert "hin_Deva: 0 calls made" in output
    assert tree(repository / "data" / "dist") == first


def test_dvc_shows_and_compares_what_was_counted(repository: Path, edit: Edit, tmp_path: Path) -> None:
    """`dvc metrics` and `dvc plots` read what `assemble` wrote, now and at the commit before a filter's edit."""
    subprocess.run(["git", "add", "--all"], cwd=repository, check=True)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "first"], cwd=repository, check=True)
    edit("conf/filter/length.yaml", "min_assistant_words: 2", "min_assistant_words: 19")
    assert ran(dvc(repository, "repro")) == ["compose", "build@eng_Latn", "build@hin_Deva", "assemble"]
    file = "data/dist/metrics.json"
    shown = json.loads(dvc(repository, "metrics", "show", "--json"))[""]["data"][file]["data"]
    assert shown == json.loads((repository / file).read_text(encoding="utf-8"))
    moved = json.loads(dvc(repository, "metrics", "diff", "--json"))[file]
    assert moved["kept"]["diff"] < 0 < moved["rejected"]["diff"] == -moved["kept"]["diff"]
    assert "attempted" not in moved
    drawn = json.loads(dvc(repository, "plots", "diff", "--json", "--out", str(tmp_path / "plots")))
    names = ["language", "task", "operator", "reason"]
    assert not drawn.get("errors")
    assert len(drawn["data"]) == 5
    text = json.dumps(drawn["data"])
    assert all(f'"{name}"' in text for name in names)
    assert "hin_Deva" in text
    assert "general_deepening" in text


def test_a_language_that_is_dropped_leaves_the_dataset(repository: Path) -> None:
    """Taking a language out of params.yaml takes its rows out, and runs no other language."""
    (repository / "params.yaml").write_text(
        "languages: [eng_Latn]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    assert ran(dvc(repository, "repro")) == ["compose", "assemble"]
    full = pl.read_parquet(repository / "data" / "dist" / "full_data" / "train.parquet")
    assert set(full["language"]) == {"eng_Latn"}


def test_a_language_that_is_added_runs_its_stage_alone(repository: Path) -> None:
    """One YAML, one seed file and its name in params.yaml: its rows appear, and no other language is touched."""
    before = _tables(repository)
    for name, content in FILES.items():
        if "cat_Latn" in name:
            (repository / name).write_text(content, encoding="utf-8")
    params = repository / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("hin_Deva]", "hin_Deva, cat_Latn]"), encoding="utf-8")
    assert ran(dvc(repository, "repro")) == ["compose", "build@cat_Latn", "assemble"]
    after = _tables(repository)
    assert {name: digest for name, digest in after.items() if not name.startswith("cat_Latn")} == before
    full = pl.read_parquet(repository / "data/dist/full_data/train.parquet")
    folder = repository / "data/tables/cat_Latn"
    kept, rejected = (
        pl.concat([pl.read_parquet(folder / f"{name}.parquet").select("row_id", "kind") for name in names])
        for names in (("seed", "evolved", "conversation"), ("rejected",))
    )
    assert kept.height + rejected.height == 4 + 12 + 12  # seeds, each by 3 operators, each of those a conversation
    published = set(full.filter(pl.col("language") == "cat_Latn")["row_id"])
    assert published == set(kept["row_id"]) >= set(kept.filter(pl.col("kind") == "seed")["row_id"])
    assert len(published) >= 4


def _tables(project: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(project / "data/tables").items() if name.endswith(".parquet")}


def test_kill_9_in_the_middle_of_a_build_loses_nothing(project: Path) -> None:
    """A build killed at some point, three times, ends in the dataset of a build that was left alone."""
    (project / "params.yaml").write_text(SLOW)
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    for calls in (5, 40, 90):
        build = subprocess.Popen(
            [DVC, "repro"], cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_calls(project, calls)
        build.send_signal(signal.SIGKILL)
        build.wait()
        _wait_until_quiet(project)
    output = dvc(project, "repro")
    assert "23 of 24" in output or re.search(r"\d+ of 24 conversations kept", output)
    asked = (project / "calls.txt").read_text(encoding="ascii").split()
    assert len(set(asked)) == 138
    assert len(asked) <= 138 + 3
    killed = tree(project / "data" / "dist")
    ids = pl.read_parquet(project / "data" / "dist" / "full_data" / "train.parquet")["row_id"]
    assert ids.n_unique() == len(ids)
    (project / "cache" / "store.sqlite").unlink()
    dvc(project, "repro", "--force")
    assert tree(project / "data" / "dist") == killed


def _wait_for_calls(project: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = project / "calls.txt"
        if path.is_file() and len(path.read_text(encoding="ascii").split()) >= number:
            return
        time.sleep(0.02)
    raise AssertionError("the build made no calls")


def _wait_until_quiet(project: Path) -> None:
    """Nobody may write once dvc is dead: the stage dies with it."""
    time.sleep(0.3)
    before = (project / "calls.txt").read_bytes()
    time.sleep(0.3)
    assert (project / "calls.txt").read_bytes() == before
