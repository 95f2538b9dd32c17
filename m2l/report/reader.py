"""The rows that the page lets a person read: a sample of all languages, tasks, operators and verdicts, with their way.

Texts repeat: a seed in what descends from it, an example in every prompt. So each line is
kept once, and a text is a list of the numbers of its lines.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l.build import STORE
from m2l.digest import digest
from m2l.exporters.base import Dataset
from m2l.records import Completion, Request
from m2l.schema import REJECTED, ROWS
from m2l.store import Store

MOST_ROWS = 4_000
"""Rows that are looked at to fill the budget."""

_BATCH = 200
_KINDS = {"conversation": 0, "evolved": 1, "seed": 2}
_STRATUM = ("language", "kind", "task", "task_evol_type", "reason")


class Lines:
    """Every line of every text once; `size` is what they take as JSON, `before` how many the last whole row needs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.size = 0
        self.before = 0
        self._numbers: dict[str, int] = {}

    def text(self, text: str) -> list[int]:
        """Return a text as the numbers of its lines."""
        return [self._number(line) for line in text.split("\n")]

    def _number(self, line: str) -> int:
        number = self._numbers.setdefault(line, len(self.lines))
        if number == len(self.lines):
            self.lines.append(line)
            self.size += len(embedded(line).encode()) + 1
        return number


class Reading(msgspec.Struct, frozen=True):
    """What can be read: rows and the lines of their texts, and how many rows there are in all."""

    rows: list[dict[str, Any]]
    lines: list[str]
    total: int


def embedded(value: object) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element or be markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def read(root: Path, dataset: Dataset, *, budget: int, tables: Path | None) -> Reading:
    """Return rows that fit into `budget` bytes, one of each kind first, then a second of each, and so on.

    What a judge said of a row is taken from `tables`, those of the project, if the dataset is its own.
    """
    published = [rows.select(list(ROWS)) for rows in dataset.configs["full_data"].values()]
    ids = pl.concat(
        [
            *(rows.select("row_id", *_STRATUM[:-1], reason=pl.lit("")) for rows in published),
            dataset.rejected.select("row_id", *_STRATUM),
        ]
    ).collect()
    chosen = _dealt(ids)
    lines, found, size = Lines(), list[dict[str, Any]](), 0
    with Store(root / STORE, readonly=True) as store:
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            marks = _marks(tables, dataset.spec.languages, batch) if tables else {}
            for row in _rows(published, dataset.rejected, batch):
                told = _told(row, store.requests(row["request_keys"]), lines)
                if row["row_id"] in marks:
                    told["marks"] = marks[row["row_id"]]
                size += len(embedded(told).encode()) + 1
                if size + lines.size > budget:
                    return Reading(found, lines.lines[: lines.before], ids.height)
                found.append(told)
                lines.before = len(lines.lines)
    return Reading(found, lines.lines, ids.height)


def _marks(tables: Path, languages: Iterable[str], wanted: Sequence[str]) -> dict[str, list[list[Any]]]:
    """Return the marks that a judge gave to some rows, by row id: criterion and mark, the mean last."""
    found: dict[str, list[list[Any]]] = {}
    for language in languages:
        path = tables / language / "judged.parquet"
        if path.is_file():
            judged = pl.scan_parquet(path).filter(pl.col("row_id").is_in(pl.Series(wanted).implode()))
            for row_id, marks, score in judged.select("row_id", "marks", "score").collect().iter_rows():
                mean = [["mean", round(score, 2)]] if score is not None else [["no marks", None]]
                found[row_id] = [[mark["criterion"], mark["mark"]] for mark in marks] + mean
    return found


def _dealt(ids: pl.DataFrame) -> list[str]:
    """Return row ids in the order in which they are taken: every stratum has its turn, a conversation before others."""
    drawn = pl.Series("drawn", [digest(row_id) for row_id in ids["row_id"]], dtype=pl.String)
    kind = pl.col("kind").replace_strict(_KINDS, default=3, return_dtype=pl.Int64)
    dealt = ids.with_columns(drawn).sort("drawn").with_columns(turn=pl.int_range(pl.len()).over(_STRATUM), first=kind)
    return dealt.sort("turn", "first", "drawn").head(MOST_ROWS)["row_id"].to_list()


def _rows(published: Sequence[pl.LazyFrame], rejected: pl.LazyFrame, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield whole rows in the order of their ids; those of the dataset have no reasons."""
    among = pl.col("row_id").is_in(pl.Series(wanted).implode())
    none = {name: pl.lit(None, dtype=kind) for name, kind in REJECTED.items() if name not in ROWS}
    frames = [*(rows.with_columns(**none) for rows in published), rejected.select(list(REJECTED))]
    by_id = {row["row_id"]: row for frame in frames for row in frame.filter(among).collect().iter_rows(named=True)}
    yield from (by_id[row_id] for row_id in wanted)


def _told(row: Mapping[str, Any], calls: Mapping[str, tuple[Request, Completion]], lines: Lines) -> dict[str, Any]:
    """Return what the page shows of a row; keys are short, as there are thousands of rows."""
    text = lines.text
    told: dict[str, Any] = {
        "id": row["row_id"],
        "kind": row["kind"],
        "language": row["language"],
        "task": row["task"],
        "operator": row["task_evol_type"],
        "family": row["operator_family"],
        "variation": row["multiturn_evol_type"],
        "parent": row["parent_id"],
        "source": [row["source"], row["license"], row["origin"]],
        "seed": text(row["seed_prompt"]),
        "directive": text(row["task_evol_prompt"]),
        "turns": [[turn["role"], text(turn["content"])] for turn in row["conversation"]],
    }
    if row["kind"] != "seed":
        told["then"] = [text(line) for line in row["multiturn_evol_prompt"].split("\n") if line]
        told["calls"] = list(_calls(row, calls, lines))
    if row["reasons"]:
        told |= {"reasons": row["reasons"], "error": row["error"]}
    return {name: value for name, value in told.items() if value}


def _calls(
    row: Mapping[str, Any], calls: Mapping[str, tuple[Request, Completion]], lines: Lines
) -> Iterable[dict[str, Any]]:
    """Yield, for each text that the model wrote of a row, the prompt as it saw it and how it ended."""
    for key, ended, attempt in zip(row["request_keys"], row["finish_reasons"], row["attempts"], strict=True):
        told: dict[str, Any] = {"key": key, "ended": ended, "attempt": attempt}
        if key in calls:
            request, completion = calls[key]
            told["prompt"] = lines.text(_prompt(request))
            told["tokens"] = [completion.prompt_tokens, completion.completion_tokens]
        yield told


def _prompt(request: Request) -> str:
    if isinstance(request.prompt, str):
        return request.prompt
    return "\n".join(f"[{turn.role}] {turn.content}" for turn in request.prompt)
