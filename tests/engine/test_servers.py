"""Real servers over real sockets that misbehave, and what becomes of a secret."""

import email.utils
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from m2l.engine.base import ModelFile
from m2l.engine.openai import OpenAI
from m2l.errors import EngineError
from m2l.records import Completion
from tests.command import m2l
from tests.engine.servers import Reply, serving
from tests.engine.test_openai import ask
from tests.helpers import compose

SECRET = "sk-c0ffee-never-to-be-written"


def client(address: str, concurrency: int = 4, retries: int = 3, timeout_s: float = 0.5) -> OpenAI:
    """An engine for a server on this machine."""
    return OpenAI(
        ModelFile(name="m", path=None), base_url=f"{address}/v1", model="big", api_key_env="M2L_TEST_KEY",
        concurrency=concurrency, timeout_s=timeout_s, retries=retries, api="any",
    )  # fmt: skip


def generated(engine: OpenAI, prompts: list[str]) -> dict[int, Completion]:
    """Answer prompts and close the engine."""
    try:
        return dict(engine.generate([ask(prompt) for prompt in prompts]))
    finally:
        engine.close()


def late(reply: Reply) -> None:
    """Answer after the client has gone."""
    time.sleep(0.8)
    reply.answer("too late")


def torn(reply: Reply) -> None:
    """Promise more than is sent."""
    reply.send_response(200)
    reply.send_header("Content-Length", "1000")
    reply.end_headers()
    reply.wfile.write(b'{"choices": [')
    reply.close_connection = True


def hung_up(reply: Reply) -> None:
    """Close without a word."""
    reply.close_connection = True


FAILURES: dict[str, Callable[[Reply], None]] = {
    "busy": lambda reply: reply.send(429, "slow down", Retry_After="0"),
    "overloaded": lambda reply: reply.send(503, "loading"),
    "a proxy": lambda reply: reply.send(502, "<html>bad gateway</html>"),
    "late": late,
    "torn": torn,
    "hung up": hung_up,
}


def test_every_failure_that_may_pass_is_lived_through() -> None:
    """Each request fails in its own way twice and is answered at the third try; none is asked once more, usage is
    that of the answers, and every request has a seed of its own."""
    tries: Counter[str] = Counter()
    seeds: dict[str, set[int]] = defaultdict(set)
    kinds = list(FAILURES)

    def behaviour(reply: Reply) -> None:
        prompt = reply.body["prompt"]
        tries[prompt] += 1
        seeds[prompt].add(reply.body["seed"])
        FAILURES[kinds[int(prompt.split()[-1]) % len(kinds)]](reply) if tries[prompt] < 3 else reply.answer()

    prompts = [f"number {n}" for n in range(12)]
    with serving(behaviour) as address:
        found = generated(client(address, concurrency=6), prompts)
    assert {index: completion.text for index, completion in found.items()} == {n: str(n) for n in range(12)}
    assert set(tries.values()) == {3}
    assert all(len(own) == 1 for own in seeds.values())
    assert len(set.union(*seeds.values())) == 12
    assert {(completion.prompt_tokens, completion.completion_tokens) for completion in found.values()} == {(2, 1)}


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_that_asks_to_wait_is_given_the_time(as_date: bool) -> None:
    """`Retry-After` in seconds and as a date: the next try comes no earlier."""
    times: list[float] = []

    def behaviour(reply: Reply) -> None:
        times.append(time.time())
        if len(times) > 1:
            reply.answer()
            return
        date = email.utils.formatdate(int(times[0]) + 2, usegmt=True)
        reply.send(429, Retry_After=date if as_date else "1.2")

    with serving(behaviour) as address:
        generated(client(address, timeout_s=20), ["x"])
    assert times[1] >= (int(times[0]) + 2 if as_date else times[0] + 1.2)


def test_a_server_that_asks_for_hours_is_not_waited_for() -> None:
    """It stops at once, with one line."""
    with (
        serving(lambda reply: reply.send(429, Retry_After="7200")) as address,
        pytest.raises(EngineError) as error,
    ):
        generated(client(address), ["x"])
    assert str(error.value) == (
        f"{address}/v1: HTTP 429, and it asks to wait 7200 s. Run the same command again then; all completions up to "
        "here are kept."
    )


