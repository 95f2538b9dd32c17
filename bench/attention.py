"""What flash attention costs and brings on this machine: `python -m bench.attention`, the default model, medians of 9.

With and without it, in turns: a call that evaluates a part of a prompt behind 260 tokens, and a step of 24 sequences.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import llama_cpp

from bench.build import _machine
from bench.invariance import MODELS, Context
from bench.tables import ROOT
from m2l.engine.llama import _tokenize

BEFORE, SLOTS, TURNS = 260, 24, 9
PARTS = (16, 60, 200)


def main() -> None:
    """Measure, and print the milliseconds of each call."""
    path = ROOT / "cache/models" / next(iter(MODELS.values()))
    contexts = {"with": Context(path), "without": Context(path, flash=False)}
    some = contexts["with"]
    tokens = _tokenize(some.vocab, (ROOT / "README.md").read_text(encoding="utf-8"), special=False, add=True)
    for context in contexts.values():
        context.prefill(tokens[:BEFORE], [52] * 5)
        for slot in range(1, SLOTS):
            context.copy(0, slot)
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(TURNS):
        for name, context in contexts.items():
            for size in PARTS:
                part, places = tokens[BEFORE : BEFORE + size], range(BEFORE, BEFORE + size)
                taken[f"{size} tokens of a prompt", name].append(
                    _timed(context, lambda c, p=part, at=places: c.call(p, at, [0] * len(p), []))  # type: ignore[misc]
                )
            step = [tokens[BEFORE]] * SLOTS
            taken[f"a step of {SLOTS} sequences", name].append(
                _timed(context, lambda c, s=step: c.call(s, [BEFORE] * SLOTS, range(SLOTS), range(SLOTS)))  # type: ignore[misc]
            )
    print(f"{_machine()}; {path.name}\n\n| call | flash attention | ms |\n|---|---|---|")
    for (what, name), found in sorted(taken.items()):
        print(f"| {what} | {name} | {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) |")


def _timed(context: Context, call: Callable[[Context], None]) -> float:
    """Return the milliseconds of a call, behind `BEFORE` tokens of each sequence."""
    for slot in range(SLOTS):
        llama_cpp.llama_memory_seq_rm(context.memory, slot, BEFORE, -1)
    start = time.perf_counter()
    call(context)
    llama_cpp.llama_synchronize(context.context)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
