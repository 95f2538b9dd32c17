"""What differs between two datasets: hand-made ones, and those of a commit and the files beside it."""

import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l import diff, schema
from m2l.errors import BuildError
from tests.command import m2l
from tests.test_dvc import OPERATOR, dvc

FULL = "full_data/train.parquet"
FOLDER = "name a folder that holds a dataset"
Row = dict[str, object]


def row(row_id: str, *texts: str, operator: str = "deepening", task: str = "general", language: str = "eng") -> Row:
    """Return a row whose turns, a user's and an assistant's in alternation, are `texts`."""
    turns = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    return {
        "row_id": row_id, "language": language, "task": task, "task_evol_type": operator,
        "multiturn_evol_type": "", "conversation": turns,
    }  # fmt: skip


def rejected(reason: str, found: Row) -> Row:
    """Return the row as one that was rejected."""
    return found | {"reason": reason}


def side(name: str, kept: list[Row], aside: list[Row] | None = None) -> diff.Side:
    """Return a dataset of rows in the given order."""
    return diff.Side(
        name,
        schema.frame(kept, schema.ROWS).select(diff.COLUMNS),
        schema.frame(aside or [], schema.REJECTED).select(*diff.COLUMNS, "reason"),
    )


def write(folder: Path, content: diff.Side) -> Path:
    """Write a dataset as the exporter lays it out."""
    schema.write(content.kept, folder / FULL)
    schema.write(content.rejected, folder / "rejected" / "train.parquet")
    return folder


def text(report: diff.Report) -> str:
    """Return what is printed where nobody watches."""
    return "\n".join(line for _, line in diff.lines(report))


OLD = side(
    "old",
    [
        row("same", "Hello?", "Hello."),
        row("moved", "What is\na fjord?", "Water.", "And a bay?", "Water, too."),
        row("gone", "Sing!", "La.", operator="", language="fra"),
        row("other", "Name a tree.", "Oak.", "Why?", "It is old.\nIt is tall.", task="qa"),
    ],
    [rejected("too_short", row("short", "Hm?", "Hm."))],
)
NEW = side(
    "new",
    [
        row("fresh", "Name a bird.", "word " * 60, operator="constraint"),
        row("other", "Name a tree.", "Ash.", "Why?", "It is old.\nIt is tall.", "Is it?", task="qa"),
        row("same", "Hello?", "Hello."),
    ],
    [
        rejected("repeated_turn", row("moved", "What is\na fjord?", "Water.", "And a bay?", "Water.")),
        rejected("too_short", row("short", "Hm?", "Hm!")),
    ],
)


def test_a_report_in_full() -> None:
    """Totals, the reason of what is rejected now, a table an axis, and examples, old and new under each other."""
    words = "word " * 32
    assert text(diff.compare(OLD, NEW, examples=2)) == (
        "old -> new: 1 rows added, 2 removed, 1 changed\n"
        "removed and now rejected: repeated_turn 1\n"
        "\n"
        "language    added  removed  changed\n"
        "eng             1        1        1\n"
        "fra             0        1        0\n"
        "\n"
        "task       added  removed  changed\n"
        "general        1        2        0\n"
        "qa             0        0        1\n"
        "\n"
        "operator      added  removed  changed\n"
        "(seed)            0        1        0\n"
        "constraint        1        0        0\n"
        "deepening         0        1        1\n"
        "\n"
        "rejected for     added  removed  changed\n"
        "repeated_turn        1        0        0\n"
        "too_short            0        0        1\n"
        "\n"
        "added  fresh  eng  general  constraint\n"
        "  1 user\n"
        "    + Name a bird.\n"
        "  2 assistant\n"
        f"    + {words}...\n"
        "\n"
        "removed  moved  eng  general  deepening  (now rejected: repeated_turn)\n"
        "  1 user\n"
        "    - What is a fjord?\n"
        "  4 assistant\n"
        "    - Water, too.\n"
        "\n"
        "removed  gone  fra  general  (seed)\n"
        "  1 user\n"
        "    - Sing!\n"
        "  2 assistant\n"
        "    - La.\n"
        "\n"
        "changed  other  eng  qa  deepening\n"
        "  2 assistant\n"
        "    - Oak.\n"
        "    + Ash.\n"
        "  5 user\n"
        "    + Is it?"
    )


