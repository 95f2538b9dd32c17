"""Any server that speaks the OpenAI API, such as llama-server or vLLM."""

import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime

import httpx

from m2l.engine.base import Engine, ModelFile
from m2l.engine.dialects import APIS, body
from m2l.errors import ConfigError, EngineError, unknown
from m2l.records import Completion, FinishReason, Request

_LONGEST_PAUSE_S = 30.0
"""The longest pause between two tries of our own choice."""

_LONGEST_WAIT_S = 600.0
"""The longest that a server may ask us to wait; a rate that takes longer to recover is an error."""

_CONNECT_S = 10.0
_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class OpenAI(Engine):
    """Sends texts to `/completions` and messages to `/chat/completions`, at most `concurrency` at once.

    429, 5xx, broken connections and timeouts are tried `retries` times more, with
    exponential backoff and full jitter, or as `Retry-After` says. The key is read from
    the variable `api_key_env`, is sent, and appears nowhere else. Raises EngineError if a
    server cannot be reached, refuses, or answers what is no answer; what it has answered
    until then is yielded first.
    """

    local = False

    def __init__(
        self,
        model_file: ModelFile,
        base_url: str,
        model: str,
        api_key_env: str,
        concurrency: int,
        timeout_s: float,
        retries: int,
        api: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(model_file)
        if concurrency < 1 or retries < 0 or timeout_s <= 0:
            raise ValueError("concurrency is at least 1, retries at least 0 and timeout_s above 0")
        self.base_url, self.name, self.api_key_env, self.api = base_url.rstrip("/"), model, api_key_env, api
        self.concurrency, self.retries = concurrency, retries
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S), pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            transport=transport,
        )
        self._giving_up = threading.Event()

    @classmethod
    def backend(cls) -> str:
        return "openai 1"

    @classmethod
    def content(cls, model: str, target: dict[str, object]) -> str:
        """See `Engine`; what a server is told depends on its kind, so that this is part of it."""
        api = target.get("api", APIS[0])
        return super().content(model, target) + ("" if api == APIS[0] else f" as {api}")

    @classmethod
    def resolved(cls, target: dict[str, object], n_ctx_train: int) -> dict[str, object]:
        """See `Engine`; raises ConfigError for an address that holds a secret, and for an unknown kind of server."""
        url = httpx.URL(str(target.get("base_url", "")))
        if url.userinfo or url.query:
            raise ConfigError(
                "conf/engine: base_url holds a name, a key or a query, which would be written into slices and locks. "
                "Put the key into the variable that api_key_env names."
            )
        if target.get("api", APIS[0]) not in APIS:
            raise ConfigError(unknown("conf/engine", "api", str(target["api"]), list(APIS)))
        return target

    def describe(self) -> str:
        return f"{self.name} at {self.base_url}, {self.concurrency} requests at once"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        following = iter(enumerate(requests))
        running: dict[Future[Completion], int] = {}
        problem: EngineError | None = None
        self._giving_up.clear()
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    while problem is None and len(running) < self.concurrency:
                        item = next(following, None)
                        if item is None:
                            break
                        running[pool.submit(self._answer, item[1])] = item[0]
                    if not running:
                        break
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        index = running.pop(future)
                        try:
                            completion = future.result()
                        except EngineError as err:
                            problem = problem or err
                            self._giving_up.set()
                        else:
                            yield index, completion
            finally:
                self._giving_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
        if problem is not None:
            raise problem

    def close(self) -> None:
        self._client.close()

    def _answer(self, request: Request) -> Completion:
        sent = body(request, self.name, self.api)
        path = "completions" if isinstance(request.prompt, str) else "chat/completions"
        for attempt in range(self.retries + 1):
            try:
                reply = self._client.post(f"{self.base_url}/{path}", json=sent, headers=self._headers())
            except httpx.TransportError as err:
                problem, pause = f"{type(err).__name__}: {err}", None
            else:
                if reply.status_code < 400:
                    return self._completion(reply)
                if reply.status_code != 429 and reply.status_code < 500:
                    return self._refused(reply)
                problem, pause = f"HTTP {reply.status_code}", _retry_after(reply)
            if pause is not None and pause > _LONGEST_WAIT_S:
                raise EngineError(
                    f"{self.base_url}: {problem}, and it asks to wait {pause:.0f} s. Run the same command again then; "
                    f"all completions up to here are kept."
                )
            if attempt < self.retries and self._giving_up.wait(pause if pause is not None else _pause(attempt)):
                break
        raise EngineError(
            f"{self.base_url}: no answer after {attempt + 1} tries ({problem}). Start the server, or correct "
            f"engine.base_url; all completions up to here are kept."
        )

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _completion(self, reply: httpx.Response) -> Completion:
        try:
            data = reply.json()
            choice = data["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            usage = data.get("usage") or {}
            reason = _REASONS.get(choice.get("finish_reason"), FinishReason.ERROR)
            return Completion(
                text=text or "",
                finish_reason=reason,
                prompt_tokens=int(usage.get("prompt_tokens", 0)),
                completion_tokens=int(usage.get("completion_tokens", 0)),
                error=None if reason is not FinishReason.ERROR else f"finish_reason {choice.get('finish_reason')!r}",
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as err:
            raise EngineError(
                f"{self.base_url}: the answer is none of the OpenAI API ({type(err).__name__}: {err}). "
                f"Check engine.base_url, which ends in /v1 for most servers."
            ) from err

    def _refused(self, reply: httpx.Response) -> Completion:
        """Return a context overflow as a completion; raise EngineError for any other refusal.

        A server may repeat what it was sent, so that the key is taken out of what it says.
        """
        message, key = " ".join(reply.text.split()), os.environ.get(self.api_key_env)
        message = (message.replace(key, "***") if key else message)[:200]
        if reply.status_code == 400 and "context" in message.lower():
            return Completion(text="", finish_reason=FinishReason.ERROR, error=f"context overflow: {message}")
        todo = "Correct engine.model or engine.base_url."
        if reply.status_code in (401, 403):
            message, todo = "not allowed", f"Set the variable {self.api_key_env} to a key that the server knows."
        raise EngineError(f"{self.base_url}: HTTP {reply.status_code} ({message}). {todo}")


def _pause(attempt: int) -> float:
    return random.uniform(0, min(_LONGEST_PAUSE_S, 0.5 * 2**attempt))


def _retry_after(reply: httpx.Response) -> float | None:
    """Return the seconds that a server asks to wait, which it says as a number or as a date."""
    said = reply.headers.get("Retry-After")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None
