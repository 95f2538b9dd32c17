"""The way of the data in one slice, as rounds of requests; pure, so that a plan and a build walk the same way."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from m2l import converse, evolve
from m2l.draft import Draft
from m2l.prompts import Prompts
from m2l.records import Completion, Request, Role
from m2l.spec import Slice


@dataclass(frozen=True, slots=True)
class Call:
    """A request and what it is for; a request that is None hangs on text not generated yet."""

    task: str
    operator: str
    variation: str
    request: Request | None


@dataclass(frozen=True, slots=True)
class Round:
    """Requests that need nothing of each other, so that an engine gets them all at once."""

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Drafts:
    """All that a slice wrote: evolved instructions with their answers, and conversations."""

    evolved: tuple[Draft, ...]
    conversations: tuple[Draft, ...]


Answers = Sequence[Completion | None]
Rounds = Generator[Round, Answers, Drafts]
"""Yields rounds, is sent an answer for each call (None: not known yet), and returns the drafts."""


def rounds(piece: Slice) -> Rounds:
    """Walk a slice: evolve, respond, then user turn and assistant turn in alternation.

    All conversations advance together. A draft whose model gave no text stops
    there; nothing else does, so that no filter decides what is generated, and
    editing one costs no call.
    """
    prompts = Prompts(piece)
    evolved = yield from _round("evolve", evolve.drafts(piece), prompts.evolve, None)
    evolved = yield from _round("respond", evolved, prompts.respond, "assistant")
    talks = converse.drafts([draft for draft in evolved if draft.state != "failed"], piece)
    for turn in range(converse.longest(piece)):
        number = turn + 2
        talks = yield from _round(f"user turn {number}", talks, prompts.user_turn, "user", turn)
        talks = yield from _round(f"assistant turn {number}", talks, prompts.assistant_turn, "assistant", turn)
    return Drafts(tuple(evolved), tuple(talks))


def _round(
    name: str, drafts: Sequence[Draft], ask: Callable[[Draft], Request], role: Role | None, turn: int = -1
) -> Generator[Round, Answers, list[Draft]]:
    """Ask for one text of every draft that goes on, and return all drafts, advanced."""
    going = [draft.state != "failed" and (turn < 0 or turn < len(draft.variation_prompts)) for draft in drafts]
    asked = [ask(draft) if go and draft.state == "open" else None for draft, go in zip(drafts, going, strict=True)]
    calls = tuple(
        Call(draft.seed.task, draft.operator, draft.variation, request)
        for draft, go, request in zip(drafts, going, asked, strict=True)
        if go
    )
    if not calls:
        return list(drafts)
    answers = iter((yield Round(name, calls)))
    result = []
    for draft, go, request in zip(drafts, going, asked, strict=True):
        answer = next(answers) if go else None
        result.append(draft.take(request, answer, role) if request is not None else draft)
    return result
