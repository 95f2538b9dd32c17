"""Each request's own sampler, on the default model."""

import json
import re
from collections.abc import Iterator

import msgspec
import pytest

from m2l.engine.base import ModelFile
from m2l.engine.llama import Llama, inspect
from m2l.engine.samplers import gbnf
from m2l.errors import EngineError
from m2l.records import FinishReason, JsonSchema, LoopRule, Request, SamplingParams, TokenBias
from tests.engine.test_llama import GEMMA, GREEDY, SHOTS, ask

pytestmark = pytest.mark.model

SCORE = JsonSchema(
    json.dumps({"type": "object", "properties": {"b": {"enum": [1, 2]}, "a": {"enum": [3, 4]}}, "required": ["b", "a"]})
)
WARM = msgspec.structs.replace(GREEDY, temperature=1.0, top_k=40)
RULE = LoopRule(max_period=32, repeats=4, min_tokens=24)


@pytest.fixture(scope="module")
def gemma() -> Iterator[Llama]:
    """The default model with a few slots."""
    assert GEMMA.is_file(), "no default model: run `make model`"
    engine = Llama(ModelFile(name="gemma", path=GEMMA), n_slots=4, n_ctx=256, n_batch=128)
    yield engine
    engine.close()


def constrained(prompt: str, grammar: str | JsonSchema | None, sampling: SamplingParams = GREEDY) -> Request:
    """A request whose answer has a form."""
    return msgspec.structs.replace(ask(prompt, 40, sampling), grammar=grammar, stop=())


def test_each_request_has_its_own_grammar(gemma: Llama) -> None:
    """Side by side in one batch: a schema in its own order of properties, a GBNF, and none, sampled and greedy."""
    requests = [
        constrained(f"{SHOTS}Country: {name}\nCapital:", grammar, sampling)
        for name in ("Spain", "Peru")
        for grammar in (SCORE, 'root ::= " " [a-c]+ "." [x-z]', None)
        for sampling in (GREEDY, WARM)
    ]
    found = dict(gemma.generate(requests))
    for index, request in enumerate(requests):
        text = found[index].text
        if request.grammar is SCORE:
            value = json.loads(text)
            assert list(value) == ["b", "a"]
            assert value["b"] in (1, 2)
            assert value["a"] in (3, 4)
            assert found[index].finish_reason is FinishReason.STOP
        elif request.grammar is not None:
            assert re.match(r" [a-c]+(\.[x-z]?)?$", text), text
        else:
            assert "Capital" in text or text.strip()


def test_a_grammar_leaves_a_fitting_answer_as_it_was(gemma: Llama) -> None:
    """What the model would have written anyway is written under a grammar that allows it."""
    free = ask(f"{SHOTS}Country: Spain\nCapital:")
    [(_, completion)] = gemma.generate([free])
    held = msgspec.structs.replace(free, grammar='root ::= [ A-Za-z]+ "\\n"')
    [(_, again)] = gemma.generate([held])
    assert again.text == completion.text


def test_a_grammar_that_does_not_parse_is_one_line(gemma: Llama) -> None:
    """It stops the build, as every request would fail alike, and leaves the engine as it was."""
    with pytest.raises(EngineError, match=r"^the grammar of a request does not parse\. Correct it\.$"):
        list(gemma.generate([constrained("x", None), constrained("x", "root ::= [a-")]))
    [(_, completion)] = gemma.generate([ask(f"{SHOTS}Country: Spain\nCapital:")])
    assert completion.text.strip() == "Madrid"


def test_a_schema_that_is_none_is_one_line() -> None:
    """What is no JSON cannot become a grammar."""
    with pytest.raises(EngineError, match=r"^a JSON schema cannot be made a grammar \(.*\)\. Correct it\.$"):
        gbnf(JsonSchema("{"))


def test_a_bias_forbids_and_prefers(gemma: Llama) -> None:
    """The token of the likeliest answer is forbidden, and another one is made certain; an unknown one is named."""
    tokens = inspect(GEMMA, {}, ids=(" Madrid", " Rome")).ids
    forbidden = msgspec.structs.replace(GREEDY, logit_bias=(TokenBias(token=tokens[" Madrid"][0], bias=-100.0),))
    preferred = msgspec.structs.replace(GREEDY, logit_bias=(TokenBias(token=tokens[" Rome"][0], bias=100.0),))
    prompt = f"{SHOTS}Country: Spain\nCapital:"
    texts = dict(gemma.generate([ask(prompt), ask(prompt, sampling=forbidden), ask(prompt, 2, preferred)]))
    assert texts[0].text.startswith(" Madrid")
    assert not texts[1].text.startswith(" Madrid")
    assert texts[2].text == " Rome Rome"
    beyond = msgspec.structs.replace(GREEDY, logit_bias=(TokenBias(token=10**7, bias=1.0),))
    with pytest.raises(EngineError, match=r"the vocabulary has no token 10000000, only 0 to 262143\."):
        list(gemma.generate([ask(prompt, sampling=beyond)]))


def test_penalties_make_a_greedy_answer_varied(gemma: Llama) -> None:
    """Presence and frequency penalties each give more distinct words than none of them."""
    prompt = "la la la la la la la la"

    def distinct(**penalties: float) -> int:
        sampling = msgspec.structs.replace(GREEDY, top_k=40, repeat_last_n=64, **penalties)
        [(_, completion)] = gemma.generate([constrained(prompt, None, sampling)])
        return len(set(completion.text.split()))

    plain = distinct()
    assert distinct(presence_penalty=30.0) > plain
    assert distinct(frequency_penalty=30.0) > plain


def test_a_looping_answer_ends_early(gemma: Llama) -> None:
    """A greedy base model that repeats itself is ended by the rule, well before its budget."""
    prompt = "la la la la la la la la la la la la la la la la"
    looping = msgspec.structs.replace(GREEDY, loop=RULE)
    found = dict(gemma.generate([ask(prompt, 160, GREEDY), ask(prompt, 160, looping)]))
    assert (found[0].finish_reason, found[0].completion_tokens) == (FinishReason.LENGTH, 160)
    assert found[1].finish_reason is FinishReason.LOOP
    assert found[1].completion_tokens < 80
    assert found[0].text.startswith(found[1].text)
