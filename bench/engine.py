"""How fast m2l decodes a local GGUF, against what a user would start instead: `make bench`.

One model and the real prompts of the starter recipe. Each contender runs in a process of its
own, which loads the model before its time begins; the contenders take turns. Those that
decode one sequence at a time get every n-th request, another share in each run, as
their rate does not depend on how many there are; so does each size of `llama-server`,
until the best is known.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.build import _machine
from bench.calls import Calls, calls
from bench.tables import ROOT
from m2l.engine.base import ModelFile
from m2l.engine.llama import Llama, inspect
from m2l.engine.llama_server import LlamaServer
from m2l.engine.prefixes import WIDTH, common, packed
from m2l.records import Request

MODEL = ROOT / "cache/models/gemma-3-270m-q4_k_m.gguf"
WORKLOADS = {
    "evolve": "evolve: prompts share much",
    "respond": "respond: varied answers",
    "turns": "turns of conversations",
}
N_CTX, SERVER_SLOTS = 1536, (1, 4, 8, 16, 32)
SHARE = 4
"""Contenders that get every n-th request: one of so many."""

Rounds = list[list[Request]]
Found = dict[str, Any]


def main() -> None:
    """Measure, and print the tables that docs/benchmarks.md holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--bin", default="", help="a folder with llama-server and llama-batched-bench, if not on the PATH"
    )
    parser.add_argument("--distilabel", default="", help="a Python that has distilabel and llama-cpp-python")
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "WORKLOAD", "RUN"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.bin:
        os.environ["PATH"] = f"{asked.bin}{os.pathsep}{os.environ['PATH']}"
        os.environ["LD_LIBRARY_PATH"] = asked.bin
    if asked.one:
        contender, workload, run = asked.one
        print(json.dumps(one(contender, getattr(calls(), workload), int(run))))
        return
    told = calls()
    print(f"{_machine()}; {MODEL.name}; {asked.runs} runs in turns, medians and ranges\n")
    print(_row(["workload", "contender", "requests", "tokens/s", "m2l against it", "evaluated/distinct prompt tokens",
                "first record, s", "peak memory, MB"]))  # fmt: skip
    print(_row(["---"] * 8))
    for workload in asked.workloads:
        _compare(workload, told, asked)


def _compare(workload: str, told: Calls, asked: argparse.Namespace) -> None:
    """Run all contenders on a workload in turns and print a row for each."""
    server = _best_server(workload)
    contenders = ["m2l", "sequential", *([server] if server else [])]
    if workload == "evolve":
        contenders += ["m2l, not batch-invariant", *(["distilabel"] if asked.distilabel else [])]
    found: dict[str, list[Found]] = defaultdict(list)
    for run in range(asked.runs):
        for contender in contenders:
            python = asked.distilabel if contender == "distilabel" else sys.executable
            found[contender].append(_alone(python, contender, workload, run))
    rounds: Rounds = getattr(told, workload)
    for contender in contenders:
        runs = found[contender]
        ratios = [ours["rate"] / theirs["rate"] for ours, theirs in zip(found["m2l"], runs, strict=True)]
        evaluated = [run["evaluated"] / run["distinct"] for run in runs if run.get("evaluated")]
        print(
            _row(
                [WORKLOADS[workload], contender, str(runs[0]["requests"]), _told([run["rate"] for run in runs], 1),
                 "" if contender == "m2l" else _told(ratios, 2), _told(evaluated, 3) if evaluated else "",
                 _told([run["first"] for run in runs], 2), _told([run["peak"] for run in runs], 0)]
            ), flush=True,
        )  # fmt: skip
    _ceiling(workload, found["m2l"], sum(map(len, rounds)))


