"""The commands that a person types."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m2l.build import STORE
from m2l.store import Store
from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import run


def test_help_imports_nothing_heavy(project: Path) -> None:
    """`m2l --help` loads neither polars, Hydra, DVC nor llama.cpp, which is what keeps it quick."""
    code = (
        "import sys\nfrom m2l.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(sorted({'polars', 'hydra', 'omegaconf', 'dvc', 'llama_cpp', 'rich.progress'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_preview_shows_records_and_writes_no_data(project: Path) -> None:
    """A preview prints conversations with the verdict of the filters, and data/ stays as it was."""
    before = sorted((project / "data").rglob("*"))
    done = m2l(project, "preview", "eng_Latn", "summarization", "--records", "2")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^filters     (?:kept|rejected)$", done.stdout, flags=re.MULTILINE)) == 2
    assert "summarization_" in done.stdout
    assert sorted((project / "data").rglob("*")) == before


def test_preview_calls_are_reused_by_the_build(project: Path) -> None:
    """What a preview wrote is in the store: the build does not ask for it again."""
    m2l(project, "preview", "eng_Latn", "general")
    assert m2l(project, "compose").returncode == 0
    built = m2l(project, "build", "eng_Latn")
    assert re.search(r"calls made, [1-9]\d* reused", built.stdout)


def test_preview_of_a_task_that_the_recipe_leaves_out(project: Path) -> None:
    """Any language and any task can be looked at, whatever the recipe builds."""
    done = m2l(project, "preview", "tam_Taml", "translation", "--records", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nseed        ") == 2
    assert "translation_" in done.stdout


def test_preview_of_an_unknown_name(project: Path) -> None:
    """An unknown language or task is named with the nearest one."""
    done = m2l(project, "preview", "eng_Latn", "sumarization")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "BuildError: command line: unknown task 'sumarization'. Did you mean 'summarization'? Available: commonsense"
    )
    assert done.stderr.count("\n") == 1


def test_show_tells_a_row_from_its_seed_on(project: Path) -> None:
    """Seed, operator, variation, turns and every prompt of a row; the first digits of its id are enough."""
    import polars as pl

    assert m2l(project, "compose").returncode == 0
    assert m2l(project, "build", "eng_Latn").returncode == 0
    table = pl.read_parquet(project / "data" / "tables" / "eng_Latn" / "conversation.parquet")
    row = table.to_dicts()[0]
    shown = m2l(project, "show", row["row_id"][:10]).stdout
    assert row["seed_prompt"].splitlines()[0] in shown
    assert f"operator   {row['task_evol_type']}" in shown
    assert f"variation  {row['multiturn_evol_type']}" in shown
    for key, turn in zip(row["request_keys"], row["conversation"], strict=True):
        assert key in shown
        assert turn["content"].splitlines()[0] in shown
    assert shown.count("  prompt   ") == len(row["request_keys"])
    assert m2l(project, "show", row["row_id"][:10], "--no-prompts").stdout.count("  prompt   ") == 0
    assert json.loads(m2l(project, "show", row["row_id"][:10], "--json").stdout)["conversation"] == row["conversation"]


def test_show_and_diff_print_no_control_characters(project: Path, edit: Edit, tmp_path: Path) -> None:
    """What a seed or a model holds cannot move the cursor of who reads it."""
    import shutil

    import polars as pl

    run(project)
    shutil.copytree(project / "data/dist", tmp_path / "before")
    edit("data/seeds/starter/eng_Latn.jsonl", "Explain why bread dough", "\\u001b[2JExplain why bread dough")
    run(project)
    seeds = pl.read_parquet(project / "data/tables/eng_Latn/seed.parquet")
    [row_id] = seeds.filter(pl.col("seed_prompt").str.contains("\x1b"))["row_id"]
    shown = m2l(project, "show", row_id).stdout
    told = m2l(project, "diff", str(tmp_path / "before"), "--examples", "100").stdout
    assert "\\x1b[2JExplain why bread dough" in shown
    assert "\\x1b[2JExplain" in told
    assert "\x1b" not in shown + told


def test_show_of_no_row(project: Path) -> None:
    """An id that no row has is one line."""
    run(project)
    done = m2l(project, "show", "zzz")
    assert (done.returncode, done.stderr) == (
        2,
        "BuildError: data/tables: no row has an id that begins with 'zzz'. Take one from the column row_id.\n",
    )


def test_check_proves_the_shipped_declarations(project: Path) -> None:
    """All of conf/ is well, and the coverage of each language is printed."""
    done = m2l(project, "check")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("conf: all is well (")
    matrix = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "_" in line.split()[0]}
    assert len(matrix) == 73
    assert all(len(counts) == 20 and min(map(int, counts)) >= 1 for counts in matrix.values())


def test_check_names_every_problem(project: Path) -> None:
    """Two problems in two files are two lines, and the exit code is 2."""
    for name, old, new in (
        ("general_deepening", "family: depth", "family: deep"),
        ("general_constraint", "[general]", "[genral]"),
    ):
        path = project / "conf" / "operator" / f"{name}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    done = m2l(project, "check")
    assert done.returncode == 2
    assert "conf/operator/general_constraint.yaml: unknown task 'genral'" in done.stdout


def test_summary_says_what_was_made_and_what_is_next(project: Path) -> None:
    """After a build the summary has a line for each language between what was made and what to try next."""
    assert m2l(project, "summary").returncode == 2
    run(project)
    done = m2l(project, "summary")
    assert len(done.stdout.splitlines()) == 2 + 1 + 3 + 1 + 4
    assert re.search(r"^eng_Latn +48 +\d+ +\d+% +0 +\d+% +(\d+%|-) +\d+% +0\.\d\d +0\.\d\d$", done.stdout, re.MULTILINE)
    assert "data/dist" in done.stdout
    shown = re.search(r"m2l show (\w+)", done.stdout)
    assert shown is not None
    assert m2l(project, "show", shown[1]).returncode == 0
    found = json.loads(m2l(project, "summary", "--json").stdout)
    assert found["languages"][0]["attempted"] == 48
    assert found["metrics"]["rows"]["full_data"] == found["metrics"]["sampled"]


def test_progress_is_quiet_without_a_terminal(project: Path) -> None:
    """In a pipe there is no bar: one line about the engine on stderr, one result on stdout."""
    m2l(project, "compose")
    done = m2l(project, "build", "eng_Latn")
    assert done.stderr == "eng_Latn: fake 1\n"
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("engine", ["Slow", "Stuck"])
def test_ctrl_c_ends_soon_and_keeps_the_work(engine: str, project: Path) -> None:
    """An interrupt ends a build within two seconds, even inside a long step of a model, and loses no completion."""
    import os
    import signal

    from tests.conftest import ROOT
    from tests.test_dvc import SLOW

    (project / "params.yaml").write_text(SLOW.replace("Slow", engine))
    m2l(project, "compose")
    build = subprocess.Popen(
        [sys.executable, "-m", "m2l", "build", "eng_Latn"],
        cwd=project, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not (project / "calls.txt").is_file() or len((project / "calls.txt").read_text().split()) < 5:
        time.sleep(0.02)
    build.send_signal(signal.SIGINT)
    _, stderr = build.communicate(timeout=2)
    assert build.returncode == 130
    assert stderr.endswith("Interrupted. All completions up to here are kept; the same command goes on from them.\n")
    with Store(project / STORE, readonly=True) as store:
        assert len(store) >= len((project / "calls.txt").read_text().split()) - 1
        assert not list(store.damage())


def test_the_list_of_commands_cuts_no_sentence(project: Path) -> None:
    """Each command is listed with the whole of what its own help begins with, however narrow the terminal."""
    listed = " ".join(m2l(project, "--help").stdout.split())
    for name in ("plan", "sweep", "verify"):
        own = m2l(project, name, "--help").stdout.split("\n\n")[1]
        assert f"{name} {' '.join(own.split())}" in listed
    assert "..." not in listed.partition("Commands:")[2]
