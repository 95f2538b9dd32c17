"""Seeds: what is read, and what is put aside with its place and reason."""

import json
from pathlib import Path

import pytest

from m2l.errors import SeedError
from m2l.seeds import JsonLines
from m2l.spec import Task

TASKS = {
    "general": Task(title="", description="", input=False, min_words=1),
    "summarization": Task(title="", description="", input=True, min_words=1),
}
GOOD = {"task": "general", "instruction": "Say hello.", "response": "Good morning."}
FILE = "data/seeds/x/eng_Latn.jsonl"


def read(root: Path, *lines: object) -> tuple[list[str], list[tuple[str, str]]]:
    """Write lines, read them, and return instructions and (where, reason)."""
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    source = JsonLines("data/seeds/x/{language}.jsonl", source="test", license="CC0")
    seeds, aside = source.read(root, "eng_Latn", TASKS)
    return [seed.instruction for seed in seeds], [(row.where, row.reason) for row in aside]


def test_good_rows_are_read_in_order_and_stripped(tmp_path: Path) -> None:
    """Rows keep their order; blank lines are nothing; spaces around texts go."""
    other = GOOD | {"instruction": " दिन अच्छा हो! "}
    assert read(tmp_path, GOOD, "", other) == (["Say hello.", "दिन अच्छा हो!"], [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"task": "general"', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('"text"', "not JSON"),
        ({"task": "general", "instruction": "A?"}, "response is missing, empty or no text"),
        (GOOD | {"instruction": "  "}, "instruction is missing, empty or no text"),
        (GOOD | {"response": 5}, "response is missing, empty or no text"),
        (GOOD | {"task": None}, "task is missing, empty or no text"),
        (GOOD | {"task": "genral"}, "unknown task 'genral'"),
        (GOOD | {"answer": "x"}, "unknown key 'answer'"),
        (GOOD | {"input": "A text."}, "task 'general' takes no input"),
        (GOOD | {"input": ""}, "input is empty or no text"),
        (GOOD | {"task": "summarization"}, "input is missing"),
        (GOOD | {"response": "say HELLO"}, "the response repeats the instruction"),
        (GOOD | {"response": "bro\ufffdken"}, "broken characters"),
        (GOOD | {"response": "x" * 20_001}, "longer than 20000 characters"),
        (GOOD | {"response": "Another answer."}, "the same instruction stands above"),
    ],
)
def test_a_malformed_row_is_put_aside_with_its_reason(tmp_path: Path, line: object, reason: str) -> None:
    """Each kind of malformed row, beside a good one that is kept."""
    assert read(tmp_path, GOOD, line) == (["Say hello."], [(f"{FILE}:2", reason)])


def test_bytes_that_are_no_utf8_are_put_aside(tmp_path: Path) -> None:
    """A line in another encoding is a row with a reason."""
    read(tmp_path, GOOD)
    (tmp_path / FILE).write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe broken\n")
    _, aside = JsonLines("data/seeds/x/{language}.jsonl", source="t", license="CC0").read(tmp_path, "eng_Latn", TASKS)
    assert [(row.where, row.reason) for row in aside] == [(f"{FILE}:2", "not JSON")]


def test_rows_of_a_task_that_is_not_asked_for_are_passed_over(tmp_path: Path) -> None:
    """A task that conf/ declares but the recipe leaves out is no malformed row."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "translation.yaml").write_text("")
    assert read(tmp_path, GOOD, GOOD | {"task": "translation"}) == (["Say hello."], [])


def test_a_file_without_a_usable_row(tmp_path: Path) -> None:
    """The error says where, how many rows, and what is wrong with the first."""
    with pytest.raises(SeedError) as error:
        read(tmp_path, "{}", "x")
    assert str(error.value) == (
        f"{FILE}:2: no usable seed for eng_Latn among 2 rows; the first: {FILE}:1: task is missing, empty or no text. "
        "Add seeds for it."
    )


@pytest.mark.parametrize("path", ["seeds/x.jsonl", "/etc/passwd", "data/seeds/../../x.jsonl"])
def test_a_path_that_dvc_does_not_watch_is_refused(path: str) -> None:
    """Seeds lie below data/seeds, where edits are noticed."""
    with pytest.raises(ValueError, match="is not below data/seeds"):
        JsonLines(path, source="t", license="CC0")


def test_an_id_follows_content_and_not_place(tmp_path: Path) -> None:
    """The same instruction has the same id wherever it stands, and another in another task."""
    source = JsonLines("data/seeds/x/{language}.jsonl", source="t", license="CC0")
    ids = []
    for lines in ([GOOD, GOOD | {"instruction": "B?"}], [GOOD | {"instruction": "C?"}, GOOD]):
        read(tmp_path, *lines)
        seeds, _ = source.read(tmp_path, "eng_Latn", TASKS)
        ids.append({seed.instruction: seed.seed_id for seed in seeds})
    assert ids[0]["Say hello."] == ids[1]["Say hello."]
    assert len({*ids[0].values(), *ids[1].values()}) == 3
