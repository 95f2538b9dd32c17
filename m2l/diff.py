"""What became of the rows between two datasets, each of them a folder or what a git revision's dvc.lock names."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import schema
from m2l.build import DIST
from m2l.errors import BuildError
from m2l.sample import balanced
from m2l.terminal import visible

CHANGES = ("added", "removed", "changed")
COLUMNS = ("row_id", "language", "task", "task_evol_type", "multiturn_evol_type", "conversation")
_AXES = ("language", "task", "operator")
_NAMES = {"task_evol_type": "operator", "multiturn_evol_type": "variation"}
_FULL, _HELD, _REJECTED = "full_data/train.parquet", "full_data/validation.parquet", "rejected/train.parquet"
_FOLDER = "name a folder that holds a dataset"
_SHOWN = 160


class Side(msgspec.Struct, frozen=True):
    """One of two datasets: its name for people, its rows, and those that its filters rejected, with `reason`."""

    name: str
    kept: pl.DataFrame
    rejected: pl.DataFrame


class Count(msgspec.Struct, frozen=True):
    """The rows that differ of one language, task and operator (empty for seeds), and of one reason if rejected."""

    language: str
    task: str
    operator: str
    reason: str
    added: int
    removed: int
    changed: int


class TurnPair(msgspec.Struct, frozen=True):
    """A turn, counted from 1, on both sides; None where a side has none."""

    number: int
    role: str
    old: str | None
    new: str | None


class Example(msgspec.Struct, frozen=True):
    """A changed row with the turns that differ, or another with its first question and last answer."""

    change: str
    row_id: str
    language: str
    task: str
    operator: str
    variation: str
    reason: str | None
    turns: tuple[TurnPair, ...]


class Report(msgspec.Struct, frozen=True):
    """All that differs; of the removed rows `now_rejected` counts by reason those that the new side rejected."""

    old: str
    new: str
    added: int
    removed: int
    changed: int
    now_rejected: dict[str, int]
    kept: tuple[Count, ...]
    rejected: tuple[Count, ...]
    examples: tuple[Example, ...]


def compare(old: Side, new: Side, *, examples: int) -> Report:
    """Return what differs, row by `row_id` (and reason, if rejected), with at most `examples` of each change."""
    why = new.rejected.select("row_id", "reason")
    kept = _differing(old.kept, new.kept, on=["row_id"]).join(why, on="row_id", how="left")
    parts = [kept.filter(pl.col("change") == change) for change in CHANGES]
    shown = pl.concat(balanced(part, examples, _AXES).sort(*_AXES, "row_id") for part in parts)
    return Report(
        old=old.name,
        new=new.name,
        **{change: part.height for change, part in zip(CHANGES, parts, strict=True)},
        now_rejected=dict(sorted(Counter(parts[1]["reason"].drop_nulls().to_list()).items())),
        kept=_counts(kept.with_columns(reason=pl.lit(""))),
        rejected=_counts(_differing(old.rejected, new.rejected, on=["row_id", "reason"])),
        examples=tuple(_example(row) for row in shown.iter_rows(named=True)),
    )


def read(root: Path, where: str) -> Side:
    """Return the dataset of a folder or, if that holds none, of a git revision; raises BuildError."""
    if (Path(where) / _FULL).is_file():
        return read_folder(Path(where), where)
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", where + "^{commit}").strip()
    if not commit:
        what = f"holds no {_FULL}" if Path(where).exists() else "neither a folder nor a git revision"
        raise BuildError(f"{where!r}: {what}. Name a revision, or {_FOLDER}.")
    name = f"{where} ({commit[:10]})"
    return _side(name, _cached(root, name, _git(root, "show", f"{commit}:./dvc.lock")))


def read_folder(folder: Path, name: str) -> Side:
    """Return the dataset of a folder, under a name for people; raises BuildError if it holds none."""
    files = {file: folder / file for file in (_FULL, _HELD, _REJECTED) if (folder / file).is_file()}
    if _FULL in files:
        return _side(name, files)
    raise BuildError(f"{name}: holds no {_FULL}. Make it with `dvc repro`, or {_FOLDER}.")


def _side(name: str, files: dict[str, Path]) -> Side:
    rejected = schema.frame([], schema.REJECTED).select(*COLUMNS, "reason")
    if _REJECTED in files:
        rejected = _rows(files[_REJECTED], f"{name}: {_REJECTED}", rejected.columns)
    kept = pl.concat(_rows(files[file], f"{name}: {file}", COLUMNS) for file in (_FULL, _HELD) if file in files)
    return Side(name, kept, rejected)


def _rows(path: Path, where: str, columns: Sequence[str]) -> pl.DataFrame:
    try:
        table = pl.scan_parquet(path, glob=False).select(columns).collect()
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{where}: cannot be read ({str(err).splitlines()[0]}). Make it again, or {_FOLDER}.") from err
    if table["row_id"].is_duplicated().any():
        raise BuildError(f"{where}: a row_id stands twice. Make it again with `dvc repro -f`, or {_FOLDER}.")
    return schema.check(table, {name: schema.REJECTED[name] for name in columns}, where=where)


def _cached(root: Path, name: str, lock: str) -> dict[str, Path]:
    """Return where DVC's cache has the files of the dataset that a dvc.lock names."""
    from dvc.config import Config

    try:
        stage: Any = msgspec.yaml.decode(lock)["stages"]["assemble"]
        tree = next(str(out["md5"]) for out in stage["outs"] if out["path"] == str(DIST))
    except (msgspec.MsgspecError, LookupError, TypeError, StopIteration) as err:
        raise BuildError(f"{name}: no dvc.lock that names {DIST}. Commit it after `dvc repro`, or {_FOLDER}.") from err
    cache = Path(Config(str(root / ".dvc"))["cache"].get("dir") or root / ".dvc" / "cache", "files", "md5")
    try:
        listed: Any = msgspec.json.decode((cache / tree[:2] / tree[2:]).read_bytes())
        found = {item["relpath"]: cache / item["md5"][:2] / item["md5"][2:] for item in listed}
        files = (_FULL, _REJECTED, *([_HELD] if _HELD in found else []))
        return {file: found[file].resolve(strict=True) for file in files}
    except (OSError, msgspec.MsgspecError, LookupError, TypeError) as err:
        raise BuildError(
            f"{name}: not whole in DVC's cache. Get it by `dvc pull --all-commits`, or {_FOLDER}."
        ) from err


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", check=False)
    except OSError as err:
        raise BuildError(f"git: {err.strerror}. Install it, or {_FOLDER}.") from err
    return done.stdout if done.returncode == 0 else ""


