"""A project to build in: a copy of the declarations, without a model."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

# Tests share the cores: llama.cpp's threads that spin while they wait for each other made it three times slower there.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).parents[1]
PARTS = ("m2l", "conf", "params.yaml", "dvc.yaml", ".dvcignore", "data/reference", "data/seeds")

Edit = Callable[[str, str, str], None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of its own, the working directory, that builds English on the fake engine."""
    root = tmp_path / "project"
    copy_project(root)
    (root / "params.yaml").write_text(
        "languages: [eng_Latn]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def edit(project: Path) -> Edit:
    """Replace a text in a file of the project; it must be there."""

    def change(file: str, old: str, new: str) -> None:
        path = project / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


def copy_project(root: Path) -> None:
    """Copy the declarations of this repository to `root`, with an empty cache."""
    for part in PARTS:
        source, target = ROOT / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    (root / "cache" / "models").mkdir(parents=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--approve` rewrites the golden prompts."""
    parser.addoption("--approve", action="store_true", help="rewrite tests/golden after a deliberate change")
