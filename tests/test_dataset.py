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
