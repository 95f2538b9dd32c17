"""How right the filters are, and how fast: `make bench-filters` prints what docs/benchmarks.md holds.

Thresholds were chosen on the half `tune` of the texts; figures are of the half `report`.
"""

import argparse
import os
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from statistics import mean

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a figure for one core; polars reads it when it is imported

from bench import defects, speed, texts
from bench.tables import contexts, shipped_filters, table
from m2l.filters.base import Context, Filter, apply
from m2l.spec import Slice
from m2l.text import fold, words

Rows = list[defects.Row]


def human(piece: Slice, sources: Mapping[str, Sequence[str]], talks: list[tuple[str, ...]]) -> dict[str, Rows]:
    """Return rows of human-written text by source: a text as the answer to a seed's question, a conversation as it is.

    Conversations with a turn under the declared least length, or one that says the same
    twice, are left out: those a filter rejects by declaration, whoever wrote them.
    """
    questions = defects.asked(piece)
    found = {
        source: [defects.row(piece, at, questions[at % len(questions)], text) for at, text in enumerate(answers)]
        for source, answers in sources.items()
    }
    least = piece.task["general"].min_words
    long = [
        talk
        for talk in talks
        if min(len(words(turn, piece.language.bcp47)) for turn in talk) >= least
        and not any(fold(one) in fold(other) for one, other in permutations(talk, 2))
    ]
    distinct = {turn: talk for talk in reversed(long) for turn in talk[:1]}
    return found | {"dialogues": [defects.row(piece, at, *talk) for at, talk in enumerate(distinct.values())]}


