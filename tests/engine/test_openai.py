"""The client of OpenAI-compatible servers, driven over a transport that takes any function."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from m2l.engine.base import ModelFile
from m2l.engine.openai import OpenAI
from m2l.errors import EngineError
from m2l.records import FinishReason, Request, Turn
from tests.test_store import SAMPLING

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2l.engine.openai.time.sleep", lambda _: None)


def engine(handler: Handler, concurrency: int = 4, retries: int = 2) -> OpenAI:
    """An engine whose server is a function."""
    return OpenAI(
        ModelFile(name="m", path=None), base_url="http://server/v1/", model="big", api_key_env="M2L_TEST_KEY",
        concurrency=concurrency, timeout_s=5, retries=retries, transport=httpx.MockTransport(handler),
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
        threading.Event().wait(0.002)
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
            return httpx.Response(failure, headers={"Retry-After": "1"})
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


def test_over_a_real_socket() -> None:
    """The same client against a server on this machine."""

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"text": "here", "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = OpenAI(
            ModelFile(name="m", path=None), base_url=f"http://127.0.0.1:{server.server_port}/v1", model="big",
            api_key_env="M2L_TEST_KEY", concurrency=2, timeout_s=5, retries=0,
        )  # fmt: skip
        texts = [completion.text for _, completion in client.generate([ask(str(n)) for n in range(5)])]
        client.close()
        server.shutdown()
    assert texts == ["here"] * 5