def test_a_changed_turn_is_shown_whole_and_on_as_many_lines() -> None:
    """What differs may stand at the end, so that nothing of a changed turn is cut."""
    report = diff.compare(side("a", [row("1", "x\n" * 200 + "y")]), side("b", [row("1", "z")]), examples=1)
    assert text(report).endswith("    - " + "x\n      " * 200 + "y\n    + z")


def test_a_turn_of_another_role_is_another_turn() -> None:
    """The same words, said by somebody else, are a change."""
    found = row("1", "Hello.")
    found["conversation"] = [{"role": "assistant", "content": "Hello."}]
    report = diff.compare(side("a", [row("1", "Hello.")]), side("b", [found]), examples=1)
    assert report.examples[0].turns == (diff.TurnPair(1, "user / assistant", "Hello.", "Hello."),)


def test_no_order_changes_a_report() -> None:
    """Rows may come in any order on either side: the report is the same, byte for byte."""
    mixed = [diff.Side(s.name, s.kept.reverse(), s.rejected.reverse()) for s in (OLD, NEW)]
    first, second = diff.compare(OLD, NEW, examples=1), diff.compare(*mixed, examples=1)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_examples_are_spread() -> None:
    """A few examples come from as many languages and operators as there are."""
    rows = [
        row(f"{language}{operator}{number}", "Hi?", operator=operator, language=language)
        for language in ("eng", "fra")
        for operator in ("constraint", "deepening")
        for number in range(9)
    ]
    report = diff.compare(side("a", []), side("b", rows), examples=4)
    assert [(example.language, example.operator) for example in report.examples] == [
        ("eng", "constraint"), ("eng", "deepening"), ("fra", "constraint"), ("fra", "deepening"),
    ]  # fmt: skip
    assert diff.compare(side("a", []), side("b", rows), examples=0).examples == ()


Table = dict[str, tuple[str, str, str]]
TABLES = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.sampled_from(["", "short", "long"]), st.sampled_from(["eng", "fra"]), st.sampled_from(["x", "y"])),
)
"""By row_id: the reason why it is rejected, or none; its language; what is said."""


@given(TABLES, TABLES)
def test_the_counts_are_those_of_sets(old: Table, new: Table) -> None:
    """Whatever the rows: added, removed and changed are what sets of row ids say, and so are their sums."""
    sides = [
        side(
            "side",
            [row(i, said, language=language) for i, (reason, language, said) in table.items() if not reason],
            [
                rejected(reason, row(i, said, language=language))
                for i, (reason, language, said) in table.items()
                if reason
            ],
        )
        for table in (old, new)
    ]
    report = diff.compare(sides[0], sides[1], examples=9)
    before, after = ({i: said for i, (reason, _, said) in table.items() if not reason} for table in (old, new))
    expected = {
        "added": after.keys() - before.keys(),
        "removed": before.keys() - after.keys(),
        "changed": {i for i in before.keys() & after.keys() if before[i] != after[i]},
    }
    for change, ids in expected.items():
        assert getattr(report, change) == len(ids) == sum(getattr(count, change) for count in report.kept)
        assert {example.row_id for example in report.examples if example.change == change} == ids
    assert {e.row_id: e.reason for e in report.examples if e.reason} == {
        i: new[i][0] for i in expected["removed"] if i in new
    }
    aside = [{(i, reason) for i, (reason, _, _) in table.items() if reason} for table in (old, new)]
    assert sum(count.added for count in report.rejected) == len(aside[1] - aside[0])
    assert sum(count.removed for count in report.rejected) == len(aside[0] - aside[1])


def test_a_folder_against_itself(tmp_path: Path) -> None:
    """No difference is one line, also between rejected rows; a difference of those alone is told."""
    folder = write(tmp_path / "dist", OLD)
    same = diff.compare(diff.read_folder(folder, "a"), diff.read(tmp_path, str(folder)), examples=3)
    assert text(same) == f"No difference: a and {folder} hold the same conversations, kept and rejected."
    moved = diff.Side("b", OLD.kept, OLD.rejected.with_columns(reason=pl.lit("too_long")))
    assert text(diff.compare(OLD, moved, examples=3)) == (
        "old -> b: 0 rows added, 0 removed, 0 changed\n\n"
        "rejected for    added  removed  changed\n"
        "too_long            1        0        0\n"
        "too_short           0        1        0"
    )


def test_a_dataset_without_rejected_rows(tmp_path: Path) -> None:
    """A folder may lack the table of rejected rows; a removed row then has no reason."""
    folder = write(tmp_path / "dist", NEW)
    (folder / "rejected" / "train.parquet").unlink()
    report = diff.compare(OLD, diff.read_folder(folder, "new"), examples=9)
    assert (report.removed, report.now_rejected) == (2, {})


