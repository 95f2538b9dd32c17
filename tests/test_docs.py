"""What README and CONTRIBUTING say is true: their commands run, and their examples work."""

import re
import shlex
import subprocess
from pathlib import Path

import polars as pl
import pytest

from tests.command import m2l
from tests.conftest import ROOT
from tests.helpers import run

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, kind: str) -> list[str]:
    """Return the code blocks of a document that open with ``` and `kind`."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    """`make` and the test command are what the Makefile knows."""
    [command] = blocks(README, "sh test")
    assert command == "make test\n"
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.findall(r"^  make (\w+) ", done.stdout, flags=re.MULTILINE)
    assert {"all", "test", "check", "setup", "model"} <= set(targets)


@pytest.mark.parametrize("command", re.findall(r"^\| `m2l ([^`]+)` \|", README, flags=re.MULTILINE))
def test_each_command_of_the_table_exists(project: Path, command: str) -> None:
    """Every command that README lists is one that `m2l` knows."""
    name = shlex.split(command.replace("[overrides]", ""))[:1]
    done = m2l(project, *name, *(["get"] if name == ["model"] else []), "--help")
    if name == ["sweep"]:
        assert "no such command" not in done.stderr.lower()
    else:
        assert done.returncode == 0
        assert done.stdout.startswith("Usage:")


def test_the_python_of_readme_reads_a_dataset(project: Path, tmp_path: Path) -> None:
    """The block that loads the dataset runs as it stands, where the dataset is."""
    import os
    import sys

    run(project)
    assert pl.read_parquet(project / "data" / "dist" / "full_data" / "train.parquet").height > 40
    [code] = blocks(README, "python")
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "'role': 'user'" in done.stdout


def test_the_operator_and_variation_of_contributing_work(project: Path) -> None:
    """Writing the files as CONTRIBUTING shows them, then its commands, gives rows of the new operator."""
    files = re.findall(r"^```yaml file=(\S+)\n(.*?)^```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL)
    assert [Path(name).parent.name for name, _ in files] == ["operator", "variation", "task"]
    for name, content in files[:2]:
        (project / name).write_text(content, encoding="utf-8")
    for command in blocks(CONTRIBUTING, "sh")[0].splitlines():
        done = m2l(project, *shlex.split(command)[1:])
        assert done.returncode == 0, done.stderr + done.stdout
    run(project, "operator=[general_audience]", "task=[general]", "variation=[correction]")
    rows = pl.concat(
        pl.read_parquet(project / "data" / "tables" / "eng_Latn" / f"{name}.parquet").select(
            "kind", "task_evol_type", "multiturn_evol_type", "task_evol_prompt"
        )
        for name in ("conversation", "rejected")
    ).filter(pl.col("kind") == "conversation")
    assert set(rows["task_evol_type"]) == {"general_audience"}
    assert set(rows["multiturn_evol_type"]) == {"correction"}
    assert all("knows nothing of the subject" in prompt for prompt in rows["task_evol_prompt"])


def test_the_task_of_contributing_is_checked_for_seeds(project: Path) -> None:
    """A task without operator or seeds is named before anything runs."""
    [(name, content)] = re.findall(
        r"^```yaml file=(conf/task\S+)\n(.*?)^```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL
    )
    (project / name).write_text(content, encoding="utf-8")
    done = m2l(project, "plan", "task=[translation]")
    assert done.returncode == 2
    assert "no operator applies to task 'translation'" in done.stderr


def test_the_filter_of_contributing_is_a_filter() -> None:
    """The class of the example runs and rejects what it says."""
    from m2l.filters.base import Context, Filter, apply
    from tests.filters.helpers import context, row, table

    [code] = blocks(CONTRIBUTING, "python")
    names: dict[str, object] = {"Filter": Filter, "Context": Context, "pl": pl}
    exec(code, names)
    shouting = names["Shouting"]
    assert isinstance(shouting, type)
    rows = table(row("Be quiet, please.", "I am."), row("WHY DO YOU SHOUT?", "I AM NOT."))
    kept, rejected = apply(rows, {"shouting": shouting(max_share=0.5)}, context())
    assert (kept["row_id"].to_list(), rejected["reasons"].to_list()) == (["0"], [["shouting"]])
