"""Any server that speaks the OpenAI API, such as llama-server or vLLM."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import httpx

from m2l.engine.base import Engine, ModelFile
from m2l.errors import EngineError
from m2l.records import Completion, FinishReason, Request

_LONGEST_WAIT_S = 30.0
_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class OpenAI(Engine):
    """Sends texts to `/completions` and messages to `/chat/completions`, at most `concurrency` at once.

    429, 5xx, broken connections and timeouts are tried `retries` times more, with
    exponential backoff and full jitter, or as `Retry-After` says. The key is read from
    the variable `api_key_env` and appears nowhere else. Raises EngineError if a server
    cannot be reached, refuses, or answers what is no answer.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(model_file)
        if concurrency < 1 or retries < 0 or timeout_s <= 0:
            raise ValueError("concurrency is at least 1, retries at least 0 and timeout_s above 0")
        self.base_url, self.name, self.api_key_env = base_url.rstrip("/"), model, api_key_env
        self.concurrency, self.retries = concurrency, retries
        self._client = httpx.Client(timeout=timeout_s, transport=transport)

    @classmethod
    def backend(cls) -> str:
        return "openai 1"

    def describe(self) -> str:
        return f"{self.name} at {self.base_url}, {self.concurrency} requests at once"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        following = iter(enumerate(requests))
        running: dict[Future[Completion], int] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    while len(running) < self.concurrency and (item := next(following, None)) is not None:
                        running[pool.submit(self._answer, item[1])] = item[0]
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        self._client.close()

    def _answer(self, request: Request) -> Completion:
        for attempt in range(self.retries + 1):
            try:
                reply = self._client.post(self._url(request), json=self._body(request), headers=self._headers())
            except httpx.TransportError as err:
                problem, pause = f"{type(err).__name__}: {err}", None
            else:
                if reply.status_code < 400:
                    return self._completion(reply)
                if reply.status_code != 429 and reply.status_code < 500:
                    return self._refused(reply)
                problem, pause = f"HTTP {reply.status_code}", _retry_after(reply)
            if attempt < self.retries:
                time.sleep(pause if pause is not None else random.uniform(0, min(_LONGEST_WAIT_S, 0.5 * 2**attempt)))
        raise EngineError(
            f"{self.base_url}: no answer after {self.retries + 1} tries ({problem}). Start the server, or correct "
            f"engine.base_url; all completions up to here are kept."
        )

    def _url(self, request: Request) -> str:
        return f"{self.base_url}/{'completions' if isinstance(request.prompt, str) else 'chat/completions'}"

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _body(self, request: Request) -> dict[str, Any]:
        """Return the body; llama-server and vLLM take the sampling parameters that OpenAI does not know."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.name,
            "max_tokens": request.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "repetition_penalty": sampling.repeat_penalty,
            "seed": request.rng_seed & 0x7FFFFFFF,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.grammar is not None:
            body["grammar"] = request.grammar
        if isinstance(request.prompt, str):
            return body | {"prompt": request.prompt}
        return body | {"messages": [{"role": turn.role, "content": turn.content} for turn in request.prompt]}

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
        """Return a context overflow as a completion; raise EngineError for any other refusal."""
        message = " ".join(reply.text.split())[:200]
        if reply.status_code == 400 and "context" in message.lower():
            return Completion(text="", finish_reason=FinishReason.ERROR, error=f"context overflow: {message}")
        todo = "Correct engine.model or engine.base_url."
        if reply.status_code in (401, 403):
            message, todo = "not allowed", f"Set the variable {self.api_key_env} to a key that the server knows."
        raise EngineError(f"{self.base_url}: HTTP {reply.status_code} ({message}). {todo}")


def _retry_after(reply: httpx.Response) -> float | None:
    try:
        return min(_LONGEST_WAIT_S, max(0.0, float(reply.headers["Retry-After"])))
    except (KeyError, ValueError):
        return None
