"""The last stage: nothing is lost, a seed is on one side of a split, and the numbers can be recounted."""

import csv
import json
import math
import re
import statistics
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m2l import assemble, schema
from m2l.conservation import conserved
from m2l.errors import BuildError
from m2l.records import Request
from m2l.sketch import sketches
from m2l.text import words
from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import compose, run, tree
from tests.test_repair import run as run_scripted
from tests.test_repair import sound, step

TABLES = Path("data/tables/eng_Latn")
KINDS = ("seed", "evolved", "conversation")
FRENCH = "Le vieux moulin au bord de la rivière s'est arrêté l'hiver dernier parce que la glace a brisé sa roue."


def read(name: str) -> pl.DataFrame:
    """Return a table of English."""
    return pl.read_parquet(TABLES / f"{name}.parquet")


def numbers(name: str) -> list[dict[str, str]]:
    """Return a table of numbers as a spreadsheet would read it."""
    with Path(f"data/dist/numbers/{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def again(project: Path, *overrides: str) -> dict[str, Any]:
    """Assemble the tables as they are."""
    return assemble.assemble(project, compose(project, *overrides).dataset)


def test_every_row_is_kept_rejected_or_quarantined(project: Path) -> None:
    """Metrics, files and declaration agree: 8 seeds and one that is none, 3 operators each, one variation each."""
    path = project / "data/seeds/starter/eng_Latn.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"task": "general"}\n', encoding="utf-8")
    run(project)
    metrics = json.loads(Path("data/dist/metrics.json").read_text(encoding="utf-8"))
    assert metrics["attempted"] == 8 + 24 + 24 + 1
    assert metrics["quarantined"] == 1
    assert metrics["kept"] + metrics["rejected"] + metrics["quarantined"] == metrics["attempted"]
    assert metrics["kept"] == sum(read(kind).height for kind in KINDS)
    assert metrics["rejected"] == sum(metrics["rejected_for"].values()) == read("rejected").height
    full = pl.read_parquet("data/dist/full_data/train.parquet")
    assert metrics["sampled"] == metrics["rows"]["full_data"] == metrics["train"] == full.height
    by_kind = {row["kind"]: (int(row["attempted"]), int(row["sampled"])) for row in numbers("kinds")}
    held = Counter(full["kind"])
    assert by_kind == {
        "seed": (8, held["seed"]),
        "evolved": (24, held["evolved"]),
        "conversation": (24, held["conversation"]),
    }


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("evolved", lambda rows: rows.head(-1), r"are not the 24 attempted; \w{16} is lost"),
        ("conversation", lambda rows: pl.concat([rows, rows.head(1)]), r"24 attempted; \w{16} is there too often"),
    ],
)  # fmt: skip
def test_a_row_that_is_lost_or_doubled_stops_the_stage(project: Path, table: str, change: Any, message: str) -> None:
    """Tables that do not hold each attempted row once are refused in one line."""
    run(project)
    schema.write(change(read(table)), TABLES / f"{table}.parquet")
    with pytest.raises(BuildError, match=rf"^.*{TABLES}: {table}: .*{message}. Run `dvc repro -f`, then report it\.$"):
        again(project)


def test_conservation_counts_each_id() -> None:
    """As many ids are not enough: they must be the same ones."""
    conserved("x", ["a", "b"], {"kept": ["b"], "rejected": ["a"]})
    with pytest.raises(BuildError, match=r"^x: 1 kept \+ 1 rejected are not the 2 attempted; b is lost\."):
        conserved("x", ["a", "b"], {"kept": ["c"], "rejected": ["a"]})


