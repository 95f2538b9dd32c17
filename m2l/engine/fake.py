"""An engine without a model, for tests and dry runs: it calls a function."""

import random
from collections.abc import Callable, Iterator, Sequence

from m2l.engine.base import Engine, ModelFile
from m2l.records import Completion, FinishReason, Request, Turn
from m2l.text import words

Answer = Callable[[Request], Completion]


class Fake(Engine):
    """Answers each request by a function of it; the default writes words of the prompt's last example."""

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
    """Return a sentence of words drawn from the prompt by the request's own rng_seed."""
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
