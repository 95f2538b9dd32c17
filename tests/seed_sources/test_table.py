"""Any table as a seed source: what a mapping alone makes of foreign rows, and what is put aside."""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m2l.errors import SeedError
from m2l.seed_sources.base import Found
from m2l.seed_sources.table import Table
from tests.seed_sources.helpers import wanted

ROWS: list[dict[str, Any]] = [
    {"lang": "en", "q": "Where is the key?", "ctx": "The key is under the mat.", "a": "under the mat", "n": 1},
    {"lang": "hin", "q": "चाबी कहाँ है?", "ctx": "चाबी चटाई के नीचे है।", "a": "चटाई के नीचे", "n": 2},
    {"lang": "zh", "q": "钥匙在哪里？", "ctx": "钥匙在垫子下面。", "a": "垫子下面", "n": 3},
    {"lang": "English", "q": "Who has it?", "ctx": "Nobody has it.", "a": "nobody", "n": 4},
]
READING: dict[str, Any] = {
    "source": "test",
    "license": "CC0",
    "language": "{{ lang }}",
    "task": "reading_comprehension",
    "instruction": "{{ q }}",
    "input": {"passage": "{{ ctx }}"},
    "response": "{{ a }}",
    "id": "{{ n }}",
}
LANGUAGES = ("eng_Latn", "hin_Deva", "zho_Hans")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(root: Path, name: str, asked: tuple[str, ...] = ("reading_comprehension",), **mapping: Any) -> Found:
    """Read what lies at a place below data/seeds with a mapping."""
    return Table(path=f"data/seeds/{name}", **mapping).read(root, wanted(LANGUAGES, asked))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_every_good_row_of_every_kind_of_file_is_a_seed(tmp_path: Path, kind: str) -> None:
    """A code, an ISO code, a BCP-47 code or a name tells the language; the passage becomes the input."""
    write(tmp_path / f"data/seeds/x/rows.{kind}", ROWS)
    found = read(tmp_path, f"x/*.{kind}", **READING)
    assert {name: [seed.response for seed in seeds] for name, seeds in found.seeds.items()} == {
        "eng_Latn": ["under the mat", "nobody"],
        "hin_Deva": ["चटाई के नीचे"],
        "zho_Hans": ["垫子下面"],
    }
    assert not any(found.quarantined.values())
    first = found.seeds["eng_Latn"][0]
    assert (first.instruction, first.input) == ("Where is the key?", "The key is under the mat.")
    assert first.origin == f"data/seeds/x/rows.{kind}#1"
    assert (first.source, first.license) == ("test", "CC0")


def test_what_is_wrong_is_put_aside_with_place_and_reason_and_nothing_is_lost(tmp_path: Path) -> None:
    """Seeds and rows put aside are together the lines of the file."""
    path = write(tmp_path / "data/seeds/x/rows.jsonl", ROWS)
    bad = [
        "{not json",
        json.dumps(["a", "list"]),
        json.dumps(ROWS[0] | {"lang": "qu"}),
        json.dumps(ROWS[0] | {"q": " "}),
        json.dumps(ROWS[0] | {"ctx": ""}),
        json.dumps({"lang": "en", "q": "No context?", "a": "no"}),
        json.dumps(ROWS[0]),
    ]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(bad) + "\n", encoding="utf-8")
    found = read(tmp_path, "x/rows.jsonl", **READING)
    aside = {name: [(row.where, row.reason) for row in rows] for name, rows in found.quarantined.items() if rows}
    where = "data/seeds/x/rows.jsonl"
    assert aside == {
        "": [
            (f"{where}:5", "not JSON"),
            (f"{where}:6", "not a JSON object"),
            (f"{where}:7", "no conf/language for 'qu'"),
        ],
        "eng_Latn": [
            (f"{where}:8", "instruction is missing, empty or no text"),
            (f"{where}:9", "input 'passage' is empty or no text"),
            (f"{where}:10", "a column: 'ctx' is undefined. Correct the template."),
            (f"{where}:11", "the same instruction stands above"),
        ],
    }
    assert sum(map(len, found.seeds.values())) + sum(map(len, aside.values())) == len(ROWS) + len(bad)


def test_a_template_that_fails_on_one_row_puts_just_that_row_aside(tmp_path: Path) -> None:
    """A sum over a text, or a letter of a number, is that row's reason and stops nobody."""
    write(tmp_path / "data/seeds/x/rows.jsonl", [{"n": 2, "a": "five"}, {"n": "two", "a": "six"}])
    mapping = {"source": "t", "license": "CC0", "language": "eng_Latn", "task": "question_answering"}
    found = read(tmp_path, "x/rows.jsonl", ("question_answering",), instruction="What is 3 and {{ n + 1 }}?",
                 response="{{ a }}", **mapping)  # fmt: skip
    assert [seed.instruction for seed in found.seeds["eng_Latn"]] == ["What is 3 and 3?"]
    [row] = found.quarantined["eng_Latn"]
    assert row.where == "data/seeds/x/rows.jsonl:2"
    assert row.reason.startswith("a column: can only concatenate str")


def test_a_row_of_a_csv_with_too_many_or_too_few_cells_is_put_aside(tmp_path: Path) -> None:
    """A torn line of a CSV is one row with a reason, and the others are read."""
    path = write(tmp_path / "data/seeds/x/rows.csv", ROWS)
    with path.open("a", encoding="utf-8") as file:
        file.write("en,only two\nen,a,b,c,d,e,f\n")
    found = read(tmp_path, "x/rows.csv", **READING)
    assert [row.reason for row in found.quarantined[""]] == ["not a JSON object"] * 2
    assert sum(map(len, found.seeds.values())) == 4