def test_numbers_can_be_recounted_from_the_tables(project: Path) -> None:
    """Yield, words, turns, distinct-2 and truncation by task are what plain Python counts from the rows."""
    run(project, "recipe.quota.conversation=9")
    sampled = pl.read_parquet("data/dist/full_data/train.parquet").filter(pl.col("kind") == "conversation")
    attempted = pl.concat([read("evolved"), read("conversation"), read("rejected")], how="diagonal")
    attempted = attempted.filter(pl.col("kind") != "seed")
    kept = attempted.filter(pl.col("reason").is_null())
    assert len(numbers("tasks")) == 4
    for row in numbers("tasks"):
        of_task = pl.col("task") == row["task"]
        talks = [[turn["content"] for turn in talk] for talk in kept.filter(of_task)["conversation"]]
        users = [words(text) for talk in talks for text in talk[::2]]
        assert int(row["attempted"]) == attempted.filter(of_task).height
        assert float(row["yield"]) == round(len(talks) / attempted.filter(of_task).height, 4)
        assert float(row["turns"]) == round(len(users) / len(talks), 4)
        assert float(row["user_words"]) == round(sum(map(len, users)) / len(users), 4)
        bigrams: list[tuple[str, str]] = []
        for talk in sampled.filter(of_task)["conversation"]:
            found = [word for turn in talk for word in words(turn["content"])]
            bigrams += pairwise(found)
        assert float(row["distinct_2"]) == round(len(set(bigrams)) / len(bigrams), 4)
        assert float(row["truncated"]) == 0
    reasons = Counter(attempted["reason"].drop_nulls())
    found_reasons = Counter({row["reason"]: int(row["rows"]) for row in numbers("reasons") if row["kind"] != "seed"})
    assert set(found_reasons) == set(reasons)


def test_self_similarity_is_the_mean_over_all_pairs(project: Path) -> None:
    """What is summed in linear time is the mean of the cosine of each pair of sketches."""
    run(project)
    sampled = pl.read_parquet("data/dist/full_data/train.parquet").filter(pl.col("kind") == "conversation")
    texts = ["\n".join(turn["content"] for turn in talk) for talk in sampled["conversation"]]
    counts = [[int(count) for count in row] for row in sketches(pl.Series(texts))]

    def cosine(one: list[int], other: list[int]) -> float:
        lengths = [math.hypot(*row) for row in (one, other)]
        return sum(a * b for a, b in zip(one, other, strict=True)) / lengths[0] / lengths[1]

    mean = statistics.mean(cosine(*pair) for pair in combinations(counts, 2))
    assert math.isclose(float(numbers("languages")[0]["self_similarity"]), mean, abs_tol=1e-4)


def test_texts_that_were_asked_for_again_count_as_attempted(project: Path) -> None:
    """An answer in French, replaced by one in English, is one of five attempted texts, and none of the kept."""

    def answer(request: Request, attempt: int) -> str:
        return FRENCH if step(request) == "respond" and attempt == 0 else sound(request, attempt)

    requests, _ = run_scripted(project, answer, "recipe.repairs=2")
    assert len(requests) == 5
    [row] = numbers("languages")
    assert row["asked_again"] == "1"
    assert float(row["in_language"]) == 0.8
    assert float(row["kept_in_language"]) == 1


def test_a_text_that_was_cut_off_counts_even_if_it_was_replaced(project: Path) -> None:
    """One of five texts hit its budget and was asked for again; what was kept holds none."""

    def answer(request: Request, attempt: int) -> str:
        return "The ice broke the-" if step(request) == "respond" and attempt == 0 else sound(request, attempt)

    run_scripted(project, answer, "recipe.repairs=2")
    assert float(numbers("languages")[0]["truncated"]) == 0.2


def test_what_no_detector_knows_is_not_called_verified(project: Path, edit: Edit) -> None:
    """Where a language cannot be verified, its share is empty and nothing counts as verified."""
    edit("conf/language/eng_Latn.yaml", "method: detectors", "method: not_verifiable")
    run_scripted(project, sound)
    [row] = numbers("languages")
    assert (row["in_language"], row["kept_in_language"]) == ("", "")
    assert float(row["verified"]) == float(row["verifiable"]) == 0


def test_a_seed_and_all_that_descends_from_it_is_on_one_side(project: Path) -> None:
    """Of both splits together nothing is missing, no seed is in both, and ids run through."""
    run(project)
    whole = pl.read_parquet("data/dist/full_data/train.parquet")
    assert not Path("data/dist/full_data/validation.parquet").exists()
    run(project, "recipe.validation=0.6")
    train, held = (pl.read_parquet(f"data/dist/full_data/{split}.parquet") for split in ("train", "validation"))
    assert held.height > 10
    assert not set(train["seed_id"]) & set(held["seed_id"])
    both = pl.concat([train, held])
    assert both["id"].to_list() == list(range(whole.height))
    assert both.drop("id").sort("row_id").equals(whole.drop("id").sort("row_id"))
    assert again(project, "recipe.validation=0.6")["validation"] == held.height
    run(project)
    assert not Path("data/dist/full_data/validation.parquet").exists()