class Terminal(StringIO):
    """A stdout that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "line"), [("", "\x1b[31m    - Oak.\x1b[0m\n"), ("1", "\n    - Oak.\n")])
def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, no_color: str, line: str) -> None:
    """Old and new have colours on a terminal, unless NO_COLOR says otherwise; marks of a text are left alone."""
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    marked = side("b", [row("1", "[red]:smile:[/red] " + "long " * 60)])
    diff.say(diff.compare(OLD, NEW, examples=1))
    assert line in screen.getvalue()
    assert ("\x1b" in screen.getvalue()) == (not no_color)
    diff.say(diff.compare(side("a", [row("1", "")]), marked, examples=1))
    assert "    + [red]:smile:[/red] " + "long " * 60 in screen.getvalue()


def git(project: Path, *arguments: str) -> str:
    """Run git and return what it said; it must succeed."""
    person = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", *person, *arguments], cwd=project, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


@pytest.fixture
def empty(project: Path) -> Path:
    """The project as a git repository with one commit, which knows of no build."""
    git(project, "init", "--quiet")
    git(project, "commit", "--quiet", "--allow-empty", "--message=Begin")
    return project


@pytest.fixture
def committed(empty: Path) -> Path:
    """The project built by DVC, its dvc.lock committed; the sample takes all rows, so that none stands in."""
    params = empty / "params.yaml"
    quota = "recipe.quota.evolved=1000, recipe.quota.conversation=1000"
    params.write_text(params.read_text(encoding="utf-8").replace("engine=fake", f"engine=fake, {quota}"))
    dvc(empty, "repro")
    git(empty, "add", "dvc.lock")
    git(empty, "commit", "--quiet", "--message=Build")
    return empty


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a dataset by their id."""
    return {found["row_id"]: found for found in pl.read_parquet(folder / FULL).to_dicts()}


def test_a_commit_against_what_an_edit_made(committed: Path) -> None:
    """After one operator was edited, what differs from HEAD is that operator's rows, each with its old text."""
    dist = committed / "data" / "dist"
    head = git(committed, "rev-parse", "HEAD")[:10]
    shutil.copytree(dist, committed / "before")
    clean = diff.compare(diff.read(committed, "HEAD"), diff.read_folder(dist, "data/dist"), examples=3)
    assert text(clean).startswith(f"No difference: HEAD ({head}) and data/dist hold")

    prompt = (committed / OPERATOR).read_text(encoding="utf-8")
    longer = re.sub(r"(eng_Latn: >-\n(?:    .*\n)+)", r"\1    Ask for a date, too.\n", prompt)
    assert longer != prompt
    (committed / OPERATOR).write_text(longer, encoding="utf-8")
    dvc(committed, "repro")

    report = diff.compare(diff.read(committed, "HEAD"), diff.read_folder(dist, "data/dist"), examples=99)
    old, new = kept(committed / "before"), kept(dist)
    changed = {i for i in old.keys() & new.keys() if old[i]["conversation"] != new[i]["conversation"]}
    assert {count.operator for count in report.kept} == {"general_constraint"}
    assert {e.row_id for e in report.examples if e.change == "changed"} == changed != set()
    assert {e.row_id for e in report.examples if e.change == "removed"} == old.keys() - new.keys()
    assert {e.row_id for e in report.examples if e.change == "added"} == new.keys() - old.keys()
    for example in report.examples:
        for turn in example.turns:
            if turn.old is not None:
                assert old[example.row_id]["conversation"][turn.number - 1]["content"] == turn.old
            if turn.new is not None:
                assert new[example.row_id]["conversation"][turn.number - 1]["content"] == turn.new

    from_folder = diff.compare(diff.read(committed, "before"), diff.read_folder(dist, "data/dist"), examples=99)
    assert msgspec.structs.replace(from_folder, old=report.old) == report
    assert report.old == f"HEAD ({head})"


