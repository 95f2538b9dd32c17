"""The calls that the engine's benchmark makes: those of the starter recipe, with the texts of one real build."""

from collections.abc import Sequence

import msgspec

from bench.tables import ROOT
from m2l import config, slices
from m2l.build import open_engine
from m2l.engine.base import Engine
from m2l.pipeline import Round, rounds
from m2l.records import Completion, Request
from m2l.spec import Slice

FILE = ROOT / "cache/bench/calls.json"
OVERRIDES = ("recipe=starter", "recipe.repairs=0", "recipe.seeds_per_task=3")
"""216 evolve calls, as many answers, and as many conversations."""

TALKS = 60
"""Conversations of the multi-turn workload, which have 120 turns and more of the model's."""


class Calls(msgspec.Struct, frozen=True):
    """The requests of each round; rounds of a conversation go on from one another."""

    evolve: list[list[Request]]
    respond: list[list[Request]]
    turns: list[list[Request]]


def calls() -> Calls:
    """Return the calls, recorded from a build with the default model the first time."""
    if not FILE.is_file():
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_bytes(msgspec.json.encode(_record()))
    return msgspec.json.decode(FILE.read_bytes(), type=Calls)


def _record() -> Calls:
    composed = slices.resolve(ROOT, config.compose(ROOT, OVERRIDES))
    pieces = list(composed.slices.values())
    engine = open_engine(ROOT, pieces[0])
    try:
        asked = _walk(pieces, engine)
    finally:
        engine.close()
    evolve, respond, *turns = asked
    return Calls([evolve], [respond], _some(turns))


def _walk(pieces: Sequence[Slice], engine: Engine) -> list[list[Request]]:
    """Walk all slices side by side; return the requests of each round."""
    walks = [rounds(piece) for piece in pieces]
    now: dict[int, Round] = {number: next(walk) for number, walk in enumerate(walks)}
    asked = []
    while now:
        requests = {call.request.key: call.request for step in now.values() for call in step.calls if call.request}
        asked.append(list(requests.values()))
        answers: dict[str, Completion] = {asked[-1][n].key: answer for n, answer in engine.generate(asked[-1])}
        following = {}
        for number, step in now.items():
            try:
                following[number] = walks[number].send(
                    [answers[call.request.key] if call.request else None for call in step.calls]
                )
            except StopIteration:
                continue
        now = following
    return asked


def _some(turns: list[list[Request]]) -> list[list[Request]]:
    """Return the rounds of some conversations: every n-th request of the first round, and what goes on from it."""
    step = max(1, len(turns[0]) // TALKS)
    chosen = [turns[0][::step]]
    heads = [_talk(request) for request in chosen[0]]
    for later in turns[1:]:
        chosen.append([request for request in later if any(str(request.prompt).startswith(head) for head in heads)])
    return chosen


def _talk(request: Request) -> str:
    """Return what a prompt for a user's turn has before the directive: the examples and the conversation so far."""
    lines = str(request.prompt).split("\n")
    return "\n".join(lines[: max(number for number, line in enumerate(lines) if line.startswith("("))])
