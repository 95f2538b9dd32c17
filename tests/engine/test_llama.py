"""llama.cpp itself, on the default model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from m2l.engine.base import ModelFile
from m2l.engine.llama import Llama, inspect
from m2l.errors import ModelError
from m2l.records import FinishReason, Request, SamplingParams, Turn
from tests.conftest import ROOT

pytestmark = pytest.mark.model

GEMMA = ROOT / "cache" / "models" / "gemma-3-270m-q4_k_m.gguf"
SMOLLM = ROOT / "cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
GREEDY = SamplingParams(
    temperature=0.0, top_k=1, top_p=1.0, min_p=0.0, repeat_penalty=1.0, repeat_last_n=0,
    dry_multiplier=0.0, dry_base=1.0, dry_allowed_length=1,
)  # fmt: skip
SHOTS = "Country: France\nCapital: Paris\n\nCountry: Italy\nCapital: Rome\n\nCountry: Japan\nCapital: Tokyo\n\n"


def ask(prompt: str | tuple[Turn, ...], max_tokens: int = 8, sampling: SamplingParams = GREEDY) -> Request:
    """A request that ends with its line."""
    return Request(
        prompt=prompt,
        model="m",
        chat_template=None,
        backend="b",
        sampling=sampling,
        max_tokens=max_tokens,
        stop=("\n",),
    )


@pytest.fixture(scope="module")
def gemma() -> Iterator[Llama]:
    """The default model with a few slots."""
    assert GEMMA.is_file(), "no default model: run `make model`"
    engine = Llama(ModelFile(name="gemma", path=GEMMA), n_slots=8, n_ctx=256, n_batch=128)
    yield engine
    engine.close()


def test_many_requests_share_their_prefix_and_are_answered_once(gemma: Llama) -> None:
    """Forty prompts over eight slots: each answered once; the examples are evaluated once."""
    countries = ["Spain", "Germany", "Egypt", "Kenya", "China", "Greece", "Poland", "Peru"] * 5
    requests = [ask(f"{SHOTS}Country: {name} {number}\nCapital:") for number, name in enumerate(countries)]
    before = gemma.counts.evaluated
    found = dict(gemma.generate(requests))
    assert sorted(found) == list(range(40))
    assert all(completion.finish_reason in ("stop", "length") for completion in found.values())
    assert all("\n" not in completion.text for completion in found.values())
    prompt = sum(completion.prompt_tokens for completion in found.values())
    assert gemma.counts.evaluated - before < 0.35 * prompt


def test_it_knows_what_it_was_shown(gemma: Llama) -> None:
    """Few-shot prompts work: a capital that everybody knows comes out, among neighbours of all kinds."""
    requests = [ask(f"{SHOTS}Country: {name}\nCapital:") for name in ("Spain", "Germany", "Egypt", "China", "Greece")]
    texts = [completion.text.strip() for _, completion in sorted(gemma.generate(requests))]
    assert texts[:3] == ["Madrid", "Berlin", "Cairo"]


def test_the_seed_of_a_request_comes_from_its_content(gemma: Llama) -> None:
    """The same request in the same company gives the same text twice; sampling is not greedy."""
    hot = SamplingParams(
        temperature=1.2, top_k=50, top_p=1.0, min_p=0.0, repeat_penalty=1.1, repeat_last_n=64,
        dry_multiplier=0.8, dry_base=1.75, dry_allowed_length=4,
    )  # fmt: skip
    requests = [ask(f"My favourite number is {number}, because", 12, hot) for number in range(8)]
    runs = []
    for _ in range(2):
        engine = Llama(ModelFile(name="gemma", path=GEMMA), n_slots=8, n_ctx=64, n_batch=64)
        runs.append({index: completion.text for index, completion in engine.generate(requests)})
        engine.close()
    assert runs[0] == runs[1]
    assert len(set(runs[0].values())) > 4


def test_a_budget_that_runs_out_is_a_length(gemma: Llama) -> None:
    """`max_tokens` is kept to the token."""
    [(_, completion)] = gemma.generate([ask("One, two, three, four, five,", 5)])
    assert (completion.finish_reason, completion.completion_tokens) == (FinishReason.LENGTH, 5)


def test_a_context_overflow_is_a_completion_and_the_others_go_on(gemma: Llama) -> None:
    """A prompt that does not fit is named; nothing crashes."""
    found = dict(gemma.generate([ask("word " * 400), ask(f"{SHOTS}Country: Spain\nCapital:")]))
    assert found[0].finish_reason is FinishReason.ERROR
    assert str(found[0].error).startswith("context overflow: ")
    assert found[1].text.strip() == "Madrid"


def test_a_chat_prompt_on_a_base_model_is_an_error_by_name(gemma: Llama) -> None:
    """A model without chat template says so, in the completion."""
    [(_, completion)] = gemma.generate([ask((Turn("user", "Hello"),))])
    assert completion.finish_reason is FinishReason.ERROR
    assert completion.error == "the model has no chat template. Use frame=completion, or an instruct model."


def test_a_file_says_what_it_is() -> None:
    """Architecture, context and tokens are read without the weights."""
    facts = inspect(GEMMA, {"greeting": "Hello world"})
    assert (facts.architecture, facts.chat_template, facts.n_ctx_train) == ("gemma3", None, 32768)
    assert facts.tokens == {"greeting": 2}


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    """A GGUF that ends too early is an error that says what to do."""
    broken = tmp_path / "broken.gguf"
    with GEMMA.open("rb") as source:
        broken.write_bytes(source.read(1 << 20))
    with pytest.raises(ModelError, match=r"broken\.gguf: llama\.cpp cannot load it .*\. Get it again, or use another"):
        inspect(broken, {})


def test_a_chat_model_answers_by_its_own_template() -> None:
    """The chat template inside the GGUF is rendered in the sandbox, and its end marks stay out of the text."""
    assert SMOLLM.is_file(), "no chat model: run `m2l model get smollm2_135m`"
    engine = Llama(ModelFile(name="smollm", path=SMOLLM), n_slots=2, n_ctx=256, n_batch=128)
    [(_, completion)] = engine.generate([ask((Turn("user", "What is the capital of France?"),), 20)])
    engine.close()
    assert len(completion.text) > 10
    assert "<|" not in completion.text