def test_options_labels_and_the_prompt_of_the_task(tmp_path: Path) -> None:
    """Lists come from several columns or from one; without an instruction the task's own is rendered."""
    causes = [
        {"l": "en", "p": "The floor is wet.", "one": "It rained in.", "two": "It is new.", "ask": "cause", "right": 0},
        {"l": "en", "p": "She opened the tap.", "one": "It froze.", "two": "Water ran.", "ask": "effect", "right": 1},
    ]
    write(tmp_path / "data/seeds/c/rows.jsonl", causes)
    found = read(
        tmp_path,
        "c/rows.jsonl",
        ("commonsense_reasoning",),
        source="t",
        license="CC0",
        language="{{ l }}",
        task="commonsense_reasoning",
        input={"premise": "{{ p }}", "options": ["{{ one }}", "{{ two }}"], "question": "{{ ask }}"},
        response="{{ 'AB'[right] }}. {{ [one, two][right] }}",
    )
    cause, effect = found.seeds["eng_Latn"]
    assert "cause" in cause.instruction
    assert "result" in effect.instruction
    assert cause.input == "The floor is wet.\nA. It rained in.\nB. It is new."
    assert (cause.response, effect.response) == ("A. It rained in.", "B. Water ran.")
    labelled: list[dict[str, Any]] = [
        {"l": "en", "s": "So good!", "all": ["good", "bad"], "a": "good"},
        {"l": "en", "s": "Hm.", "a": "bad"},
    ]
    write(tmp_path / "data/seeds/s/rows.jsonl", labelled)
    found = read(
        tmp_path,
        "s/rows.jsonl",
        ("sentiment_analysis",),
        source="t",
        license="CC0",
        language="{{ l }}",
        task="sentiment_analysis",
        input={"text": "{{ s }}", "labels": {"column": "all"}},
        response="{{ a }}",
    )
    [seed] = found.seeds["eng_Latn"]
    assert seed.fields["labels"] == ("good", "bad")
    assert seed.instruction.endswith("good, bad.")
    assert [row.reason for row in found.quarantined["eng_Latn"]] == ["input 'labels' is missing"]


def test_names_of_tasks_are_mapped_and_unknown_ones_put_aside(tmp_path: Path) -> None:
    """A foreign name of a task stands for ours; one that the mapping lacks is said."""
    rows = [{"l": "eng_Latn", "t": kind, "i": f"Say {kind}.", "o": "Said."} for kind in ("open-qa", "riddle")]
    write(tmp_path / "data/seeds/m/rows.jsonl", rows)
    mapping = {"source": "t", "license": "CC0", "language": "{{ l }}", "instruction": "{{ i }}", "response": "{{ o }}"}
    found = read(
        tmp_path,
        "m/rows.jsonl",
        ("question_answering",),
        task="{{ t }}",
        tasks={"open-qa": "question_answering"},
        **mapping,
    )
    assert [seed.task for seed in found.seeds["eng_Latn"]] == ["question_answering"]
    assert [row.reason for row in found.quarantined["eng_Latn"]] == ["unknown task 'riddle'"]


def test_an_instruction_that_holds_it_all_needs_no_fields(tmp_path: Path) -> None:
    """`self_contained` rows of a task with fields are seeds without them."""
    write(tmp_path / "data/seeds/w/rows.jsonl", [{"i": "Shorten this: a long text.", "o": "A text."}])
    mapping = {"source": "t", "license": "CC0", "language": "eng_Latn", "instruction": "{{ i }}", "response": "{{ o }}"}
    whole = read(tmp_path, "w/rows.jsonl", ("summarization",), task="summarization", self_contained=True, **mapping)
    assert [(seed.input, seed.fields) for seed in whole.seeds["eng_Latn"]] == [(None, {})]
    apart = read(tmp_path, "w/rows.jsonl", ("summarization",), task="summarization", **mapping)
    assert [row.reason for row in apart.quarantined["eng_Latn"]] == ["input is missing"]


def test_a_file_that_is_missing_or_no_table(tmp_path: Path) -> None:
    """The errors say where and what to do."""
    with pytest.raises(SeedError) as error:
        read(tmp_path, "none/*.csv", **READING)
    assert str(error.value) == "data/seeds/none/*.csv: no such file. Put it there, or drop the seed source."
    (tmp_path / "data/seeds/x").mkdir(parents=True)
    (tmp_path / "data/seeds/x/rows.xlsx").write_bytes(b"PK")
    with pytest.raises(SeedError, match=r"\.xlsx is no kind of table\. Use \.jsonl, \.csv, \.tsv or \.parquet\.$"):
        read(tmp_path, "x/rows.xlsx", **READING)
    (tmp_path / "data/seeds/x/rows.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(SeedError, match=r"rows\.parquet: cannot be read \("):
        read(tmp_path, "x/rows.parquet", **READING)


@pytest.mark.parametrize("path", ["seeds/x.csv", "/etc/x.csv", "data/seeds/../x.csv"])
def test_a_table_that_dvc_does_not_watch_is_refused(path: str) -> None:
    """Tables lie below data/seeds, where edits are noticed."""
    with pytest.raises(ValueError, match="is not below data/seeds"):
        Table(path=path, **READING)
