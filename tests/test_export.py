"""The formats that trainers read, from the build and from what is built."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m2l import config
from tests.command import m2l
from tests.conftest import ROOT
from tests.helpers import run, tree
from tests.trainers import TRAINERS

FORMATS = config.options(ROOT, "exporter")
NASTY = 'He said "no",\n\\ and \u2028 </script> \U0001f600 مرحبا \t ክፍል'


@pytest.fixture
def built(project: Path) -> Path:
    """A project whose dataset was built in every format, of two languages, with a validation split."""
    seeds = project / "data/seeds/starter/eng_Latn.jsonl"
    seed = {"task": "general", "instruction": f"Repeat this, please: {NASTY}", "response": "I would rather not do it."}
    seeds.write_text(json.dumps(seed) + "\n" + seeds.read_text(encoding="utf-8"), encoding="utf-8")
    run(project, "language=[eng_Latn,arb_Arab]", f"exporter=[{','.join(FORMATS)}]", "recipe.validation=0.2")
    return project


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines, each of which is one line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def full(dist: Path, split: str) -> pl.DataFrame:
    """Return the rows of a split."""
    return pl.read_parquet(dist / "full_data" / f"{split}.parquet")


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_equals_what_the_build_exports(built: Path, tmp_path: Path, name: str) -> None:
    """`m2l export` writes every file that the build wrote in that format, and no call is made for it."""
    (built / "cache/store.sqlite").unlink()
    done = m2l(built, "export", name, "--to", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (0, f"{name}: written to {tmp_path / 'out'}\n"), done.stderr
    assert not (built / "cache/store.sqlite").exists()
    there, here = tmp_path / "out", built / "data/dist"
    assert tree(there)
    for file in tree(there):
        if file.endswith(".parquet"):
            assert pl.read_parquet(there / file).equals(pl.read_parquet(here / file)), file
        else:
            assert (there / file).read_bytes() == (here / file).read_bytes(), file


def test_a_format_is_written_where_git_ignores_it(built: Path) -> None:
    """Without --to an export lies in data/export, and a second one of the same gives the same bytes."""
    assert m2l(built, "export", "messages").stdout == "messages: written to data/export\n"
    first = tree(built / "data/export")
    assert set(first) == {"messages/train.jsonl", "messages/validation.jsonl"}
    m2l(built, "export", "messages")
    assert tree(built / "data/export") == first
    assert "/data/export/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_messages_are_the_conversations(built: Path) -> None:
    """A line a row, in order: roles that alternate and begin with the user, contents as they stand in the dataset."""
    for split in ("train", "validation"):
        found = lines(built / f"data/dist/messages/{split}.jsonl")
        rows = full(built / "data/dist", split)
        assert [line["row_id"] for line in found] == rows["row_id"].to_list()
        assert [line["messages"] for line in found] == rows["conversation"].to_list()
        for line in found:
            roles = [message["role"] for message in line["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(set(message) == {"role", "content"} and message["content"] for message in line["messages"])
            assert line["license"] == "Apache-2.0"
    everything = lines(built / "data/dist/messages/train.jsonl") + lines(built / "data/dist/messages/validation.jsonl")
    assert any(NASTY in line["messages"][0]["content"] for line in everything)


def test_sharegpt_says_human_and_gpt(built: Path) -> None:
    """Keys, speakers and their order are those that the format documents; nothing is lost against messages."""
    for shown, messages in zip(
        lines(built / "data/dist/sharegpt/train.jsonl"),
        lines(built / "data/dist/messages/train.jsonl"),
        strict=True,
    ):
        said = [(turn["from"], turn["value"]) for turn in shown["conversations"]]
        speaker = {"user": "human", "assistant": "gpt"}
        assert said == [(speaker[turn["role"]], turn["content"]) for turn in messages["messages"]]
        assert all(set(turn) == {"from", "value"} for turn in shown["conversations"])


def test_alpaca_holds_the_rows_of_one_exchange(built: Path) -> None:
    """Exactly the rows of one user turn, with texts where the format has them; no conversation is cut short."""
    rows = full(built / "data/dist", "train").filter(pl.col("no_of_turns") == 1)
    found = lines(built / "data/dist/alpaca/train.jsonl")
    assert 0 < len(found) < full(built / "data/dist", "train").height
    assert [line["row_id"] for line in found] == rows["row_id"].to_list()
    for line, turns in zip(found, rows["conversation"].to_list(), strict=True):
        assert (line["instruction"], line["input"], line["output"]) == (turns[0]["content"], "", turns[1]["content"])


def test_datasets_loads_every_format(built: Path, tmp_path: Path) -> None:
    """`datasets` reads the lines as trainers do, by split, with one schema for all of them."""
    code = (
        "import datasets, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[2:]:\n"
        "    files = {split: f'{sys.argv[1]}/{name}/{split}.jsonl' for split in ('train', 'validation')}\n"
        "    data = datasets.load_dataset('json', data_files=files)\n"
        "    found[name] = [len(data['train']), len(data['validation']), sorted(data['train'].features)]\n"
        "print(json.dumps(found))\n"
    )
    names = [name for name in FORMATS if name != "huggingface"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(built / "data/dist"), *names],
        capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = ["language", "license", "row_id", "task"]
    own = {"alpaca": ["input", "instruction", "output"], "messages": ["messages"], "sharegpt": ["conversations"]}
    for name, (train, validation, columns) in json.loads(done.stdout.splitlines()[-1]).items():
        assert (train, validation) == tuple(
            len(lines(built / f"data/dist/{name}/{split}.jsonl")) for split in ("train", "validation")
        )
        assert columns == sorted(own[name] + kept)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_trainers_read_what_the_dataset_says(built: Path, tmp_path: Path, trainer: str) -> None:
    """TRL, Axolotl and LLaMA-Factory themselves find every turn of every row, where a Python that has them is named."""
    python = os.environ.get("M2L_TRAINERS")
    if not python:
        pytest.skip("M2L_TRAINERS names no Python with trl, axolotl and llamafactory")
    done = subprocess.run(
        [python, "-W", "ignore", str(ROOT / "tests/trainers.py"), trainer, str(built / "data/dist")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = full(built / "data/dist", "train")
    if trainer == "llamafactory_alpaca":
        rows = rows.filter(pl.col("no_of_turns") == 1)
    said = [[[turn["role"], turn["content"]] for turn in turns] for turns in rows["conversation"].to_list()]
    assert json.loads(done.stdout.splitlines()[-1]) == said


def test_an_exporter_that_is_named_no_more_takes_its_files_along(built: Path) -> None:
    """After it is taken out the output is that of a build without it, but for files that m2l did not write."""
    dist, others = built / "data/dist", ("language=[eng_Latn,arb_Arab]", "recipe.validation=0.2")
    notes, outside = dist / "sharegpt/notes.txt", built / "data/mine.txt"
    notes.write_text("mine")
    outside.write_text("mine")
    record = json.loads((dist / "exported.json").read_text())
    assert record["sharegpt"] == ["sharegpt/train.jsonl", "sharegpt/validation.jsonl"]
    record["sharegpt"].append("../mine.txt")
    (dist / "exported.json").write_text(json.dumps(record))
    run(built, *others, "exporter=[messages]")
    assert outside.exists()
    assert notes.exists()
    left = tree(dist)
    shutil.rmtree(dist)
    run(built, *others, "exporter=[messages]")
    assert left == tree(dist) | {"sharegpt/notes.txt": left["sharegpt/notes.txt"]}
    assert not [name for name in left if name.endswith(".parquet")]


def test_a_split_that_is_gone_leaves_no_file(built: Path) -> None:
    """Without a validation split, the one of an export before is removed."""
    m2l(built, "export", "sharegpt")
    assert (built / "data/export/sharegpt/validation.jsonl").is_file()
    for path in (built / "data/dist").glob("*/validation.parquet"):
        path.unlink()
    m2l(built, "export", "sharegpt")
    assert [path.name for path in (built / "data/export/sharegpt").iterdir()] == ["train.jsonl"]


def test_what_cannot_be_exported_is_one_line(project: Path, tmp_path: Path) -> None:
    """An unknown format, no dataset, a dataset that lacks a part, and a config that is not there."""
    done = m2l(project, "export", "sharegtp")
    assert (done.returncode, done.stderr) == (
        2,
        "BuildError: command line: unknown exporter 'sharegtp'. Did you mean 'sharegpt'? "
        "Available: alpaca, huggingface, messages, sharegpt.\n",
    )
    done = m2l(project, "export", "messages", "--data", "nowhere")
    assert done.stderr == (
        "BuildError: nowhere: no dataset that can be read (dataset.json: No such file or directory). "
        "Make it with `dvc repro`.\n"
    )
    run(project)
    (project / "data/dist/rejected/train.parquet").unlink()
    done = m2l(project, "export", "messages")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "rejected" in done.stderr
    run(project)
    path = project / "conf/exporter/messages.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("config: full_data", "config: whole"), encoding="utf-8")
    done = m2l(project, "export", "messages")
    assert done.stderr == (
        "BuildError: conf/exporter/messages.yaml: no config 'whole' here. "
        "Available: seed_data, seed_evol_data, full_data.\n"
    )


_PEAK = """
import resource, sys
from pathlib import Path
import msgspec, polars as pl
from m2l import export
from m2l.exporters.messages import Messages
dataset = export.read(Path(sys.argv[1]))
rows = {"full_data": {"train": pl.scan_parquet(sys.argv[2])}}
Messages("full_data").export(msgspec.structs.replace(dataset, configs=rows), Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_rows_are_streamed(built: Path, tmp_path: Path) -> None:
    """Ten times the rows take far less than ten times the memory: what is added to it is a small part of the text."""
    table = full(built / "data/dist", "train")
    peaks, sizes = [], []
    for thousands in (20, 200):
        path = tmp_path / f"{thousands}.parquet"
        copies = -(-thousands * 1000 // table.height)
        pl.concat([table] * copies).write_parquet(path, row_group_size=8192)
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(built / "data/dist"), str(path), str(tmp_path / str(thousands))],
            capture_output=True, text=True, check=False, env=os.environ | {"POLARS_MAX_THREADS": "2"}, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
        sizes.append((tmp_path / str(thousands) / "messages/train.jsonl").stat().st_size)
    assert peaks[1] - peaks[0] < 0.5 * (sizes[1] - sizes[0])


def test_a_record_of_exported_files_that_names_a_folder_harms_nothing(built: Path) -> None:
    """A folder that somebody wrote into the record stays, with what is in it, and the build goes on."""
    dist = built / "data/dist"
    (dist / "mine").mkdir()
    (dist / "mine/notes.txt").write_text("kept", encoding="utf-8")
    (dist / "exported.json").write_text('{"gone": ["mine", "../dist", "."]}', encoding="utf-8")
    run(built, "language=[eng_Latn,arb_Arab]", "recipe.validation=0.2")
    assert (dist / "mine/notes.txt").read_text(encoding="utf-8") == "kept"
