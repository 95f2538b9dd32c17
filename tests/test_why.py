"""Why: which build made a text, for which edit, and that later builds left it alone."""

import re
from pathlib import Path

import polars as pl

from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import run

CONSTRAINT = "conf/operator/general_constraint.yaml"


def lines(project: Path, what: str) -> list[str]:
    """Return what `m2l why` says."""
    done = m2l(project, "why", what)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def row(project: Path, operator: str) -> str:
    """Return the id of an evolved instruction by an operator, kept or rejected."""
    folder = project / "data/tables/eng_Latn"
    rows = pl.concat(
        [
            pl.read_parquet(folder / f"{name}.parquet").select("row_id", "task_evol_type")
            for name in ("evolved", "rejected")
        ]
    )
    return str(rows.filter(pl.col("task_evol_type") == operator).sort("row_id")["row_id"][0])


def test_a_row_knows_the_edit_that_made_it_and_the_one_that_did_not_touch_it(project: Path, edit: Edit) -> None:
    """The edited operator's row names the leaf with old and new; another operator's row was reused."""
    run(project)
    edit(CONSTRAINT, "one more condition", "two more conditions")
    run(project)
    made = lines(project, row(project, "general_constraint"))
    assert re.match(r"call 1  \w{12}  made by build 2: changed, 1 leaves$", made[1])
    assert made[2].startswith("    operator.general_constraint.prompt: ")
    assert "one more condition" in made[2]
    assert "two more conditions" in made[2]
    kept = lines(project, row(project, "general_deepening"))
    assert re.match(r"call 1  \w{12}  made by build 1: first_run, there was no build before$", kept[1])
    assert kept[2] == "    reused by 1 builds since (2): what they changed left this request as it was"


def test_a_language_and_a_task_count_what_each_build_made(project: Path, edit: Edit) -> None:
    """All texts that stand are accounted for by builds; an edit of one task made nothing of another."""
    run(project)
    edit(CONSTRAINT, "one more condition", "two more conditions")
    second = run(project)
    counts = [int(n) for n in re.findall(r"build \d+ made (\d+) of", "\n".join(lines(project, "eng_Latn")))]
    assert counts[1] == len(second)
    assert sum(counts) == 138
    assert re.match(
        r"eng_Latn/summarization: build 1 made (\d+) of the \1 texts", lines(project, "eng_Latn/summarization")[0]
    )
    assert "build 2 made 0 of" in lines(project, "eng_Latn/summarization")[1]


def test_a_seed_and_what_does_not_exist(project: Path) -> None:
    """A seed was made by nobody; an unknown row, task or an unbuilt project is one line."""
    assert m2l(project, "why", "eng_Latn").returncode == 2
    run(project)
    seed = str(pl.read_parquet(project / "data/tables/eng_Latn/seed.parquet")["row_id"][0])
    assert lines(project, seed)[1] == (
        "It is a seed of m2l-starter, from data/seeds/starter/eng_Latn.jsonl; no call made it."
    )
    done = m2l(project, "why", "eng_Latn/poetry")
    assert (done.returncode, done.stderr) == (
        2,
        "BuildError: eng_Latn: no row of task 'poetry'. Tasks: creative_writing, general, question_answering, "
        "summarization.\n",
    )
    assert m2l(project, "why", "zzzz").stderr.startswith("BuildError: data/tables: no row has an id that begins with")
