"""Why a row, a language or a task of a language was made when it was, and why it was not made again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from m2l.build import STORE, TABLES
from m2l.errors import BuildError
from m2l.ledger import Build, Ledger
from m2l.lineage import find
from m2l.store import Store

_FILES = ("evolved", "conversation", "rejected")
_SHOWN = 5


def why(root: Path, what: str) -> Iterator[str]:
    """Yield lines that say why: `what` is a row's id or its first digits, a language, or language/task.

    Raises BuildError if there is no such thing, or nothing has been built yet.
    """
    language, _, task = what.partition("/")
    with Store(root / STORE, readonly=True) as store:
        ledger = Ledger(store)
        if (root / TABLES / language).is_dir() and language:
            yield from _language(root, ledger, language, task)
        else:
            yield from _row(root, ledger, what)


def _language(root: Path, ledger: Ledger, language: str, task: str) -> Iterator[str]:
    builds = ledger.builds(language)
    if not builds:
        raise BuildError(f"{language}: no build of it is recorded in {STORE}. Run `dvc repro`.")
    keys = _keys(root, language, task)
    made = Counter(ledger.made_by(keys).values())
    where = f"{language}/{task}" if task else language
    for build in builds:
        count = made.get(build.id, 0)
        if count or not task or build is builds[-1]:
            yield f"{where}: build {build.id} made {count} of the {len(keys)} texts that stand: {_reason(build)}"
            yield from (f"    {leaf}" for leaf in _some(build.leaves))
    unknown = len(keys) - sum(made.values())
    if unknown:
        yield f"{where}: {unknown} texts were in the store before any build that is recorded (an import, or a preview)."


def _row(root: Path, ledger: Ledger, row_id: str) -> Iterator[str]:
    row = find(root, row_id)
    builds = {build.id: build for build in ledger.builds(row["language"])}
    yield f"{row['row_id']}  {row['kind']}  {row['language']}  {row['task']}"
    if not row["request_keys"]:
        yield f"It is a seed of {row['source']}, from {row['origin']}; no call made it."
        return
    made = ledger.made_by(row["request_keys"])
    for number, (key, attempt) in enumerate(zip(row["request_keys"], row["attempts"], strict=True), start=1):
        again = f", asked {attempt + 1} times" if attempt else ""
        if key not in made:
            yield f"call {number}  {key[:12]}  reused: it was in the store before any build that is recorded{again}"
            continue
        build = builds[made[key]]
        later = [other for other in builds.values() if other.id > build.id]
        yield f"call {number}  {key[:12]}  made by build {build.id}{again}: {_reason(build)}"
        yield from (f"    {leaf}" for leaf in _some(build.leaves))
        if later:
            yield (
                f"    reused by {len(later)} builds since ({', '.join(str(other.id) for other in later[-_SHOWN:])}): "
                f"what they changed left this request as it was"
            )


def _keys(root: Path, language: str, task: str) -> list[str]:
    """Return the keys of all texts of a language's rows, kept and rejected, or of those of a task."""
    frames = [
        pl.scan_parquet(root / TABLES / language / f"{name}.parquet").select("task", "request_keys") for name in _FILES
    ]
    rows = pl.concat(frames).collect()
    if task:
        known = sorted(set(rows["task"]))
        if task not in known:
            raise BuildError(f"{language}: no row of task {task!r}. Tasks: {', '.join(known)}.")
        rows = rows.filter(pl.col("task") == task)
    return sorted(set(rows["request_keys"].explode().drop_nulls()))


def _reason(build: Build) -> str:
    return {
        "first_run": "first_run, there was no build before",
        "changed": f"changed, {len(build.leaves)} leaves",
        "upstream": "upstream, m2l's own code had changed",
        "missing": "missing, the store had lost what it made",
    }[build.reason]


def _some(leaves: Sequence[str]) -> Iterator[str]:
    yield from leaves[:_SHOWN]
    if len(leaves) > _SHOWN:
        yield f"and {len(leaves) - _SHOWN} more leaves"
