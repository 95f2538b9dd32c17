"""What a reader of data/dist gets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from m2l import schema
from tests.helpers import run

PAPER_COLUMNS = [
    "id", "task_evol_type", "task_evol_prompt", "seed_prompt", "output_assistant_reply", "evolved_user_prompt",
    "multiturn_evol_type", "multiturn_evol_prompt", "evolved_multiturn_prompt", "no_of_turns", "language", "task",
    "conversation",
]  # fmt: skip


FRENCH = "Il pleut souvent à Lyon en automne, mais les après-midi restent assez doux jusqu'en novembre."


@pytest.fixture
def dist(project: Path) -> Path:
    """A dataset built on the fake engine, with a French seed among the English ones, which is rejected."""
    path = project / "data" / "seeds" / "starter" / "eng_Latn.jsonl"
    french = {"task": "general", "instruction": "Quel temps fait-il à Lyon en automne ?", "response": FRENCH}
    path.write_text(json.dumps(french, ensure_ascii=False) + "\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    run(project)
    return project / "data" / "dist"


def test_the_columns_are_those_of_the_paper_then_ours(dist: Path) -> None:
    """Names, order and types of M2Lingual come first in each of the three configs."""
    for name in ("seed_data", "seed_evol_data", "full_data"):
        table = pl.read_parquet(dist / name / "train.parquet")
        assert table.columns[: len(PAPER_COLUMNS)] == PAPER_COLUMNS
        assert table.schema == pl.Schema(schema.ROWS)
        assert table["id"].to_list() == list(range(table.height))


def test_each_config_holds_the_one_before(dist: Path) -> None:
    """seed_data is part of seed_evol_data, and that of full_data; each parent is a row, kept or rejected."""
    ids = [
        set(pl.read_parquet(dist / n / "train.parquet")["row_id"]) for n in ("seed_data", "seed_evol_data", "full_data")
    ]
    assert ids[0] < ids[1] < ids[2]
    full = pl.read_parquet(dist / "full_data" / "train.parquet")
    tables = dist.parent / "tables" / "eng_Latn"
    names = ("seed", "evolved", "rejected")
    rows = pl.concat(pl.read_parquet(tables / f"{name}.parquet", columns=["row_id", "kind"]) for name in names)
    by_kind = {kind: set(rows.filter(pl.col("kind") == kind)["row_id"]) for kind in ("seed", "evolved")}
    assert set(full.filter(pl.col("kind") == "evolved")["parent_id"]) <= by_kind["seed"]
    assert set(full.filter(pl.col("kind") == "conversation")["parent_id"]) <= by_kind["evolved"]
    assert set(full["seed_id"]) <= by_kind["seed"]


def test_every_rejected_row_has_its_reasons(dist: Path) -> None:
    """A rejected row names the first rule it failed and all of them."""
    rejected = pl.read_parquet(dist / "rejected" / "train.parquet")
    assert "wrong_language" in rejected.filter(pl.col("kind") == "seed")["reason"].to_list()
    for row in rejected.iter_rows(named=True):
        assert row["reason"] == row["reasons"][0]


def test_datasets_loads_every_config_that_the_card_names(dist: Path, tmp_path: Path) -> None:
    """`datasets.load_dataset("data/dist", config)` gives the rows of the parquet files, offline."""
    code = (
        "import datasets, json, sys\n"
        "rows = {}\n"
        "for name in ('seed_data', 'seed_evol_data', 'full_data', 'rejected'):\n"
        "    data = datasets.load_dataset(sys.argv[1], name, split='train')\n"
        "    rows[name] = len(data)\n"
        "    assert data[0]['conversation'][0]['role'] == 'user'\n"
        "print(json.dumps(rows))\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(dist)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name, rows in found.items():
        assert rows == pl.scan_parquet(dist / name / "train.parquet").select(pl.len()).collect().item()


def test_the_card_tells_what_the_data_holds(dist: Path) -> None:
    """Languages, rows, model and rejections in the card come from the data."""
    card = (dist / "README.md").read_text(encoding="utf-8")
    full = pl.read_parquet(dist / "full_data" / "train.parquet")
    assert f"| `full_data` | {full.height} |" in card
    assert "English (`eng_Latn`)" in card
    assert "Gemma 3 270M" in card
    assert '  - "en"' in card


def test_the_card_tells_how_it_was_made(dist: Path) -> None:
    """Model, filters with their settings, digests of the prompts, what cannot be verified, and how to rebuild."""
    card = (dist / "README.md").read_text(encoding="utf-8")
    assert "| `length` | max_words 400, min_assistant_words 2, min_user_words 2, of_language " in card
    assert "| `operator/general_deepening` | `" in card
    assert "m2l plan recipe=starter model=gemma3_270m 'language=[eng_Latn]'" in card
    assert "@inproceedings{m2lingual," in card
    assert "No filter can tell whether an answer is true" in card
    rejected = pl.read_parquet(dist / "rejected" / "train.parquet")
    for reason, count in rejected["reason"].value_counts().iter_rows():
        assert f"| `{reason}` | {count} |" in card


def test_the_header_of_the_card_is_yaml(dist: Path) -> None:
    """Languages, licence, tasks, size and configs can be read by a YAML parser and come from the data."""
    import yaml

    header = yaml.safe_load((dist / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert (header["language"], header["language_bcp47"]) == (["en"], ["en"])
    assert header["license"] == "other"
    assert header["license_name"] == "Apache-2.0 and Gemma Terms of Use"
    assert header["size_categories"] == ["n<1K"]
    assert "text-generation" in header["task_categories"]
    assert "translation" not in header["task_categories"]
    configs = {config["config_name"]: config["data_files"] for config in header["configs"]}
    assert configs["full_data"] == [{"split": "train", "path": "full_data/train.parquet"}]
    assert all((dist / file["path"]).is_file() for files in configs.values() for file in files)


def test_only_directives_of_the_recipe_are_in_the_digests(project: Path) -> None:
    """Editing the form of a language that the recipe lacks moves nothing; editing one that it has moves its digest."""
    from tests.helpers import compose

    before = compose(project).dataset.prompts
    path = project / "conf/operator/general_deepening.yaml"
    text = path.read_text(encoding="utf-8")
    for language, moved in (("fra_Latn", set()), ("eng_Latn", {"operator/general_deepening"})):
        path.write_text(text.replace(f"  {language}: >-\n", f"  {language}: >-\n    Be kind.\n"), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
        after = compose(project).dataset.prompts
        assert {name for name in before if before[name] != after[name]} == moved
