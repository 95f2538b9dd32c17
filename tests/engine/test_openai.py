"""The client of OpenAI-compatible servers, driven over a transport that takes any function."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from m2l.engine.base import ModelFile
from m2l.engine.openai import OpenAI
from m2l.errors import EngineError
from m2l.records import FinishReason, JsonSchema, Request, TokenBias, Turn
from tests.test_store import SAMPLING

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2l.engine.openai._pause", lambda _: 0.0)


def engine(handler: Handler, concurrency: int = 4, retries: int = 2, api: str = "any") -> OpenAI:
    """An engine whose server is a function."""
    return OpenAI(
        ModelFile(name="m", path=None), base_url="http://server/v1/", model="big", api_key_env="M2L_TEST_KEY",
        concurrency=concurrency, timeout_s=5, retries=retries, api=api, transport=httpx.MockTransport(handler),
    )  # fmt: skip


def ask(prompt: str | tuple[Turn, ...], stop: tuple[str, ...] = ()) -> Request:
    """A request of a prompt."""
    return Request(
        prompt=prompt, model="m", chat_template=None, backend="openai 1", sampling=SAMPLING, max_tokens=7, stop=stop
    )


def answer(request: httpx.Request) -> httpx.Response:
    """Answer with the last word of the prompt."""
    body = json.loads(request.content)
    usage = {"prompt_tokens": 11, "completion_tokens": 3}
    if "messages" in body:
        text = body["messages"][-1]["content"].split()[-1]
        choice = {"message": {"content": text}, "finish_reason": "length"}
    else:
        choice = {"text": body["prompt"].split()[-1], "finish_reason": "stop"}
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def test_a_text_goes_to_completions_with_all_that_it_depends_on() -> None:
    """Path, sampling, stop and the seed of the request's content are sent; usage is counted."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(request)

    request = ask("one two", stop=("\n",))
    [(index, completion)] = engine(handler).generate([request])
    assert (index, completion.text, completion.finish_reason) == (0, "two", FinishReason.STOP)
    assert (completion.prompt_tokens, completion.completion_tokens) == (11, 3)
    body = json.loads(seen[0].content)
    assert seen[0].url == "http://server/v1/completions"
    assert body["stop"] == ["\n"]
    assert body["seed"] == request.rng_seed & 0x7FFFFFFF
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (7, SAMPLING.temperature, SAMPLING.top_k)


def test_messages_go_to_chat_completions() -> None:
    """A conversation is sent as messages, and a cut answer is known as one."""
    [(_, completion)] = engine(answer).generate([ask((Turn("user", "say four"),))])
    assert (completion.text, completion.finish_reason) == ("four", FinishReason.LENGTH)


def test_every_request_is_answered_once_and_never_more_at_once_than_allowed() -> None:
    """Fifty requests at concurrency 3: each index once with its own answer, three at most under way."""
    lock, running, most = threading.Lock(), 0, 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return answer(request)

    found = dict(engine(handler, concurrency=3).generate([ask(f"word {n}") for n in range(50)]))
    assert {index: completion.text for index, completion in found.items()} == {n: str(n) for n in range(50)}
    assert 1 < most <= 3


@pytest.mark.parametrize("failure", [429, 503, httpx.ConnectError("refused"), httpx.ReadTimeout("late")])
def test_what_may_pass_is_tried_again(failure: int | Exception) -> None:
    """Too many requests, server errors, broken connections and timeouts are tried again."""
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls <= 2:
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(failure, headers={"Retry-After": "0.01"})
        return answer(request)

    assert [completion.text for _, completion in engine(handler).generate([ask("x y")])] == ["y"]
    assert calls == 3


def test_giving_up_is_one_line() -> None:
    """After the last try the error says where, what, and what to do."""
    with pytest.raises(EngineError) as error:
        list(engine(lambda _: httpx.Response(502), retries=1).generate([ask("x")]))
    assert str(error.value) == (
        "http://server/v1: no answer after 2 tries (HTTP 502). Start the server, or correct engine.base_url; "
        "all completions up to here are kept."
    )