def _differing(old: pl.DataFrame, new: pl.DataFrame, *, on: list[str]) -> pl.DataFrame:
    """Return the rows that differ, with their `change` and, beside `conversation`, `conversation_new`."""
    added, removed = pl.col("row_id").is_null(), pl.col("row_id_new").is_null()
    changed = pl.col("conversation").ne_missing(pl.col("conversation_new"))
    facts = {_NAMES.get(n, n): pl.coalesce(f"{n}_new", n) for n in old.columns if n != "conversation"}
    both = old.lazy().join(new.lazy(), on=on, how="full", suffix="_new").filter(added | removed | changed)
    change = pl.when(added).then(pl.lit("added")).when(removed).then(pl.lit("removed")).otherwise(pl.lit("changed"))
    return both.select("conversation", "conversation_new", change=change, **facts).collect()


def _counts(differing: pl.DataFrame) -> tuple[Count, ...]:
    by = [*_AXES, "reason"]
    sums = [(pl.col("change") == change).sum().alias(change) for change in CHANGES]
    return tuple(Count(*row) for row in differing.group_by(by).agg(sums).sort(by).iter_rows())


def _example(row: dict[str, Any]) -> Example:
    both = zip_longest(row["conversation"] or [], row["conversation_new"] or [])
    turns = [_pair(number, old or {}, new or {}) for number, (old, new) in enumerate(both, start=1) if old != new]
    if row["change"] != "changed":
        asked, answered = ([turn for turn in turns if turn.role == role] for role in ("user", "assistant"))
        turns = [*asked[:1], *answered[-1:]]
    return msgspec.convert(row | {"turns": turns}, Example)


def _pair(number: int, old: dict[str, str], new: dict[str, str]) -> TurnPair:
    roles = dict.fromkeys(turn["role"] for turn in (old, new) if turn)
    return TurnPair(number, " / ".join(roles), old.get("content"), new.get("content"))


def say(report: Report) -> None:
    """Print a report, in colours if stdout is a terminal and NO_COLOR is not set."""
    if not sys.stdout.isatty():
        print("\n".join(visible(line) for _, line in lines(report)))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for colour, line in lines(report):
        console.print(visible(line), style=colour)


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the lines of a report, each after its colour on a terminal."""
    if not report.kept and not report.rejected:
        yield "", f"No difference: {report.old} and {report.new} hold the same conversations, kept and rejected."
        return
    totals = f"{report.added} rows added, {report.removed} removed, {report.changed} changed"
    yield "", f"{report.old} -> {report.new}: {totals}"
    if report.now_rejected:
        yield "", f"removed and now rejected: {', '.join(f'{n} {count}' for n, count in report.now_rejected.items())}"
    for axis in _AXES:
        yield from _table(axis, axis, report.kept)
    yield from _table("rejected for", "reason", report.rejected)
    for example in report.examples:
        yield from _example_lines(example)


def _table(title: str, axis: str, counts: Sequence[Count]) -> Iterator[tuple[str, str]]:
    sums: dict[str, Counter[str]] = {}
    for count in counts:
        sums.setdefault(getattr(count, axis) or "(seed)", Counter()).update({c: getattr(count, c) for c in CHANGES})
    if sums:
        width = max(map(len, (title, *sums)))
        yield "", f"\n{title:<{width}}{''.join(f'{change:>9}' for change in CHANGES)}"
        for name, found in sorted(sums.items()):
            yield "", f"{name:<{width}}{''.join(f'{found[change]:>9}' for change in CHANGES)}"


def _example_lines(example: Example) -> Iterator[tuple[str, str]]:
    facts = (example.row_id, example.language, example.task, example.operator or "(seed)", example.variation)
    why = f"  (now rejected: {example.reason})" if example.reason else ""
    yield "yellow", f"\n{example.change}  {'  '.join(filter(None, facts))}{why}"
    for turn in example.turns:
        yield "", f"  {turn.number} {turn.role}"
        for sign, colour, text in (("-", "red", turn.old), ("+", "green", turn.new)):
            if text is not None:
                shown = text if example.change == "changed" else _short(text)
                yield colour, f"    {sign} " + shown.replace("\n", "\n      ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN].rstrip() + " ..."
