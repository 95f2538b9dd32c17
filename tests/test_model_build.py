"""A build with the real model: small, and read like a user would."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from m2l.identify import second_opinion, shares
from tests.command import m2l
from tests.conftest import ROOT

pytestmark = pytest.mark.model
FILE = "gemma-3-270m-q4_k_m.gguf"
CODES = {"fra_Latn": "fr", "hin_Deva": "hi", "arb_Arab": "ar"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three languages and two tasks, built by the default model."""
    from tests.conftest import copy_project

    root = tmp_path_factory.mktemp("model") / "project"
    copy_project(root)
    source = ROOT / "cache" / "models" / FILE
    assert source.is_file(), "no default model: run `make model`"
    (root / "cache" / "models" / FILE).symlink_to(source)
    lock = ROOT / "cache" / "model_lock.json"
    if lock.is_file():
        shutil.copy(lock, root / "cache" / "model_lock.json")
    (root / "params.yaml").write_text(
        f"languages: [{', '.join(CODES)}]\n"
        "overrides: [recipe=starter, 'task=[general,question_answering]', engine.n_slots=8, recipe.seeds_per_task=2]\n"
    )
    assert m2l(root, "compose").returncode == 0
    for language in CODES:
        done = m2l(root, "build", language)
        assert done.returncode == 0, done.stderr
        assert re.search(r": [1-9]\d* calls made, 0 reused, \d+ tokens/s; ", done.stdout)
    assert m2l(root, "assemble").returncode == 0
    return root


def test_the_model_writes_in_the_language_of_its_examples(built: Path) -> None:
    """Before any filter, four of five longer answers are in the language that was asked for."""
    for language, code in CODES.items():
        folder = built / "data" / "tables" / language
        rows = pl.concat(
            [
                pl.read_parquet(folder / f"{name}.parquet").select("kind", "conversation")
                for name in ("evolved", "conversation", "rejected")
            ]
        ).filter(pl.col("kind") != "seed")
        texts = [turn["content"] for talk in rows["conversation"] for turn in talk]
        long = [text for text in dict.fromkeys(texts) if sum(map(str.isalpha, text)) >= 24]
        right = [text for text in long if code in {second_opinion(text), shares(text)[0][0]}]
        assert len(long) >= 20
        assert len(right) >= 0.8 * len(long), language


def test_rows_are_conversations_and_no_placeholders(built: Path) -> None:
    """Kept conversations alternate, say something new at each turn, and hold no mark of a prompt."""
    table = pl.read_parquet(built / "data" / "dist" / "full_data" / "train.parquet")
    talks = table.filter(pl.col("kind") == "conversation")
    assert talks.height >= 9
    for row in talks.iter_rows(named=True):
        contents = [turn["content"] for turn in row["conversation"]]
        assert len(set(contents)) == len(contents) == 2 * row["no_of_turns"]
        assert not any(re.search(r"\{\{|<\||\bTODO\b|lorem ipsum", content, re.IGNORECASE) for content in contents)


def test_nothing_is_left_to_do(built: Path) -> None:
    """After the build, a plan needs no call, and a second build loads no model."""
    assert m2l(built, "plan").stdout.splitlines()[-1] == "In all: 0 calls. Nothing needs a model."
    again = m2l(built, "build", "fra_Latn")
    assert "fra_Latn: 0 calls made" in again.stdout
    assert again.stderr == ""


def test_a_model_file_that_was_exchanged_is_noticed(built: Path) -> None:
    """A file of the same name and size but other bytes stops before it is loaded."""
    path = built / "cache" / "models" / FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    try:
        done = m2l(built, "plan")
    finally:
        path.unlink()
        path.symlink_to(ROOT / "cache" / "models" / FILE)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"ModelError: cache/models/{FILE}: sha256 is [0-9a-f]{{12}}\.\.\., conf/model/gemma3_270m\.yaml declares "
        r"a5fd3b62230a\.\.\. Get it with `m2l model get gemma3_270m`\.\n",
        done.stderr,
    )