def test_a_filter_edit_makes_no_call_and_moves_only_what_it_judges(project: Path, edit: Edit) -> None:
    """A threshold that nothing meets moves the verdicts; what was measured, and the seeds, stay to the byte."""
    run(project, "language=[eng_Latn,hin_Deva]")
    before = tree(project / "data/tables")
    edit("conf/filter/repetition.yaml", "min_words: 12", "min_words: 11")
    assert run(project, "language=[eng_Latn,hin_Deva]") == []
    assert tree(project / "data/tables") == before
    edit("conf/filter/length.yaml", "min_assistant_words: 2", "min_assistant_words: 99")
    assert run(project, "language=[eng_Latn,hin_Deva]") == []
    changed = {name for name, content in tree(project / "data/tables").items() if before[name] != content}
    names = ("conversation.parquet", "rejected.parquet", "counts.json")
    assert changed == {f"{language}/{name}" for language in ("eng_Latn", "hin_Deva") for name in names}


def test_a_sample_with_too_few_rows_of_something_is_refused(project: Path) -> None:
    """quota.at_least names what is short in which language, and what to do."""
    run(project)
    with pytest.raises(
        BuildError,
        match=r"^recipe 'starter': quota\.at_least: eng_Latn: operator creative_writing_concretizing has \d of 9, "
        r"operator \w+ has \d of 9, operator \w+ has \d of 9 and 9 more are short\. Add seeds, or lower it\.$",
    ):
        again(project, "recipe.quota.at_least.operator=9")


def test_weights_move_the_quota(project: Path) -> None:
    """A task of weight 3 has three rows for each one of another; a language of weight 0.5 has half of the quota."""
    run(project)
    weights = ("+recipe.quota.weight.language.eng_Latn=0.5", "+recipe.quota.weight.task.general=3")
    again(project, *weights, "recipe.quota.conversation=12", "recipe.quota.evolved=0")
    full = pl.read_parquet("data/dist/full_data/train.parquet").filter(pl.col("kind") == "conversation")
    assert Counter(full["task"]) == {"general": 3, "question_answering": 1, "summarization": 1, "creative_writing": 1}


def test_short_cells_are_named(project: Path) -> None:
    """With one variation attempted of each instruction no task can fill a quota of 200: what is missing is listed."""
    run(project)
    metrics = again(project, "recipe.quota.conversation=200", "recipe.quota.evolved=0")
    tasks = {row["task"]: row for row in numbers("shortfalls") if row["level"] == "task"}
    assert len(tasks) == 4
    for row in tasks.values():
        assert int(row["short"]) == 50 - int(row["got"])
    assert metrics["short_rows"]["task"] == 200 - metrics["sampled"] + read("seed").height


def test_the_dataset_loads_by_split(project: Path) -> None:
    """The card names both splits with their files, and says what is held out."""
    run(project, "recipe.validation=0.6")
    card = Path("data/dist/README.md").read_text(encoding="utf-8")
    config = (
        "  - config_name: full_data\n    data_files:\n      - split: train\n        path: full_data/train.parquet\n"
    )
    assert config + "      - split: validation\n        path: full_data/validation.parquet\n" in card
    held = pl.read_parquet("data/dist/full_data/validation.parquet").height
    assert f"{held} rows are held out in the split `validation`" in card
    done = m2l(project, "summary")
    assert re.search(rf", {held} of them held out for validation\.$", done.stdout, re.MULTILINE)


def test_a_damaged_table_is_one_line(project: Path) -> None:
    """A table that cannot be read, or is another one, says which and what to do."""
    run(project)
    schema.write(read("seed"), TABLES / "measures.parquet")
    with pytest.raises(BuildError, match=r"measures\.parquet: not the table that was expected\. Make it again with"):
        again(project)
    (TABLES / "measures.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        BuildError, match=r"measures\.parquet: cannot be read \(.+\)\. Run `dvc repro`, which makes it\.$"
    ):
        again(project)
