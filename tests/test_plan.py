"""The plan says beforehand what the build then does."""

import json
import subprocess
from pathlib import Path

from m2l import assemble, build, changes, plan
from m2l.records import Request
from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import compose, run
from tests.test_dvc import dvc

OPERATOR = "conf/operator/summarization_constraint.yaml"


def plans(project: Path, *overrides: str) -> plan.Count:
    """Return the totals of English, as the engine of the tests would see them."""
    return plan.plan(project, compose(project, *overrides)).plans[0].total


def test_the_plan_of_an_edit_is_what_the_build_makes(project: Path, edit: Edit) -> None:
    """Calls to make, and those that hang on them, are together the calls that the build makes."""
    _build(project)
    assert plans(project) == plan.Count(reused=138, made=0, hanging=0)
    edit(OPERATOR, "a strict form", "a very strict form")
    planned = plans(project)
    made = _build(project)
    assert planned.made == 2
    assert planned.made + planned.hanging == made
    assert planned.reused + made == 138
    assert plans(project).made == 0


def test_what_an_edit_drops_is_told_by_task(project: Path, edit: Edit) -> None:
    """The calls of the last build that the new one does not reach: at most so many before it, exactly so after."""
    first = {request.key for request in run(project)}
    edit(OPERATOR, "a strict form", "a very strict form")
    planned = plan.plan(project, compose(project)).plans[0]
    assert {task for task, count in planned.tasks.items() if count.dropped} == {"summarization"}
    second = {request.key for request in _walked(project)}
    assert planned.total.dropped >= len(first - second) > 0
    assert planned.total.dropped <= planned.total.made + planned.total.hanging
    edit(OPERATOR, "a very strict form", "a strict form")
    back = plan.plan(project, compose(project)).plans[0]
    assert back.total == plan.Count(reused=138, dropped=len(second - first))


def test_a_language_that_is_taken_out_is_told(project: Path) -> None:
    """What DVC locked for it is dropped; the others are up to date."""
    (project / "params.yaml").write_text(
        "languages: [eng_Latn, fra_Latn]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    _repro(project)
    (project / "params.yaml").write_text(
        "languages: [eng_Latn]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    lines = m2l(project, "plan").stdout.splitlines()
    assert lines[0] == "eng_Latn: up to date; calls: 0 to make, 138 reused"
    assert lines[1].startswith("fra_Latn: no longer built; 1")
    assert lines[2].startswith("In all: 0 calls. Nothing needs a model. 1")


def test_a_build_that_was_cut_off_is_still_to_do(project: Path, edit: Edit) -> None:
    """Once composed, a slice is at hand; the plan compares with what DVC locked, and not with that."""
    _repro(project)
    edit(OPERATOR, "a strict form", "a very strict form")
    assert m2l(project, "compose").returncode == 0
    lines = m2l(project, "plan").stdout.splitlines()
    assert lines[0].startswith("eng_Latn: changed; calls: 2 to make + ")
    assert any(line.startswith("    operator.summarization_constraint.prompt: ") for line in lines)


def test_many_languages_are_told_in_short(project: Path) -> None:
    """Beyond twelve languages tasks are left out, and leaves that moved alike are told once."""
    names = sorted(path.stem for path in (project / "conf/language").glob("*.yaml"))[:14]
    (project / "params.yaml").write_text(
        f"languages: [{', '.join(names)}]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    assert m2l(project, "compose").returncode == 0
    for name in names:
        assert m2l(project, "build", name).returncode == 0
    assert m2l(project, "plan").stdout.startswith("14 languages: up to date; calls: 0 to make, ")
    (project / "params.yaml").write_text(
        f"languages: [{', '.join(names)}]\n"
        "overrides: [recipe=starter, recipe.repairs=0, engine=fake, model.sampling.top_k=7]\n"
    )
    lines = m2l(project, "plan").stdout.splitlines()
    assert lines.count(f"    the same leaves as {names[0]}") == 13
    assert not any(line.startswith("    summarization: ") for line in lines)
    assert any(line.startswith("    summarization: ") for line in m2l(project, "plan", "--tasks").stdout.splitlines())


def test_a_first_plan_counts_every_call(project: Path) -> None:
    """With an empty store nothing is reused, and only the first round is sure."""
    planned = plans(project)
    assert (planned.reused, planned.made) == (0, 24)
    assert planned.made + planned.hanging == _build(project)


def test_a_plan_writes_nothing(project: Path) -> None:
    """Neither the store nor a slice nor a table is made."""
    before = _files(project)
    assert m2l(project, "plan").returncode == 0
    assert _files(project) == before


def test_the_leaf_that_changed_is_named(project: Path, edit: Edit) -> None:
    """The plan says which declaration moved, from what to what, and why a language is visited."""
    assert m2l(project, "compose").returncode == 0
    assert m2l(project, "build", "eng_Latn").returncode == 0
    assert "eng_Latn: up to date; calls: 0 to make, 138 reused" in m2l(project, "plan").stdout
    (project / "data" / "tables" / "eng_Latn" / "counts.json").unlink()
    assert "eng_Latn: missing; calls: 0 to make, 138 reused" in m2l(project, "plan").stdout
    edit("conf/operator/general_constraint.yaml", "family: constraint", "family: depth")
    lines = m2l(project, "plan").stdout.splitlines()
    assert lines[0].startswith("eng_Latn: changed; calls: 2 to make + ")
    assert "    operator.general_constraint.family: 'constraint' -> 'depth'" in lines


def test_json_for_scripts(project: Path) -> None:
    """`--json` prints one object with the totals and every language."""
    found = json.loads(m2l(project, "plan", "--json").stdout)
    assert (found["made"], found["reused"]) == (24, 0)
    assert found["languages"][0]["language"] == "eng_Latn"
    assert found["languages"][0]["reason"] == "first_run"


def test_leaves_of_two_trees() -> None:
    """Each leaf that differs, by its path, once."""
    before = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    after = {"a": {"b": 2, "c": [1, 3]}, "e": "y"}
    assert list(changes.leaves(before, after)) == ["a.b: 1 -> 2", "a.c.1: 2 -> 3", "d: 'x' -> None", "e: None -> 'y'"]
    texts = ["word " * 30 + text for text in ("takes one more step. The end.", "takes two more steps. The end.")]
    [leaf] = changes.leaves({"p": texts[0]}, {"p": texts[1]})
    assert "one more step" in leaf
    assert "two more steps" in leaf


def _files(project: Path) -> list[Path]:
    return sorted(path for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _build(project: Path) -> int:
    reports, _ = assemble.run_all(project, compose(project), tables=build.TABLES, dist=build.DIST)
    return reports["eng_Latn"].made


def _walked(project: Path) -> list[Request]:
    """Build, and return all requests that the tables hang on, whether they were made or reused."""
    (project / build.STORE).rename(project / "aside.sqlite")
    requests = run(project)
    (project / build.STORE).unlink()
    (project / "aside.sqlite").rename(project / build.STORE)
    run(project)
    return requests


def _repro(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    dvc(project, "repro")
