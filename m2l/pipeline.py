"""The way of the data in one slice, as rounds of requests; pure, so that a plan and a build walk the same way."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from m2l import converse, evolve, judging
from m2l.draft import Draft
from m2l.judging import Judgement
from m2l.prompts import Prompts
from m2l.records import Completion, Request, Role
from m2l.repair import Judge
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
    """Requests that need nothing of each other, so that an engine gets them all at once.

    Each text may be asked for again up to the attempt `repairs`. `going_on` says that
    prompts of later rounds begin with the prompts and answers of this one.
    """

    name: str
    calls: tuple[Call, ...]
    repairs: int
    going_on: bool = False


@dataclass(frozen=True, slots=True)
class Drafts:
    """All that a slice wrote: evolved instructions with their answers, conversations, and a judge's marks for them.

    `replaced` are drafts as they were with a last text that was asked for again.
    """

    evolved: tuple[Draft, ...]
    conversations: tuple[Draft, ...]
    judgements: tuple[Judgement, ...] = ()
    replaced: tuple[Draft, ...] = ()


Answers = Sequence[Completion | None]
Rounds = Generator[Round, Answers, Drafts]
"""Yields rounds, is sent an answer for each call (None: not known yet), and returns the drafts."""


def rounds(piece: Slice) -> Rounds:
    """Walk a slice: evolve, respond, then user turn and assistant turn in alternation.

    All conversations advance together. A draft whose model gave no text stops
    there; nothing else does, so that no filter decides what is generated, and
    editing one costs no call. What fails a declared check is repaired (`repair`).
    A judge, if there is one, is asked about all that stands at the end.
    """
    prompts, judge = Prompts(piece), Judge(piece)
    replaced: list[Draft] = []
    step = partial(_round, repairs=piece.repairs, replaced=replaced)
    evolved = yield from step("evolve", evolve.drafts(piece), prompts.evolve, judge.instruction, None)
    chat = piece.frame.kind == "chat"  # where an answer's prompt is what was said before, from the first answer on
    evolved = yield from step("respond", evolved, prompts.respond, judge.answer, "assistant", going_on=chat)
    talks = converse.drafts([draft for draft in evolved if draft.state != "failed"], piece)
    for turn in range(converse.longest(piece)):
        number, more = turn + 2, turn + 1 < converse.longest(piece)
        talks = yield from step(
            f"user turn {number}", talks, prompts.user_turn, judge.user_turn, "user", turn, going_on=more or not chat
        )
        talks = yield from step(
            f"assistant turn {number}", talks, prompts.assistant_turn, judge.assistant_turn, "assistant", turn,
            going_on=more,
        )  # fmt: skip
    judgements = yield from _judged(piece, evolved, talks)
    return Drafts(tuple(evolved), tuple(talks), tuple(judgements), tuple(replaced))


def _judged(
    piece: Slice, evolved: Sequence[Draft], talks: Sequence[Draft]
) -> Generator[Round, Answers, list[Judgement]]:
    """Ask the judge about every finished draft; one that is not finished is a call that hangs on it."""
    drafts = judging.judged(piece, evolved, talks)
    if piece.judge is None or not drafts:
        return []
    form = piece.judge
    requests = [judging.request(piece, form, draft) if draft.state == "open" else None for draft in drafts]
    answers = yield Round(
        f"judge {form.name}",
        tuple(
            Call(draft.seed.task, draft.operator, draft.variation, request)
            for draft, request in zip(drafts, requests, strict=True)
        ),
        repairs=0,
    )
    return [
        Judgement(draft.row_id, "conversation" if draft.variation else "evolved", request, answer)
        for draft, request, answer in zip(drafts, requests, answers, strict=True)
        if request is not None
    ]


def _round(
    name: str,
    drafts: Sequence[Draft],
    ask: Callable[[Draft], Request],
    stands: Callable[[Draft], bool],
    role: Role | None,
    turn: int = -1,
    *,
    repairs: int,
    replaced: list[Draft],
    going_on: bool = False,
) -> Generator[Round, Answers, list[Draft]]:
    """Ask for one text of every draft that goes on, again for what cannot stand, and return all drafts, advanced.

    The last text stays where none can stand, for the filters to reject with their reason;
    what was put in the place of another text is added to `replaced`.
    """
    waiting = [
        index
        for index, draft in enumerate(drafts)
        if draft.state != "failed" and (turn < 0 or turn < len(draft.variation_prompts))
    ]
    result = list(drafts)
    for attempt in range(repairs + 1):
        if not waiting:
            break
        if attempt:
            replaced += [result[index] for index in waiting]
        requests = [
            _attempt(ask(drafts[index]), attempt) if drafts[index].state == "open" else None for index in waiting
        ]
        answers = yield Round(
            f"{name}, again" if attempt else name,
            tuple(
                Call(drafts[index].seed.task, drafts[index].operator, drafts[index].variation, request)
                for index, request in zip(waiting, requests, strict=True)
            ),
            repairs,
            going_on,
        )
        failing = []
        for index, request, answer in zip(waiting, requests, answers, strict=True):
            if request is not None:
                result[index] = drafts[index].take(request, answer, role)
                if answer is not None and not stands(result[index]):
                    failing.append(index)
        waiting = failing
    return result


def _attempt(request: Request, attempt: int) -> Request:
    return msgspec.structs.replace(request, attempt=attempt) if attempt else request
