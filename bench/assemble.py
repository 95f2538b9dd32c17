"""How long `assemble` takes and what memory it needs, on synthetic tables of 10,000 to 200,000 conversations.

Run it by `make bench-assemble`. Each run is a process of its own, so that its peak memory is its own.
Every conversation has an evolved row above it, and nine of those a seed. The text is
made of real words in six scripts, in lengths as the recipe `full` allows; it says nothing.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m2l import schema
from m2l.digest import digest

ROOT = Path(__file__).parents[1]
LANGUAGES = 20
TASKS, OPERATORS, VARIATIONS = 20, 9, 21
REJECTED = 0.1
POOL = 2_000
SIZES = (10_000, 50_000, 200_000)


def main() -> None:
    """Print a table of medians and spreads, and the cost of the largest against what the smallest lets expect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", type=Path, help="measure one run on the project in this folder")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one)))
        return
    print("| conversations | seconds (median, spread) | CPU seconds | conversations a CPU second | peak memory |")
    print("|---|---|---|---|---|")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root, size)
            runs = [measured(root) for _ in range(arguments.runs)]
        wall, cpu = ([run[key] for run in runs] for key in ("wall", "cpu"))
        print(
            f"| {size:,} | {statistics.median(wall):.2f} ({min(wall):.2f} to {max(wall):.2f}) "
            f"| {statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}) "
            f"| {size / statistics.median(cpu):,.0f} | {max(run['peak'] for run in runs):.0f} MB |",
            flush=True,
        )


