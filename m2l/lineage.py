"""A row's way from its seed, and what the dataset holds: read from the tables and the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l.assemble import NUMBERS
from m2l.build import DIST, STORE, TABLES
from m2l.errors import BuildError
from m2l.records import Completion, Request
from m2l.schema import REJECTED
from m2l.store import Store

PAGE = Path("data/report/index.html")
"""Where `m2l report` writes its page."""

SHOWN = 12
"""Languages that the summary has room for."""

_FILES = ("seed", "evolved", "conversation", "rejected")
_SHARES = ("yield", "truncated", "in_language", "verifiable")
_DIVERSITY = ("distinct_2", "self_similarity")


def describe(root: Path, row_id: str, *, prompts: bool) -> Iterator[str]:
    """Yield lines that tell a row's way: seed, operator, variation, every call, and why it was rejected.

    Raises BuildError if no row, or more than one, has an id that begins with `row_id`.
    """
    row = find(root, row_id)
    status = f"rejected: {', '.join(row['reasons'])}" if row.get("reasons") else "kept"
    yield f"{row['row_id']}  {row['kind']}  {row['language']}  {row['task']}  ({status})"
    yield f"seed       {row['seed_id']}  {row['source']}, {row['license']}"
    yield f"           {_indent(row['seed_prompt'])}"
    if row["task_evol_type"]:
        yield f"operator   {row['task_evol_type']} ({row['operator_family']})"
        yield f"           {_indent(row['task_evol_prompt'])}"
    if row["multiturn_evol_type"]:
        yield f"variation  {row['multiturn_evol_type']} ({row['variation_family']})"
        yield f"           {_indent(row['multiturn_evol_prompt'])}"
    if row["model"]:
        yield f"model      {row['model']}  {row['model_content']}"
    for turn in row["conversation"]:
        yield f"{turn['role']:<10} {_indent(turn['content'])}"
    yield from _marks(root, row)
    keys = row["request_keys"]
    with Store(root / STORE, readonly=True) as store:
        found = store.requests(keys)
    for number, key in enumerate(keys, start=1):
        yield from _call(number, key, found.get(key), prompts=prompts)


def _marks(root: Path, row: dict[str, Any]) -> Iterator[str]:
    """Yield what a judge said of a row, if one was asked."""
    path = root / TABLES / row["language"] / "judged.parquet"
    if not path.is_file():
        return
    for found in pl.scan_parquet(path).filter(pl.col("row_id") == row["row_id"]).collect().iter_rows(named=True):
        marks = ", ".join(f"{mark['criterion']} {mark['mark']}" for mark in found["marks"]) or "no marks"
        score = "" if found["score"] is None else f", mean {found['score']:.2f}"
        yield f"judge      {found['judge']} ({found['model']}): {marks}{score}; call {found['request_key']}"


def numbers(root: Path) -> dict[str, Any]:
    """Return the metrics of the dataset, and its numbers by language and by kind; raises BuildError without one."""
    path = root / DIST / "metrics.json"
    try:
        metrics: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        tables = {
            name: pl.read_csv(root / DIST / NUMBERS / f"{name}.csv").to_dicts() for name in ("languages", "kinds")
        }
    except (OSError, msgspec.MsgspecError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{path}: no dataset yet. Make it with `dvc repro`.") from err
    return {"metrics": metrics, **tables}


def summary(root: Path) -> list[str]:
    """Return what was made, how much of it was kept, how good each language is, where it lies, and what to try next.

    Raises BuildError if there is no dataset yet.
    """
    found = numbers(root)
    metrics, languages = found["metrics"], found["languages"]
    talks = [row for row in found["kinds"] if row["kind"] == "conversation"]
    kept, attempted = (sum(row[name] for row in talks) for name in ("kept", "attempted"))
    example = pl.scan_parquet(root / DIST / "full_data" / "train.parquet").filter(pl.col("kind") == "conversation")
    row_id = next(iter(example.select("row_id").head(1).collect()["row_id"]), "ROW_ID")
    return [
        f"Made: {metrics['rows']['full_data']} rows in {len(languages)} language{'s' * (len(languages) != 1)}"
        + (f", {metrics['validation']} of them held out for validation." if metrics["validation"] else "."),
        f"Kept: {kept} of {attempted} conversations; the others lie beside them with their reasons.",
        "",
        "By language, of evolved instructions and conversations together:",
        *_table(languages),
        "",
        f"Where: {DIST}/ (README.md is its card); in Python: datasets.load_dataset('{DIST}', 'full_data'). "
        f"`dvc metrics show` and `dvc plots show` tell more.",
        f"Look at it: {PAGE} in a browser, which `m2l report` writes: figures, and every conversation to read.",
        f"Read one: m2l show {row_id[:8]} prints a conversation's way from its seed, with every prompt.",
        "Next: source .venv/bin/activate, edit a prompt in conf/operator/, see what it costs by `m2l plan`, "
        "then `dvc repro`.",
    ]


def _table(languages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each language, or for the ones that kept the least of what was attempted."""
    yield (
        f"{'language':<10} {'attempted':>9} {'kept':>5} {'yield':>6} {'asked again':>11} {'cut off':>7} "
        f"{'in language':>11} {'verifiable':>10} {'distinct-2':>10} {'alike':>6}"
    )
    lowest = sorted(languages, key=lambda row: (row["yield"] or 0, row["language"]))[:SHOWN]
    for row in sorted(lowest, key=lambda row: str(row["language"])):
        shares = {name: "-" if row[name] is None else f"{row[name]:.0%}" for name in _SHARES}
        distinct, alike = ("-" if row[name] is None else f"{row[name]:.2f}" for name in _DIVERSITY)
        yield (
            f"{row['language']:<10} {row['attempted']:>9} {row['kept']:>5} {shares['yield']:>6} "
            f"{row['asked_again']:>11} {shares['truncated']:>7} {shares['in_language']:>11} "
            f"{shares['verifiable']:>10} {distinct:>10} {alike:>6}"
        )
    if len(languages) > SHOWN:
        yield f"... the lowest {SHOWN} of {len(languages)}; all are in {DIST}/{NUMBERS}/languages.csv."


