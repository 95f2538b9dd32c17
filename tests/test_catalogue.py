"""The catalogue of models, and what a file says of itself."""

import json
from pathlib import Path

import pytest

from m2l import catalogue, config
from m2l.records import LoopRule
from tests.command import m2l
from tests.conftest import ROOT
from tests.test_gguf import FIELDS, header

MODELS = config.options(ROOT, "model")
BUNDLED = ("gemma3_270m", "smollm2_135m")


def test_there_are_enough_models_and_each_says_what_it_is() -> None:
    """Two bundled and at least eight published ones of 1B to 12B, each with what a person needs to choose."""
    assert len(MODELS) >= 10
    for name in MODELS:
        declared = config.load_model(ROOT, name)
        about = declared.model.about
        assert about is not None
        assert about.languages or about.claims
        assert declared.model.license
        assert declared.frame in ("chat", "completion")


@pytest.mark.parametrize("name", [name for name in MODELS if name not in BUNDLED])
def test_a_published_model_can_be_fetched_and_invents_nothing(name: str) -> None:
    """Its address is whole, its file is the one below it, and no digest or size is made up."""
    declared = config.load_model(ROOT, name)
    model = declared.model
    assert model.fetch is not None
    assert model.source.startswith("https://")
    assert model.fetch.path == f"resolve/main/{model.file}"
    assert (model.sha256, model.size, declared.frame) == (None, None, "chat")
    assert model.sampling.temperature > 0
    assert isinstance(model.sampling.loop, LoopRule)
    assert len(set(model.about.languages)) == len(model.about.languages) if model.about else False


def test_the_list_names_every_model_and_what_is_here(project: Path) -> None:
    """A line each; a file that is there is told from one that is not."""
    (project / "cache/models/smollm2.gguf").write_bytes(header(FIELDS, []))
    text = (project / "conf/model/smollm2_135m.yaml").read_text()
    text = text.replace("file: SmolLM2-135M-Instruct.Q4_1.gguf", "file: smollm2.gguf")
    (project / "conf/model/smollm2_135m.yaml").write_text(text)
    lines = m2l(project, "model", "list").stdout.splitlines()
    state = {line.split()[0]: line.split() for line in lines[1:]}
    assert sorted(state) == MODELS
    assert "yes" in state["smollm2_135m"]
    assert all("no" in words for name, words in state.items() if name != "smollm2_135m")


def test_what_a_publisher_says_is_in_no_slice(project: Path) -> None:
    """Correcting the list of languages of a model makes nothing again."""
    from m2l import slices
    from tests.helpers import piece

    before = slices.content(piece(project))
    path = project / "conf/model/gemma3_270m.yaml"
    path.write_text(path.read_text().replace("parameters: 268M", "parameters: many"))
    assert slices.content(piece(project)) == before


def test_a_model_that_is_not_here_or_not_known_is_one_line(project: Path) -> None:
    """It says how to get it, or what there is."""
    done = m2l(project, "model", "inspect", "qwen25_7b")
    assert (done.returncode, done.stderr) == (
        2,
        "ModelError: cache/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf: no model file. "
        "Get it with `m2l model get qwen25_7b`.\n",
    )
    done = m2l(project, "model", "inspect", "qwen25_7bb")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "ConfigError: command line: unknown model, and no file, 'qwen25_7bb'. Did you mean 'qwen25_7b'? Available: "
    )


@pytest.mark.model
def test_a_file_is_inspected(project: Path) -> None:
    """By its path: header, ids of a text, and tokens by language counted anew with llama.cpp for one of them."""
    from m2l.engine.llama import inspect
    from m2l.text import words

    path = ROOT / "cache/models/gemma-3-270m-q4_k_m.gguf"
    done = m2l(project, "model", "inspect", str(path), "--text", " Madrid", "--json")
    found = json.loads(done.stdout)
    assert (found["architecture"], found["quantisation"], found["context"]) == ("gemma3", "Q4_K_M", 32768)
    assert found["ids"] == inspect(path, {}, ids=(" Madrid",)).ids[" Madrid"]
    rows = {row["language"]: row for row in found["fertility"]}
    assert rows["eng_Latn"]["word_ratio"] == rows["eng_Latn"]["budget_factor"] == 1
    lines = (project / "data/seeds/starter/tha_Thai.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    seeds = [json.loads(line) for line in lines]
    texts = [f"{seed['instruction']}\n{seed['response']}" for seed in seeds]
    tokens = sum(inspect(path, {str(n): text for n, text in enumerate(texts)}).tokens.values())
    assert rows["tha_Thai"]["per_word"] == pytest.approx(tokens / sum(len(words(t)) for t in texts), rel=0.05)
    text = m2l(project, "model", "inspect", str(path)).stdout
    assert "chat template none: a base model" in text
    assert len(text.splitlines()) == 6 + len(rows) + 1


def test_describe_says_the_languages_and_the_template() -> None:
    """What a person reads of a chat model without fertility."""
    found = catalogue.Inspection(
        file="x.gguf", name="X", architecture="llama", quantisation="Q8_0", parameters=2_000_000, size=3_000_000,
        context=8, layers=1, kv_bytes_per_token=4, chat_template="{{ x }}", languages=("en", "fr"), fertility=(),
        ids=(),
    )  # fmt: skip
    lines = list(catalogue.describe(found))
    assert lines[1] == "model         X, llama, 2 M parameters"
    assert lines[-1] == "languages     en, fr (its publisher's words)"
    assert len(lines[-2].split()[-1]) == 12