def measured(root: Path) -> dict[str, float]:
    """Run `assemble` once in a process of its own."""
    command = [sys.executable, __file__, "--one", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def one(root: Path) -> dict[str, float]:
    """Assemble the tables below `root`, and return seconds, CPU seconds and megabytes at the peak."""
    from m2l import assemble, slices

    dataset = slices.read_dataset(root / slices.FOLDER)
    start, cpu = time.perf_counter(), time.process_time()
    assemble.assemble(root, dataset)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux
    return {"wall": wall, "cpu": cpu, "peak": peak}


def make(root: Path, size: int) -> None:
    """Write tables of `size` attempted conversations in all languages, and what `assemble` reads beside them."""
    from m2l import slices

    names = sorted(path.stem for path in (ROOT / "conf" / "language").glob("*.yaml"))[:LANGUAGES]
    each = size // len(names)
    samples = _samples()
    for number, name in enumerate(names):
        words = samples[name].split()
        for table, content in language(name, each, words, np.random.default_rng(number)).items():
            schema.write(content, root / "data" / "tables" / name / f"{table}.parquet")
    composed = _compose(names)
    taken = {"evolved": each // 2, "conversation": each // 2}
    quota = composed["quota"] | taken
    operators = {f"t{task}": [f"t{task}o{number}" for number in range(OPERATORS)] for task in range(TASKS)}
    spec = composed | {
        "quota": quota, "operators": operators, "variations": [f"v{number}" for number in range(VARIATIONS)],
    }  # fmt: skip
    folder = root / slices.FOLDER
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(spec), encoding="utf-8")


def language(name: str, size: int, words: list[str], rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Return the tables of one language: kept rows by kind, those rejected, those put aside, and the measures."""
    pool = [" ".join(rng.choice(words, 12)) + "." for _ in range(POOL)]
    seeds = [_row(name, "seed", digest([name, "s", n])[:16], n, _talk(pool, rng, 1)) for n in range(-(-size // 9))]
    evolved, talks = [], []
    for number in range(size):
        parent, content = digest([name, "e", number])[:16], _talk(pool, rng, int(rng.integers(2, 5)))
        seed = seeds[number // OPERATORS]["seed_id"]
        evolved.append(_row(name, "evolved", parent, number, content[:2]) | {"seed_id": seed})
        talks.append(_row(name, "conversation", digest([name, "c", number])[:16], number, content) | {"seed_id": seed})
    tables, rejected = {}, []
    for kind, rows in (("seed", seeds), ("evolved", evolved), ("conversation", talks)):
        table = schema.frame(sorted(rows, key=lambda row: str(row["row_id"])), schema.ROWS)
        out = pl.Series(rng.random(table.height) < REJECTED)
        tables[kind] = table.filter(~out)
        rejected.append(table.filter(out))
    lines = pl.concat(rejected).sort("row_id")
    reason = {"reason": pl.lit("too_short"), "reasons": pl.lit(["too_short"]), "error": pl.lit(None, pl.String)}
    tables["rejected"] = lines.with_columns(**reason).select(list(schema.REJECTED)).cast(pl.Schema(schema.REJECTED))
    tables["quarantined"] = schema.frame([], schema.QUARANTINED)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(" ".join(pool).split()))}
    measures = [_measured(row, numbers) for row in (*seeds, *evolved, *talks)]
    tables["measures"] = schema.frame(sorted(measures, key=lambda row: str(row["row_id"])), schema.MEASURES)
    return tables


def _talk(pool: list[str], rng: np.random.Generator, exchanges: int) -> list[dict[str, str]]:
    """Return a conversation: two sentences a question, six an answer."""
    turns = []
    for _ in range(exchanges):
        for role, sentences in (("user", 2), ("assistant", 6)):
            turns.append({"role": role, "content": " ".join(pool[place] for place in rng.integers(0, POOL, sentences))})
    return turns


def _row(name: str, kind: str, row_id: str, number: int, turns: list[dict[str, str]]) -> dict[str, Any]:
    task = number % TASKS
    text = dict.fromkeys((key for key, type_ in schema.ROWS.items() if type_ == pl.String), "")
    return text | {
        "id": 0, "row_id": row_id, "seed_id": row_id, "kind": kind, "language": name, "task": f"t{task}",
        "task_evol_type": "" if kind == "seed" else f"t{task}o{number // TASKS % OPERATORS}",
        "multiturn_evol_type": f"v{number % VARIATIONS}" if kind == "conversation" else "",
        "seed_prompt": turns[0]["content"], "evolved_user_prompt": turns[0]["content"],
        "output_assistant_reply": turns[-1]["content"],
        "evolved_multiturn_prompt": "\n".join(turn["content"] for turn in turns[2::2]),
        "no_of_turns": len(turns) // 2, "conversation": turns,
        "request_keys": [digest([row_id, place]) for place in range(len(turns))],
        "finish_reasons": ["stop"] * len(turns), "attempts": [0] * len(turns),
        "license": "Apache-2.0", "source": "synthetic",
    }  # fmt: skip


def _measured(row: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    counts = dict.fromkeys((key for key, type_ in schema.MEASURES.items() if type_ == pl.Int32), 1)
    words = [numbers[word] for turn in row["conversation"] for word in turn["content"].split()]
    known = {key: row[key] for key in schema.MEASURES if key in row}
    return counts | known | {"words": words}


def _samples() -> dict[str, str]:
    """Return the sample sentence of each language that `conf/` declares, again and again: some words to write with."""
    from m2l import config
    from m2l.spec import Language

    names = [path.stem for path in (ROOT / "conf" / "language").glob("*.yaml")]
    found = {}
    for name in names:
        declared = config.load_named(ROOT, "language", name, Language)
        texts = [declared.sample, *(turn for talk in declared.shots.dialogue.values() for one in talk for turn in one)]
        found[name] = " ".join(texts)
    return found


def _compose(names: list[str]) -> dict[str, Any]:
    """Return what `assemble` reads for these languages, composed on the fake engine."""
    from m2l import slices

    composed = slices.compose(ROOT, ["recipe=starter", "engine=fake", f"language=[{','.join(names)}]"])
    found: dict[str, Any] = json.loads(slices.content(composed.dataset))
    return found


if __name__ == "__main__":
    main()
