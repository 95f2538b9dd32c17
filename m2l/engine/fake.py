"""An engine without a model, for tests and dry runs: it calls a function."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from m2l.engine.base import Engine, ModelFile
from m2l.records import Completion, FinishReason, JsonSchema, Request, Turn
from m2l.text import words

Answer = Callable[[Request], Completion]


class Fake(Engine):
    """Answers each request by a function of it.

    The default writes words of the prompt's last example, or a value of the JSON schema
    that a request brings; it knows nothing of GBNF.
    """

    local = False

    def __init__(self, model: ModelFile, answer: Answer | None = None) -> None:
        super().__init__(model)
        self.answer = answer or sample_words

    @classmethod
    def backend(cls) -> str:
        return "fake 1"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            yield index, self.answer(request)


def sample_words(request: Request) -> Completion:
    """Return a sentence of words drawn from the prompt, or a value of its schema, by the request's own rng_seed."""
    if isinstance(request.grammar, JsonSchema):
        return _sample_value(request, json.loads(request.grammar.json_schema))
    text = request.prompt if isinstance(request.prompt, str) else "\n".join(turn.content for turn in request.prompt)
    found = words(text.replace(":", " "))
    rng = random.Random(request.rng_seed)
    count = min(18, request.max_tokens // 2)
    spaced = any(" " in line for line in text.splitlines()[-3:])
    chosen = rng.choices(found, k=count) if found else ["text"]
    return Completion(
        text=(" " if spaced else "").join(chosen) + ".",
        finish_reason=FinishReason.STOP,
        prompt_tokens=len(found),
        completion_tokens=count,
    )


def _sample_value(request: Request, schema: dict[str, Any]) -> Completion:
    rng = random.Random(request.rng_seed)

    def value(part: dict[str, Any]) -> object:
        if "enum" in part:
            return rng.choice(part["enum"])
        if part.get("type") == "object":
            return {name: value(inner) for name, inner in part.get("properties", {}).items()}
        if part.get("type") == "array":
            return [value(part["items"])]
        plain: dict[str, object] = {"integer": 1, "number": 1.0, "boolean": True, "null": None}
        return plain.get(part.get("type", ""), "text")

    return Completion(text=json.dumps(value(schema)), finish_reason=FinishReason.STOP, completion_tokens=1)


def reply(text: str) -> Answer:
    """Return a function that answers every request with the same text."""

    def answer(request: Request) -> Completion:
        prompt = request.prompt if isinstance(request.prompt, str) else " ".join(map(_content, request.prompt))
        return Completion(
            text=text,
            finish_reason=FinishReason.STOP,
            prompt_tokens=len(prompt.split()),
            completion_tokens=len(text.split()),
        )

    return answer


def _content(turn: Turn) -> str:
    return turn.content
