"""What README and CONTRIBUTING say is true: their commands run, and their examples work."""

import json
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
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("command", re.findall(r"^\| `m2l ([^`]+)` \|", COMMANDS, flags=re.MULTILINE))
def test_each_command_of_the_table_exists(project: Path, command: str) -> None:
    """Every command that docs/commands.md lists is one that `m2l` knows."""
    name = shlex.split(command.replace("[overrides]", ""))[:1]
    done = m2l(project, *name, *(["get"] if name == ["model"] else []), "--help")
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


FILES = dict(re.findall(r"^```(?:yaml|json|csv) file=(\S+)\n(.*?)^```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL))


def write(project: Path, *kinds: str) -> None:
    """Write the files of CONTRIBUTING whose path holds one of some words."""
    for name, content in FILES.items():
        if any(kind in name for kind in kinds):
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(content, encoding="utf-8")


def shell(project: Path, kind: str) -> list[str]:
    """Run the commands of a shell block of CONTRIBUTING; each must succeed. Return what they print."""
    [block] = blocks(CONTRIBUTING, f"sh {kind}")
    printed = []
    for command in block.splitlines():
        done = m2l(project, *shlex.split(command)[1:])
        assert done.returncode == 0, command + done.stderr + done.stdout
        printed += done.stdout.splitlines()
    return printed


def test_each_declaration_is_shown_by_an_example() -> None:
    """A language with its seeds, a task, an operator, a variation and a seed source, one file each."""
    assert [str(Path(name).parent) for name in FILES] == [
        "conf/language", "data/seeds/starter", "conf/task", "conf/operator", "conf/variation", "conf/seed_source",
        "data/seeds/village",
    ]  # fmt: skip


def test_the_language_of_contributing_is_built(project: Path) -> None:
    """Its two files, then its commands: text and seeds pass the check, and its rows appear."""
    write(project, "cat_Latn")
    printed = shell(project, "language")
    assert printed[0].startswith("cat_Latn: 0 problems in its text and 4 seeds")
    run(project, "language=[cat_Latn]", "recipe.seeds_per_task=1")
    seeds = pl.read_parquet(project / "data/tables/cat_Latn/seed.parquet")
    assert seeds.height == 4
    assert "Per què es regalen roses el dia de Sant Jordi?" in seeds["seed_prompt"].to_list()


def test_the_operator_and_variation_of_contributing_work(project: Path) -> None:
    """Writing the files as CONTRIBUTING shows them, then its commands, gives rows of the new operator."""
    write(project, "conf/operator", "conf/variation", "conf/task")
    shell(project, "operator")
    run(project, "operator=[general_audience]", "task=[general]", "variation=[wrong_detail]")
    rows = pl.concat(
        pl.read_parquet(project / "data" / "tables" / "eng_Latn" / f"{name}.parquet").select(
            "kind", "task_evol_type", "multiturn_evol_type", "task_evol_prompt"
        )
        for name in ("conversation", "rejected")
    ).filter(pl.col("kind") == "conversation")
    assert set(rows["task_evol_type"]) == {"general_audience"}
    assert set(rows["multiturn_evol_type"]) == {"wrong_detail"}
    assert all("knows nothing of the subject" in prompt for prompt in rows["task_evol_prompt"])


def test_the_task_of_contributing_is_built(project: Path) -> None:
    """Without a seed the task is refused by name; with one its rows appear, and its check judges them."""
    write(project, "conf/operator", "conf/task")
    overrides = ("task=[riddle]", "operator=[general_audience]")
    done = m2l(project, "plan", *overrides)
    assert done.returncode == 2
    assert "no seed of task 'riddle' in eng_Latn" in done.stderr
    riddle = {"text": "It has teeth and never eats.", "labels": ["a comb", "a dog"]}
    seed = {"task": "riddle", "instruction": "Is it a comb or a dog?", "input": riddle, "response": "A comb."}
    with (project / "data/seeds/starter/eng_Latn.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(seed) + "\n" + json.dumps(seed | {"instruction": "Which?", "response": "A saw."}) + "\n")
    run(project, *overrides)
    tables = project / "data/tables/eng_Latn"
    assert pl.read_parquet(tables / "seed.parquet")["output_assistant_reply"].to_list() == ["A comb."]
    rejected = pl.read_parquet(tables / "rejected.parquet").filter(pl.col("kind") == "seed")
    assert rejected["reason"].to_list() == ["no_label"]


def test_the_table_of_contributing_is_read(project: Path) -> None:
    """The report counts the two stories, and says which language is unknown."""
    write(project, "village")
    assert shell(project, "seeds") == [
        "eng_Latn: 1 seeds (reading_comprehension 1)",
        "swh_Latn: 1 seeds (reading_comprehension 1)",
        "no language: 1 rows put aside: no conf/language for 'Elvish'",
        "In all: 2 seeds, 1 rows put aside.",
    ]


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


def test_the_page_on_publishing_is_true(project: Path, tmp_path: Path) -> None:
    """Its commands export, and its Python reads what they wrote."""
    import os
    import sys

    page = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
    run(project)
    [commands], [code] = blocks(page, "sh export"), blocks(page, "python")
    for command in commands.splitlines():
        done = m2l(project, *shlex.split(command, comments=True)[1:])
        assert done.returncode == 0, done.stderr
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(project / "data/dist/full_data/train.parquet").height
    assert done.stdout.splitlines()[-1] == f"user {rows}"


def test_the_page_on_the_report_is_true(project: Path) -> None:
    """Its command writes the file that it names, and each of its test commands finds tests."""
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    run(project)
    [command] = blocks(page, "sh report")
    done = m2l(project, *shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert (project / "data/report/index.html").is_file()
    assert (project / "data/report/index.html").stat().st_size < 5_000_000
    names = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/report").glob("test_*.py"))
    for words in re.findall(r"pytest tests/report -k (\w+|\"[^\"]+\")", page):
        for word in words.strip('"').split(" or "):
            assert re.search(rf"def test_\w*{word}", names), word
