"""How many conversations a second one core filters and samples, how much memory that takes, and how both grow.

`python -m bench.speed 10000` prints a line of the table, `--languages` and `--most` (characters of a text) change what
is in it.
"""

import argparse
import gc
import itertools
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a figure for one core; polars reads it when it is imported

import polars as pl

from bench import texts
from bench.defects import Row, row
from bench.tables import contexts, shipped_filters, table
from m2l import sample
from m2l.filters.base import Context, Filter, apply, contents
from m2l.parts import AXES
from m2l.sketch import sketches
from m2l.spec import Slice

HEAD = """\
| conversations | filtered a second | sampled | both | ms for 1,000 | peak, MiB | turns each | characters a turn |
|---|---|---|---|---|---|---|---|"""

PART = 5000
"""Conversations of a language that are held in memory at once, as a build of one slice would."""


def report(sizes: list[int], languages: str | None) -> None:
    """Print conversations a second of CPU time, and the most memory, for each size, and the cost of each filter."""
    print(f"\n{HEAD}")
    for size in sizes:
        command = [sys.executable, "-m", "bench.speed", str(size), *(["--languages", languages] if languages else [])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(done.stdout.strip().splitlines()[-1])
    print("\n| filter | ms for 1,000 conversations |\n|---|---|")
    for name, seconds in by_filter(languages):
        print(f"| {name} | {1000 * seconds:.0f} |")


def conversations(piece: Slice, size: int, rng: random.Random, extra: list[str], most: int | None = None) -> list[Row]:
    """Return conversations of two to four user turns in texts that people wrote, two for each first exchange.

    A number after each text makes it one of its own, so that none is judged once for many.
    Texts of more than `most` characters are cut there.
    """
    shown = {text for seed in piece.examples for text in (seed.instruction, seed.response)}
    questions = [seed.instruction for seed in piece.seeds if seed.instruction not in shown]
    answers = [*extra, *(seed.response for seed in piece.seeds if seed.response not in shown)]
    english = [turn for talk in piece.language.shots.dialogue.get("language_change", ()) for turn in talk[-1:]]
    seeds, variations = [seed for seed in piece.seeds if seed.task == "general"], sorted(piece.variation)
    numbers = itertools.count(rng.randrange(10**6))
    rows: list[Row] = []

    def text(pool: list[str]) -> str:
        return f"{rng.choice(pool)[:most]} {next(numbers)}."

    while len(rows) < size:
        seed = rng.choice(seeds)
        first = [text(questions), text(answers)]
        for variation in rng.sample(variations, 2):
            talk = list(first)
            for turn in piece.variation[variation].turns:
                talk += [text(questions), text(english if turn.answer_in == "neighbour" and english else answers)]
            made = row(piece, len(rows), *talk, seed_id=seed.seed_id)
            operator = rng.choice(_operators(piece, "general"))
            rows.append(made | {"kind": "conversation", "multiturn_evol_type": variation, "task_evol_type": operator})
    return rows[:size]


def _operators(piece: Slice, task: str) -> list[str]:
    return [name for name, form in piece.operator.items() if task in form.applies_to]


def run(size: int, languages: str | None, most: int | None) -> None:
    """Filter and sample `size` conversations, a share of each language, and print one line of the table."""
    found = contexts(languages)
    gc.freeze()  # a build holds what one language declares, and does not look through that of 73 again and again
    declaration = texts.articles(list(found))
    rng = random.Random(1)
    share = -(-size // len(found))
    filtering, sampling, turns, characters, done = 0.0, 0.0, 0, 0, 0
    for code, (piece, context) in found.items():
        extra = [text for part in declaration.get(code, {}).values() for text in part]
        for start in range(0, share, PART):
            rows = conversations(piece, min(PART, share - start), rng, extra, most)
            turns += sum(len(row["conversation"]) for row in rows)
            characters += sum(len(turn["content"]) for row in rows for turn in row["conversation"])
            frame = table(rows)
            del rows
            filtering += _timed(frame, shipped_filters(piece), context)
            before = time.process_time()
            _sampled(frame)
            sampling += time.process_time() - before
            done += frame.height
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = " | ".join(f"{done / seconds:,.0f}" for seconds in (filtering, sampling, filtering + sampling))
    print(
        f"| {done:,} | {rates} | {1e6 * (filtering + sampling) / done:.0f} | {memory:.0f} "
        f"| {turns / done:.1f} | {characters / turns:.0f} |"
    )


def _sampled(frame: pl.DataFrame) -> pl.DataFrame:
    """Choose half of the rows as `assemble` does: sketched, unlike ones first, dealt over the cells."""
    counts = sketches(frame.select(contents().list.join("\n")).to_series())
    axes = AXES["conversation"]
    return sample.balanced(frame, frame.height // 2, axes, order=sample.diverse(frame, counts, axes))


def by_filter(languages: str | None) -> Iterator[tuple[str, float]]:
    """Yield (filter, seconds for 1,000 conversations), over ten languages; what all share is named apart.

    More texts pass between two looks at one than are remembered, so that each is read anew.
    """
    chosen = languages or "arb_Arab,deu_Latn,hin_Deva,jpn_Jpan,rus_Cyrl,swh_Latn,tam_Taml,tha_Thai,tur_Latn,yor_Latn"
    found = contexts(chosen)
    declaration = texts.articles(list(found))
    frames = {}
    for code, (piece, _) in found.items():
        extra = [text for part in declaration.get(code, {}).values() for text in part]
        frames[code] = table(conversations(piece, 1000, random.Random(2), extra))

    def cost(names: set[str]) -> float:
        best = []
        for _ in range(3):
            total = 0.0
            for code, (piece, context) in found.items():
                filters: dict[str, Filter] = {n: f for n, f in shipped_filters(piece).items() if n in names}
                total += _timed(frames[code], filters, context)
            best.append(total)
        return min(best) / len(found)

    shared = cost(set())
    yield "turns, words and folded forms, for all of them", shared
    for name in next(iter(found.values()))[0].filter:
        yield name, max(0.0, cost({name}) - shared)


def _timed(frame: pl.DataFrame, filters: dict[str, Filter], context: Context) -> float:
    before = time.process_time()
    kept, rejected = apply(frame, filters, context)
    assert kept.height + rejected.height == frame.height
    return time.process_time() - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=int)
    parser.add_argument("--languages", help="codes, separated by commas; all by default")
    parser.add_argument("--most", type=int, help="characters at which a text is cut")
    arguments = parser.parse_args()
    run(arguments.size, arguments.languages, arguments.most)
