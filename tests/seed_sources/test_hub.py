"""Datasets of the hub: fetched once, on request, and read offline ever after."""

from pathlib import Path

import polars as pl
import pytest

from m2l import config, slices
from m2l.errors import ConfigError, SeedError
from m2l.seed_sources.hub import Hub
from tests.command import m2l
from tests.conftest import ROOT
from tests.seed_sources.helpers import wanted

AYA: list[dict[str, object]] = [
    {"inputs": "How do I dry herbs?", "targets": "Hang them up in the shade.", "language": "English",
     "language_code": "eng", "annotation_type": "original-annotations", "user_id": "u1"},
    {"inputs": "怎么晒香草？", "targets": "挂在阴凉处。", "language": "Simplified Chinese",
     "language_code": "zho", "annotation_type": "re-annotations", "user_id": "u2"},
    {"inputs": "怎麼曬香草？", "targets": "掛在陰涼處。", "language": "Traditional Chinese",
     "language_code": "zho", "annotation_type": "re-annotations", "user_id": "u3"},
    {"inputs": "Nikausheje mimea?", "targets": "Itundike kivulini.", "language": "Swahili",
     "language_code": "swh", "annotation_type": "original-annotations", "user_id": "u4"},
    {"inputs": "Broken", "targets": None, "language": "English",
     "language_code": "eng", "annotation_type": "original-annotations", "user_id": "u5"},
]  # fmt: skip
COLLECTION: list[dict[str, object]] = [
    {"id": 1, "inputs": "What is the tallest mountain of Africa?", "targets": "Kilimanjaro.",
     "dataset_name": "M-inst", "sub_dataset_name": "-", "task_type": "question-answering", "template_id": 3,
     "language": "eng", "split": "train", "script": "Latn"},
    {"id": 2, "inputs": "Summarize: a long, long text about rain.", "targets": "A text about rain.",
     "dataset_name": "S-inst", "sub_dataset_name": "-", "task_type": "summarization", "template_id": 1,
     "language": "eng", "split": "train", "script": "Latn"},
    {"id": 3, "inputs": "Which event is it?", "targets": "A flood.",
     "dataset_name": "X-inst", "sub_dataset_name": "-", "task_type": "event-linking", "template_id": 1,
     "language": "eng", "split": "train", "script": "Latn"},
]  # fmt: skip


def shipped(name: str) -> Hub:
    """Return a shipped seed source."""
    target = config.compose(ROOT, [f"seed_source=[{name}]", "engine=fake"]).seed_source[name]
    return config.instantiate(target, Hub, where=name)


def local(rows: list[dict[str, object]], folder: Path) -> str:
    """Write rows as a dataset in a folder, which `datasets` takes as an id."""
    folder.mkdir()
    pl.DataFrame(rows).write_parquet(folder / "train.parquet")
    return str(folder)


def test_the_aya_dataset_in_its_published_columns(tmp_path: Path) -> None:
    """Its languages by code or, where two share one, by name; an empty answer is put aside."""
    source = shipped("aya_dataset")
    path = tmp_path / "data/seeds/aya_dataset/train.parquet"
    path.parent.mkdir(parents=True)
    pl.DataFrame(AYA).write_parquet(path)
    found = source.read(tmp_path, wanted(("eng_Latn", "zho_Hans", "zho_Hant", "swh_Latn"), ("general",)))
    assert {name: [seed.instruction for seed in seeds] for name, seeds in found.seeds.items()} == {
        "eng_Latn": ["How do I dry herbs?"],
        "zho_Hans": ["怎么晒香草？"],
        "zho_Hant": ["怎麼曬香草？"],
        "swh_Latn": ["Nikausheje mimea?"],
    }
    assert found.seeds["swh_Latn"][0].origin == "data/seeds/aya_dataset/train.parquet#original-annotations/u4"
    assert [row.reason for row in found.quarantined["eng_Latn"]] == ["response is missing, empty or no text"]


def test_the_aya_collection_in_its_published_columns(tmp_path: Path) -> None:
    """Its tasks become ours; one that has no counterpart is put aside by name."""
    source = shipped("aya_collection")
    path = tmp_path / "data/seeds/aya_collection/rows.jsonl"
    path.parent.mkdir(parents=True)
    pl.DataFrame(COLLECTION).write_ndjson(path)
    found = source.read(tmp_path, wanted(("eng_Latn",), ("question_answering", "summarization")))
    assert [(seed.task, seed.input) for seed in found.seeds["eng_Latn"]] == [
        ("question_answering", None),
        ("summarization", None),
    ]
    assert [row.reason for row in found.quarantined["eng_Latn"]] == ["unknown task 'event-linking'"]


def test_a_split_for_evaluation_is_refused() -> None:
    """The test split of the Aya dataset repeats an evaluation suite, and is never seeded from."""
    overrides = ["seed_source=[aya_dataset]", "seed_source.aya_dataset.split=test", "engine=fake"]
    with pytest.raises(ConfigError, match="split 'test' is not for seeds: it repeats the Aya evaluation suite"):
        slices.read_seeds(ROOT, config.compose(ROOT, overrides))


def test_what_was_not_fetched_is_said_and_nothing_is_opened(tmp_path: Path) -> None:
    """A build without the file says how to get it."""
    with pytest.raises(SeedError) as error:
        shipped("aya_dataset").read(tmp_path, wanted())
    assert str(error.value) == (
        "data/seeds/aya_dataset/*: no such file. Get CohereLabs/aya_dataset by `m2l seeds get`, which needs the "
        "network once, or put the file there."
    )


def test_a_dataset_is_fetched_once_and_read_as_a_table(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`m2l seeds get` puts a dataset in place, and the report then counts its rows."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    dataset = local(AYA, tmp_path / "aya")
    done = m2l(project, "seeds", "get", "aya_dataset", f"seed_source.aya_dataset.dataset={dataset}")
    assert done.returncode == 0, done.stderr
    assert "5 rows in data/seeds/aya_dataset/default-train.parquet" in done.stdout
    done = m2l(
        project, "seeds", "report", "seed_source=[aya_dataset]", "language=[eng_Latn,swh_Latn]", "task=[general]"
    )
    assert done.stdout.splitlines() == [
        "eng_Latn: 1 seeds (general 1)",
        "swh_Latn: 1 seeds (general 1)",
        "eng_Latn: 1 rows put aside: response is missing, empty or no text",
        "In all: 2 seeds, 1 rows put aside.",
    ]


def test_a_dataset_that_does_not_exist_is_one_line(project: Path, tmp_path: Path) -> None:
    """An id that cannot be fetched is an error of one line, exit code 2."""
    nowhere = tmp_path / "nowhere"
    done = m2l(project, "seeds", "get", "aya_dataset", f"seed_source.aya_dataset.dataset={nowhere}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"SeedError: {nowhere}: ")
    assert m2l(project, "seeds", "get", "starter").returncode == 2