def test_the_key_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key goes into the header only: not into an error, a description or a repr."""
    monkeypatch.setenv("M2L_TEST_KEY", "sk-secret")
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return httpx.Response(401, text="no such key: sk-secret")

    client = engine(handler)
    with pytest.raises(EngineError) as error:
        list(client.generate([ask("x")]))
    assert sent == ["Bearer sk-secret"]
    assert str(error.value) == (
        "http://server/v1: HTTP 401 (not allowed). Set the variable M2L_TEST_KEY to a key that the server knows."
    )
    assert "secret" not in f"{client.describe()} {client!r} {vars(client)}"


def test_a_context_overflow_is_a_completion() -> None:
    """A prompt that the server finds too long is a row with a reason; the others are answered."""

    def handler(request: httpx.Request) -> httpx.Response:
        if b"long" in request.content:
            return httpx.Response(400, json={"error": "the request exceeds the available context size"})
        return answer(request)

    found = dict(engine(handler).generate([ask("a long one"), ask("short")]))
    assert (found[0].finish_reason, found[1].text) == (FinishReason.ERROR, "short")
    assert "context" in str(found[0].error)


@pytest.mark.parametrize("reply", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [null]}', b"[]"])
def test_what_is_no_answer_is_an_error(reply: bytes) -> None:
    """A body that is not of the API stops with one line."""
    with pytest.raises(EngineError, match=r"^http://server/v1: the answer is none of the OpenAI API .*/v1 for most"):
        list(engine(lambda _: httpx.Response(200, content=reply)).generate([ask("x")]))


def test_no_requests_make_no_call() -> None:
    """Nothing to do asks nothing."""
    assert list(engine(lambda _: httpx.Response(500)).generate([])) == []


GRAMMAR = 'root ::= "x"'
SCHEMA = JsonSchema('{"type": "object"}')
FULL = msgspec.structs.replace(
    SAMPLING, presence_penalty=0.5, frequency_penalty=0.25, logit_bias=(TokenBias(token=7, bias=-100.0),),
    dry_multiplier=0.8,
)  # fmt: skip


def sent(api: str, request: Request) -> dict[str, Any]:
    """Return the body that a server of a kind gets."""
    bodies: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return answer(request)

    list(engine(handler, api=api).generate([request]))
    return bodies[0]


@pytest.mark.parametrize(
    ("api", "known", "unknown"),
    [
        ("any", {"top_k", "min_p", "repeat_penalty", "repetition_penalty"}, {"dry_multiplier"}),
        ("openai", set(), {"top_k", "min_p", "repeat_penalty", "repetition_penalty", "dry_multiplier"}),
        ("vllm", {"top_k", "min_p", "repetition_penalty"}, {"repeat_penalty", "dry_multiplier"}),
        (
            "llama_server",
            {"top_k", "min_p", "repeat_penalty", "repeat_last_n", "dry_multiplier"},
            {"repetition_penalty"},
        ),
    ],
)
def test_each_kind_of_server_is_told_what_it_knows(api: str, known: set[str], unknown: set[str]) -> None:
    """Penalties and biases of the OpenAI API go to all, the rest to those that have it."""
    body = sent(api, msgspec.structs.replace(ask("one two"), sampling=FULL))
    assert known <= body.keys()
    assert not unknown & body.keys()
    assert (body["presence_penalty"], body["frequency_penalty"], body["logit_bias"]) == (0.5, 0.25, {"7": -100.0})


def test_each_kind_of_server_gets_a_grammar_its_way() -> None:
    """A GBNF and a JSON schema, in a text and in a chat; the plain OpenAI API takes a schema in a chat alone."""
    text, chat = ask("one two"), ask((Turn("user", "one two"),))

    def told(api: str, request: Request, grammar: str | JsonSchema) -> dict[str, Any]:
        return sent(api, msgspec.structs.replace(request, grammar=grammar))

    for api in ("any", "llama_server"):
        assert told(api, text, GRAMMAR)["grammar"] == told(api, chat, GRAMMAR)["grammar"] == GRAMMAR
    assert told("vllm", text, GRAMMAR)["structured_outputs"] == {"grammar": GRAMMAR}
    assert told("vllm", chat, SCHEMA)["guided_json"] == {"type": "object"}
    assert told("llama_server", text, SCHEMA)["json_schema"] == {"type": "object"}
    for api in ("any", "openai", "llama_server"):
        form = told(api, chat, SCHEMA)["response_format"]
        assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", {"type": "object"})
    for request, grammar in ((text, SCHEMA), (chat, GRAMMAR)):
        with pytest.raises(
            EngineError, match=r"^the OpenAI API takes a JSON schema, in a chat, and no other grammar\."
        ):
            told("openai", request, grammar)


def test_the_kind_of_server_is_part_of_the_key_unless_it_is_a_guess() -> None:
    """What was asked for before there were kinds is found again."""
    target: dict[str, object] = {"model": "big"}
    assert OpenAI.content("m", target) == OpenAI.content("m", target | {"api": "any"}) == "openai:big"
    assert OpenAI.content("m", target | {"api": "vllm"}) == "openai:big as vllm"


def test_what_was_answered_is_yielded_before_an_error() -> None:
    """One request is refused; those under way beside it are kept, and the rest is not asked."""
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        prompt = json.loads(request.content)["prompt"]
        asked.append(prompt)
        if prompt == "bad 0":
            return httpx.Response(400, text="no")
        time.sleep(0.05)
        return answer(request)

    found: list[int] = []
    answers = engine(handler, concurrency=3).generate([ask(f"{'ok' if n else 'bad'} {n}") for n in range(9)])
    with pytest.raises(EngineError, match=r"HTTP 400 \(no\)"):
        found.extend(index for index, _ in answers)
    assert sorted(found) == sorted(int(prompt.split()[1]) for prompt in asked if prompt.startswith("ok"))
    assert len(asked) < 9