def find(root: Path, row_id: str) -> dict[str, Any]:
    """Return the one row whose id begins with `row_id`; raises BuildError if there is none, or more than one."""
    paths = [path for name in _FILES for path in sorted((root / TABLES).glob(f"*/{name}.parquet"))]
    if not paths:
        raise BuildError(f"{TABLES}: no tables yet. Make them with `dvc repro`.")
    hits: list[dict[str, Any]] = []
    for path in paths:
        found = pl.scan_parquet(path).filter(pl.col("row_id").str.starts_with(row_id)).collect()
        hits += found.select([name for name in REJECTED if name in found.columns]).to_dicts()
    if not hits:
        raise BuildError(f"{TABLES}: no row has an id that begins with {row_id!r}. Take one from the column row_id.")
    if len(hits) > 1:
        some = ", ".join(hit["row_id"] for hit in hits[:3])
        raise BuildError(
            f"{TABLES}: {len(hits)} rows have ids that begin with {row_id!r} ({some} ...). Give more digits."
        )
    return hits[0]


def _call(number: int, key: str, entry: tuple[Request, Completion] | None, *, prompts: bool) -> Iterator[str]:
    if entry is None:
        yield f"call {number}     {key}  (no longer in the store)"
        return
    request, completion = entry
    yield (
        f"call {number}     {key}  {completion.finish_reason.value}, {completion.prompt_tokens} prompt and "
        f"{completion.completion_tokens} answer tokens, rng_seed {request.rng_seed}"
    )
    if prompts:
        text = request.prompt if isinstance(request.prompt, str) else _messages(request)
        yield f"  prompt   {_indent(text)}"
        yield f"  answer   {_indent(completion.text.strip())}"


def _messages(request: Request) -> str:
    return "\n".join(f"[{turn.role}] {turn.content}" for turn in request.prompt if not isinstance(turn, str))


def _indent(text: str) -> str:
    return text.replace("\n", "\n           ")