def judge(rows: Rows, filters: dict[str, Filter], context: Context) -> list[list[str]]:
    """Return the reasons for which each row is rejected."""
    _, rejected = apply(table(rows), filters, context)
    reasons = dict(rejected.select("row_id", "reasons").iter_rows())
    return [reasons.get(row["row_id"], []) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument("--data", type=Path, help="a folder of *.jsonl with your own human-written text")
    parser.add_argument("--languages", help="codes, separated by commas; all by default")
    parser.add_argument("--sizes", default="10000,50000,200000", help="conversations to time; empty for none")
    parser.add_argument("--only-human", action="store_true", help="plant no defects")
    parser.add_argument("--show", action="store_true", help="print what was judged wrongly")
    args = parser.parse_args()
    texts.fetch()
    found = contexts(args.languages and f"eng_Latn,{args.languages}")
    quality(found, args.half, args.data, plant=not args.only_human, show=args.show)
    sizes = [int(size) for size in args.sizes.split(",") if size]
    if sizes:
        speed.report(sizes, args.languages)


def quality(found: dict[str, tuple[Slice, Context]], half: str, data: Path | None, *, plant: bool, show: bool) -> None:
    """Print false rejects on human-written text, what was caught of each defect, and precision by rule."""
    declaration, dialogues = texts.articles(list(found)), texts.dialogues()
    own = texts.of_folder(data, _names(found)) if data else {}
    answers = {
        code: [text for number, part in parts.items() if texts.half(number) == half for text in part]
        for code, parts in declaration.items()
    }
    piece, _ = found["eng_Latn"]
    prose = [
        seed.response for seed in piece.seeds if not piece.task[seed.task].target(seed) and len(seed.response) > 60
    ]
    english = [text for number, text in enumerate(prose) if texts.half(number) == half]
    foreign = {code: answers[code] for code in defects.FAR if code in answers}
    wrong: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    caught: dict[str, dict[str, tuple[int, int, int]]] = defaultdict(dict)
    fires: dict[str, Counter[str]] = {"rightly": Counter(), "wrongly": Counter()}
    for code, (piece, context) in found.items():
        filters = shipped_filters(piece)
        sources = {"declaration": answers.get(code, []), "own data": own.get(code, [])}
        talks = [talk for at, talk in enumerate(dialogues.get(code, [])) if texts.half(at) == half]
        for source, rows in human(piece, sources, talks).items():
            if not rows:
                continue
            alone = {name: flt for name, flt in filters.items() if name != "near_duplicates" or source == "declaration"}
            reasons = judge(rows, alone, context)
            wrong[source][code] = (sum(map(bool, reasons)), len(rows))
            fires["wrongly"].update(name for why in reasons for name in why)
            if show:
                for row, why in zip(rows, reasons, strict=True):
                    if why:
                        print("WRONG", source, code, why, [turn["content"] for turn in row["conversation"][-2:]])
        if plant and answers.get(code):
            _plant(piece, context, filters, answers[code], english, foreign, caught, fires, show=show)
    _print_wrong(wrong, found)
    if plant:
        _print_caught(caught)
        _print_rules(fires)
        return
    print("\nRejected by:", ", ".join(f"{name} {rows}" for name, rows in fires["wrongly"].most_common()))


def _plant(
    piece: Slice, context: Context, filters: dict[str, Filter], answers: list[str], english: list[str],
    foreign: dict[str, list[str]], caught: dict[str, dict[str, tuple[int, int, int]]],
    fires: dict[str, Counter[str]], *, show: bool,
) -> None:  # fmt: skip
    rng = random.Random(piece.language_code)
    by_kind: dict[str, Rows] = defaultdict(list)
    for kind, made in defects.Planter(piece, answers, english, foreign, rng).rows():
        for row in made if isinstance(made, tuple) else (made,):
            by_kind[kind].append(row | {"row_id": f"{len(by_kind[kind]):04}"})
    single = {name: flt for name, flt in filters.items() if name != "near_duplicates"}
    for kind, rows in by_kind.items():
        expected = defects.RULES[kind]
        paired = kind in defects.PAIRS
        reasons = judge(rows, filters if kind.startswith("near-duplicate") else single, context)
        judged = reasons[1::2] if paired else reasons
        named = [expected & set(why) for why in judged]
        if kind == "English half" and piece.language_code == "eng_Latn":
            continue
        caught[kind][piece.language_code] = (sum(map(bool, judged)), sum(map(bool, named)), len(judged))
        fires["rightly"].update(name for names in named for name in names)
        if show:
            for row, names in zip(rows[1::2] if paired else rows, named, strict=True):
                if not names and kind not in defects.NOT_DEMANDED:
                    print("MISSED", kind, piece.language_code, [turn["content"][-160:] for turn in row["conversation"]])


def _names(found: dict[str, tuple[Slice, Context]]) -> dict[str, str]:
    """Return the codes by which a language may be named in a file of one's own; `zh` is the first Chinese one."""
    short = {piece.language.bcp47: code for code, (piece, _) in found.items()}
    bare = {name.partition("-")[0]: code for name, code in reversed(short.items())}
    return (
        bare
        | short
        | {piece.language.iso639_3: code for code, (piece, _) in found.items()}
        | {code: code for code in found}
    )


def _print_wrong(wrong: dict[str, dict[str, tuple[int, int]]], found: dict[str, tuple[Slice, Context]]) -> None:
    print("\n| human-written text | languages | rows | rejected | macro | highest | not verifiable, apart |")
    print("|---|---|---|---|---|---|---|")
    everything: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for source, by_language in wrong.items():
        for code, counts in by_language.items():
            everything[code].append(counts)
        _print_line(source, by_language, found)
    total = {code: (sum(n for n, _ in part), sum(n for _, n in part)) for code, part in everything.items()}
    _print_line("all of it", total, found)
    most = sorted(total.items(), key=lambda item: -item[1][0] / item[1][1])[:8]
    print("\nMost rejected:", ", ".join(f"{code} {bad} of {n}" for code, (bad, n) in most if bad))


def _print_line(source: str, counts: dict[str, tuple[int, int]], found: dict[str, tuple[Slice, Context]]) -> None:
    sure = {code: part for code, part in counts.items() if found[code][0].language.verify.method == "detectors"}
    shares = {code: bad / n for code, (bad, n) in sure.items()} or {"none": 0.0}
    top = max(shares, key=lambda code: shares[code])
    apart = ", ".join(f"{code} {bad} of {n}" for code, (bad, n) in counts.items() if code not in sure) or "none"
    print(
        f"| {source} | {len(sure)} | {sum(n for _, n in sure.values())} | {sum(bad for bad, _ in sure.values())} "
        f"| {mean(shares.values()):.2%} | {top} {shares[top]:.1%} | {apart} |"
    )


def _print_caught(caught: dict[str, dict[str, tuple[int, int, int]]]) -> None:
    print("\n| planted defect | languages | rows | caught | by its own rule | lowest language |")
    print("|---|---|---|---|---|---|")
    demanded = []
    for kind, by_language in sorted(caught.items()):
        shares = {code: any_ / n for code, (any_, _, n) in by_language.items()}
        own = mean(named / n for _, named, n in by_language.values())
        low = min(shares, key=lambda code: shares[code])
        if kind not in defects.NOT_DEMANDED:
            demanded.append(mean(shares.values()))
        rows = sum(n for *_, n in by_language.values())
        print(
            f"| {kind} | {len(shares)} | {rows} | {mean(shares.values()):.1%} | {own:.1%} | {low} {shares[low]:.0%} |"
        )
    print(
        f"\nMacro over the {len(demanded)} kinds that are demanded: {mean(demanded):.2%}; lowest {min(demanded):.1%}."
    )


def _print_rules(fires: dict[str, Counter[str]]) -> None:
    print("\n| rule | on its defects | on human-written text | precision |")
    print("|---|---|---|---|")
    for name in sorted(set().union(*fires.values())):
        right, bad = fires["rightly"][name], fires["wrongly"][name]
        print(f"| {name} | {right} | {bad} | {right / (right + bad):.1%} |")


if __name__ == "__main__":
    main()
