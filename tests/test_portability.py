"""Where and how a build runs changes nothing: path, HOME, locale, threads, hash seed, order of keys and of files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from m2l import build, slices
from tests.conftest import ROOT, copy_project
from tests.helpers import tree

PARAMS = "languages: [hin_Deva, eng_Latn]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
ELSEWHERE = {
    "HOME": "/nonexistent",
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Asia/Kathmandu",
    "PYTHONHASHSEED": "4711",
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
}


def stages(root: Path, environment: dict[str, str]) -> str:
    """Run every stage as DVC would, and return what the builds said."""
    said = ""
    for stage in (["compose"], ["build", "eng_Latn"], ["build", "hin_Deva"], ["assemble"]):
        done = subprocess.run(
            [sys.executable, "-m", "m2l", *stage],
            cwd=root, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said += done.stdout
    return said


def results(root: Path) -> dict[str, str]:
    """Return the digests of all that a build leaves, but for the store."""
    return tree(root / slices.FOLDER) | tree(root / build.TABLES) | tree(root / build.DIST)


@pytest.fixture
def built(project: Path) -> Path:
    """The project, built here and as the tests run."""
    (project / "params.yaml").write_text(PARAMS)
    stages(project, dict(os.environ) | {"PYTHONHASHSEED": "1"})
    return project


def test_another_environment_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """Another path, HOME, locale, time zone, hash seed and number of threads: slices, tables and dataset are equal."""
    other = tmp_path / "ein anderer Pfad" / "ಮನೆ"
    other.parent.mkdir()
    copy_project(other)
    (other / "params.yaml").write_text(PARAMS)
    stages(other, {"PATH": os.environ["PATH"], **ELSEWHERE})
    assert results(other) == results(built)


def test_a_clone_that_was_moved_makes_no_call(built: Path, tmp_path: Path) -> None:
    """Store and all under another path: every text is reused, and the bytes are the same."""
    before = results(built)
    moved = tmp_path / "moved"
    shutil.move(built, moved)
    shutil.rmtree(moved / build.TABLES)
    said = stages(moved, {"PATH": os.environ["PATH"], **ELSEWHERE})
    assert said.count(": 0 calls made, ") == 2
    assert results(moved) == before


def test_the_order_of_keys_and_of_files_changes_nothing(built: Path, tmp_path: Path) -> None:
    """Every mapping of every declaration turned round, and files made in another order: the same slices and rows."""
    other = tmp_path / "other"
    copy_project(other)
    (other / "params.yaml").write_text(PARAMS.replace("[hin_Deva, eng_Latn]", "[eng_Latn, hin_Deva]"))
    for path in sorted((other / "conf").rglob("*.yaml"), reverse=True):
        text = path.read_text(encoding="utf-8")
        path.unlink()
        path.write_text(_turned(text) if path.parent.name in TURNED else text, encoding="utf-8")
    stages(other, dict(os.environ))
    assert results(other) == results(built)


TURNED = ("language", "task", "operator", "variation")


def _turned(text: str) -> str:
    """Return a YAML file with its header, and the keys of every mapping but a check's in the opposite order."""
    header = text.splitlines()[0]
    return f"{header}\n{yaml.safe_dump(_reversed(yaml.safe_load(text)), allow_unicode=True, sort_keys=False)}"


def _reversed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _reversed(item) for key, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value