def test_pauses_grow_and_differ() -> None:
    """Between tries it waits longer and longer on average, never the same, and never beyond a bound."""
    from m2l.engine.openai import _pause

    means = [sum(_pause(attempt) for _ in range(400)) / 400 for attempt in range(4)]
    assert all(later > 1.5 * sooner for sooner, later in pairwise(means))
    assert len({_pause(3) for _ in range(20)}) == 20
    assert max(_pause(30) for _ in range(100)) <= 30


def test_no_more_at_once_than_allowed() -> None:
    """Forty requests over three connections: three at most under way, and more than one."""
    lock, running, most = threading.Lock(), 0, 0

    def behaviour(reply: Reply) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        reply.answer()

    with serving(behaviour) as address:
        assert len(generated(client(address, concurrency=3, timeout_s=5), [f"{n}" for n in range(40)])) == 40
    assert 1 < most <= 3


def test_no_server_is_one_line() -> None:
    """Where nobody listens, that is said after the last try."""
    with serving(lambda reply: reply.answer()) as address:
        pass
    with pytest.raises(EngineError, match=rf"^{address}/v1: no answer after 2 tries \(ConnectError: .*\)\. Start the"):
        generated(client(address, retries=1), ["x"])


@pytest.mark.parametrize("mood", ["kind", "too long", "refusing", "down"])
def test_a_secret_is_sent_and_written_nowhere(project: Path, monkeypatch: pytest.MonkeyPatch, mood: str) -> None:
    """After a build with a server that repeats the key in what it says, no file and no line of output holds it."""
    monkeypatch.setenv("M2L_API_KEY", SECRET)
    seen: list[str] = []

    def behaviour(reply: Reply) -> None:
        key = reply.headers["Authorization"]
        seen.append(key)
        if mood == "too long":
            reply.send(400, f"context size exceeded by {key}")
        elif mood == "refusing":
            reply.send(404, f"no model for {key}")
        elif mood == "down":
            reply.send(500, key)
        else:
            reply.answer("A plain answer of several words, in English.")

    with serving(behaviour) as address:
        (project / "params.yaml").write_text(
            f"languages: [eng_Latn]\noverrides: [recipe=starter, engine=openai, 'engine.base_url={address}/v1', "
            "engine.retries=0, 'task=[general]']\n"
        )
        outputs = []
        for arguments in (["compose"], ["plan"], ["build", "eng_Latn"], ["assemble"], ["plan"]):
            done = m2l(project, *arguments)
            outputs.append(done.stdout + done.stderr)
    assert set(seen) == {f"Bearer {SECRET}"}
    assert SECRET not in "".join(outputs)
    files = [path for path in project.rglob("*") if path.is_file()]
    assert any(path.name == "store.sqlite" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert ("HTTP" in "".join(outputs)) == (mood in ("refusing", "down"))


@pytest.mark.parametrize("address", ["http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_an_address_that_holds_a_secret_is_refused_before_it_is_written(project: Path, address: str) -> None:
    """Compose stops, and no slice was written."""
    done = m2l(project, "plan", "engine=openai", f"engine.base_url='{address}'")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "ConfigError: conf/engine: base_url holds a name, a key or a query, which would be written into slices and "
        "locks. Put the key into the variable that api_key_env names.\n"
    )


def test_an_unknown_kind_of_server_is_one_line(project: Path) -> None:
    """The kinds that there are are named."""
    done = m2l(project, "plan", "engine=openai", "engine.api=vlm")
    assert done.stderr == (
        "ConfigError: conf/engine: unknown api 'vlm'. Did you mean 'vllm'? Available: any, llama_server, openai, "
        "vllm.\n"
    )


def test_the_kind_of_server_is_in_the_slice(project: Path) -> None:
    """What stands for the weights says how they are asked."""
    content = compose(project, "engine=openai", "engine.api=vllm").slices["eng_Latn"].identity.content
    assert content == "openai:default as vllm"