def _ceiling(workload: str, ours: Sequence[Found], requests: int) -> None:
    """Print what the rates of llama-batched-bench would allow for the work that m2l did, and m2l's own cost a token."""
    own = [1e6 * (run["seconds"] - run["decoding"]) / run["written"] for run in ours]
    share = [1 - run["decoding"] / run["seconds"] for run in ours]
    at_150 = statistics.median(own) * 150 / 1e6
    print(f"\n{WORKLOADS[workload]}: outside of llama_decode {_told(own, 0)} microseconds a token, "
          f"{_told([100 * part for part in share], 1)}% of the time; {100 * at_150:.1f}% at 150 tokens/s")  # fmt: skip
    size = round(ours[0]["evaluated"] / requests)
    found = batched_bench(ours[0]["slots"], ours[0]["threads"], size)
    calls = {"size": f"{size}, the mean of these prompts' own parts", "four": f"4 times {size}", "best": "256"}
    for name, tokens in calls.items() if found else ():
        least = [_least(run, found, name) for run in ours]
        reached = _told([bound / run["seconds"] for bound, run in zip(least, ours, strict=True)], 2)
        print(f"reached {reached} of what llama-batched-bench would allow with calls of {tokens}")
    for flash, rates in found.items():
        evaluates = ", ".join(f"{rates[name]:.0f} in calls of {told}" for name, told in calls.items())
        print(f"  flash attention {flash}: it decodes {rates['decode']:.0f} tokens/s of {ours[0]['slots']} sequences, "
              f"evaluates {evaluates}")  # fmt: skip
    print(flush=True)


def _least(run: Found, found: Mapping[str, Mapping[str, float]], name: str) -> float:
    """Return the seconds that llama-batched-bench's rates allow for a run's work, in its better setting."""
    evaluated, written = float(run["evaluated"]), float(run["written"])
    return min(evaluated / rates[name] + written / rates["decode"] for rates in found.values())