def test_an_object_that_the_cache_lacks(committed: Path) -> None:
    """Without a table of the commit's dataset, or the listing of its files, the line says how to get it."""
    lock = (committed / "dvc.lock").read_text(encoding="utf-8")
    named = re.search(r"path: data/dist\n +hash: md5\n +md5: (\w+\.dir)", lock)
    assert named is not None
    cache = committed / "cache" / "dvc" / "files" / "md5"
    listing = cache / named[1][:2] / named[1][2:]
    files = {item["relpath"]: item["md5"] for item in json.loads(listing.read_bytes())}
    head = git(committed, "rev-parse", "HEAD")[:10]
    for path in (cache / files[FULL][:2] / files[FULL][2:], listing):
        path.unlink()
        with pytest.raises(BuildError) as error:
            diff.read(committed, "HEAD")
        assert str(error.value) == (
            f"HEAD ({head}): not whole in DVC's cache. Get it by `dvc pull --all-commits`, or {FOLDER}."
        )


def test_what_is_no_dataset(empty: Path) -> None:
    """A name that is nothing, a folder that holds no rows, and a commit that knows of no build are told apart."""
    head = git(empty, "rev-parse", "HEAD")[:10]
    for where, expected in {
        "HEAD~7": f"'HEAD~7': neither a folder nor a git revision. Name a revision, or {FOLDER}.",
        "--all": f"'--all': neither a folder nor a git revision. Name a revision, or {FOLDER}.",
        "conf": f"'conf': holds no {FULL}. Name a revision, or {FOLDER}.",
        "HEAD": f"HEAD ({head}): no dvc.lock that names data/dist. Commit it after `dvc repro`, or {FOLDER}.",
    }.items():
        with pytest.raises(BuildError) as error:
            diff.read(empty, where)
        assert str(error.value) == expected
    with pytest.raises(BuildError) as error:
        diff.read_folder(empty / "data" / "dist", "data/dist")
    assert str(error.value) == f"data/dist: holds no {FULL}. Make it with `dvc repro`, or {FOLDER}."


@pytest.mark.parametrize(
    "lock", ["stages: {}\n", "stages: [\n", "<<<<<<< ours\n", "stages:\n  assemble:\n    outs: 1\n"]
)
def test_a_damaged_lock_of_a_commit(empty: Path, lock: str) -> None:
    """A dvc.lock that does not name the dataset, for whatever reason, is one line."""
    (empty / "dvc.lock").write_text(lock, encoding="utf-8")
    git(empty, "add", "dvc.lock")
    git(empty, "commit", "--quiet", "--message=Break")
    with pytest.raises(BuildError, match=r"^HEAD \(\w{10}\): no dvc\.lock that names data/dist\. [^\n]+$"):
        diff.read(empty, "HEAD")


def test_tables_that_are_not_ours(tmp_path: Path) -> None:
    """What is no parquet, lacks a column, has another type or a row twice is one line that names the table."""
    path = tmp_path / FULL
    path.parent.mkdir()
    twice = pl.concat([OLD.kept, OLD.kept])
    cases = {
        "cannot be read (": OLD.kept.drop("language"),
        "not the table that was expected.": OLD.kept.with_columns(conversation=pl.lit("Hello.")),
        "a row_id stands twice.": twice,
    }
    for expected, table in cases.items():
        table.write_parquet(path)
        with pytest.raises(BuildError, match=rf"^mine: {FULL}: {re.escape(expected)}[^\n]*$"):
            diff.read_folder(tmp_path, "mine")
    path.write_bytes(b"no table")
    with pytest.raises(BuildError, match=rf"^mine: {FULL}: cannot be read \([^\n]*$"):
        diff.read_folder(tmp_path, "mine")


def test_the_command(empty: Path) -> None:
    """`m2l diff` compares with data/dist or --to, prints text or JSON, and ends with 0 whatever differs."""
    write(empty / "before", OLD)
    missing = m2l(empty, "diff", "before")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == f"BuildError: data/dist: holds no {FULL}. Make it with `dvc repro`, or {FOLDER}.\n"
    write(empty / "data" / "dist", NEW)
    report = diff.compare(OLD, NEW, examples=1)
    named = msgspec.structs.replace(report, old="before", new="data/dist")
    shown = m2l(empty, "diff", "before", "--examples", "1")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, text(named) + "\n", "")
    printed = m2l(empty, "diff", "before", "--examples", "1", "--json")
    assert (printed.returncode, json.loads(printed.stdout)) == (0, json.loads(msgspec.json.encode(named)))
    same = m2l(empty, "diff", "before", "--to", "before")
    assert same.returncode == 0
    assert same.stdout == "No difference: before and before hold the same conversations, kept and rejected.\n"
    unknown = m2l(empty, "diff", "nowhere")
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (2, "", 1)