def batched_bench(slots: int, threads: int, size: int) -> dict[str, dict[str, float]]:
    """Return the rates of llama.cpp's own benchmark with and without flash attention; none where it is not there.

    `decode`: tokens of `slots` sequences; `best`: prompt tokens in calls of 256 and more;
    `size`: prompt tokens in calls of so many of one sequence; `four`: of four.
    """
    found = {}
    for flash in ("on", "off"):
        command = [
            "llama-batched-bench", "-m", str(MODEL), "-c", str(512 * slots), "-b", "2048", "-ub", "512", "-fa", flash,
            "-t", str(threads), "-npp", f"{size},256", "-ntg", "32", "-npl", f"1,4,{slots}", "--output-format", "jsonl",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found[flash] = {
            "decode": max(line["speed_tg"] for line in lines if line["pl"] == slots and line["pp"] == 256),
            "best": max(line["speed_pp"] for line in lines if line["pp"] == 256),
            "size": max(line["speed_pp"] for line in lines if (line["pl"], line["pp"]) == (1, size)),
            "four": max(line["speed_pp"] for line in lines if (line["pl"], line["pp"]) == (4, size)),
        }
    return found


def _best_server(workload: str) -> str | None:
    """Return the size of llama-server that is fastest on a share of a workload; None where there is no server."""
    rates = {}
    for slots in SERVER_SLOTS:
        try:
            rates[slots] = _alone(sys.executable, f"llama-server, {slots} slots, share", workload, 0)["rate"]
        except SystemExit as err:
            print(f"  no llama-server: {str(err)[-200:]}", file=sys.stderr)
            return None
    told = ", ".join(f"{slots}: {rate:.1f}" for slots, rate in rates.items())
    print(f"  {workload}: llama-server by slots, tokens/s: {told}", file=sys.stderr)
    return f"llama-server, {max(rates, key=rates.__getitem__)} slots"


def _alone(python: str, contender: str, workload: str, run: int) -> Found:
    """Run a contender in a process of its own."""
    print(f"  {workload}, run {run + 1}: {contender}", file=sys.stderr, flush=True)
    command = [python, "-W", "ignore", "-m", "bench.engine", "--one", contender, workload, str(run)]
    if contender == "distilabel":
        command = [python, "-W", "ignore", str(ROOT / "bench/sequential.py"), "distilabel", str(MODEL)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False,
        input=json.dumps(_plain(_share(getattr(calls(), workload), run))) if contender == "distilabel" else None,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{contender}: {done.stderr}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def one(contender: str, rounds: Rounds, run: int) -> Found:
    """Run one contender in this process and return what it did."""
    if contender == "sequential":
        from bench.sequential import sequential

        shared = _share(rounds, run)
        return sequential(str(MODEL), _plain(shared))
    if contender.startswith("llama-server"):
        slots = int(re.findall(r"\d+", contender)[0])
        return _server(slots, _share(rounds, run) if contender.endswith("share") else rounds)
    return _m2l(rounds, invariant="not" not in contender)


def _m2l(rounds: Rounds, *, invariant: bool) -> Found:
    engine = Llama(ModelFile(name="gemma", path=MODEL), n_ctx=N_CTX, batch_invariant=invariant)
    engine.load()
    found = _timed(engine.generate, rounds, lambda going_on: setattr(engine, "going_on", going_on))
    counts, chosen = engine.counts, engine.chosen
    found |= {"evaluated": counts.evaluated, "distinct": _distinct(rounds), "decoding": engine.decoding_seconds,
              "calls": counts.calls}  # fmt: skip
    return found | {"slots": chosen.n_slots, "threads": chosen.n_threads, "peak": _peak()}


def _server(slots: int, rounds: Rounds) -> Found:
    engine = LlamaServer(
        ModelFile(name="gemma", path=MODEL), binary="llama-server", n_ctx=N_CTX, n_slots=slots, timeout_s=600,
        start_s=300, retries=0, arguments=["--flash-attn", "on", "--no-webui"],
    )  # fmt: skip
    engine.start()
    try:
        found = _timed(engine.generate, rounds)
        status = Path(f"/proc/{engine.pid}/status").read_text(encoding="utf-8")
        return found | {"peak": int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024}
    finally:
        engine.close()


def _timed(
    generate: Callable[[Sequence[Request]], Iterator[Any]],
    rounds: Rounds,
    tell: Callable[[bool], None] = lambda going_on: None,
) -> Found:
    """Complete all rounds, one after the other; return tokens written, seconds, and seconds to the first record."""
    start, first, written = time.perf_counter(), None, 0
    for number, requests in enumerate(rounds, start=1):
        tell(number < len(rounds))
        for _, completion in generate(requests):
            first = first if first is not None else time.perf_counter() - start
            written += completion.completion_tokens
    seconds = time.perf_counter() - start
    return {"requests": sum(map(len, rounds)), "written": written, "seconds": seconds, "rate": written / seconds,
            "first": first}  # fmt: skip


def _share(rounds: Rounds, run: int) -> Rounds:
    """Return one of `SHARE` parts of the requests, another one in each run; conversations stay whole."""
    if len(rounds) == 1:
        return [rounds[0][run % SHARE :: SHARE]]
    heads = [str(request.prompt).rpartition("\n(")[0] for request in rounds[0][run % SHARE :: SHARE]]
    return [[request for request in requests if str(request.prompt).startswith(tuple(heads))] for requests in rounds]


def _plain(rounds: Rounds) -> list[list[dict[str, Any]]]:
    """Return requests for a process that does not know m2l."""
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
    return [
        [
            {"prompt": request.prompt, "max_tokens": request.max_tokens, "stop": list(request.stop)}
            | {"seed": request.rng_seed, **{name: getattr(request.sampling, name) for name in names}}
            for request in requests
        ]
        for requests in rounds
    ]


def _distinct(rounds: Rounds) -> int:
    """Return the nodes of the prefix tree of all prompts: what must be evaluated at least if nothing is written."""
    prompts = [str(request.prompt) for requests in rounds for request in requests]
    ids = inspect(MODEL, {}, prompts).ids
    keys = sorted(packed([0, *ids[prompt]]) for prompt in set(prompts))
    shared = [0, *(common(one, other) for one, other in pairwise(keys))]
    return sum(len(key) // WIDTH - part for key, part in zip(keys, shared, strict=True))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _told(numbers: Sequence[float], digits: int) -> str:
    low, high = min(numbers), max(numbers)
    return f"{statistics.median(numbers):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
