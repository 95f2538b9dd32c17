"""What is chosen of one language and counted of it; kept from one build to the next while nothing of it has changed."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import metrics, sample, schema
from m2l.conservation import conserved
from m2l.digest import digest, digest_bytes
from m2l.errors import BuildError
from m2l.process import writing
from m2l.sketch import Counts, sketches
from m2l.spec import DatasetSpec

KINDS = ("seed", "evolved", "conversation")
SPLITS = ("train", "validation")

AXES = {
    "evolved": ("task", "task_evol_type"),
    "conversation": ("task", "task_evol_type", "multiturn_evol_type"),
}
"""What the sample of each kind is dealt over."""

_COLUMNS = ("row_id", "seed_id", "language", "task", "task_evol_type", "multiturn_evol_type")


class Part(msgspec.Struct, frozen=True):
    """What was chosen of one language, row ids by kind and split; its numbers, and the cells that are short of rows."""

    chosen: dict[str, dict[str, pl.Series]]
    numbers: metrics.Numbers
    shortfalls: pl.DataFrame


def part(folder: Path, language: str, dataset: DatasetSpec, kept: Path | None) -> Part:
    """Return the part of one language, from the file `kept` if that was made of the same tables in the same way.

    Otherwise, or without such a file, the part is made (see `sampled`), and kept there.
    """
    if kept is None:
        return sampled(folder, language, dataset)
    key = _key(folder, language, dataset)
    found = _read(kept, key)
    if found is None:
        found = sampled(folder, language, dataset)
        _keep(found, kept, key)
    return found


def sampled(folder: Path, language: str, dataset: DatasetSpec) -> Part:
    """Choose the rows of one language from the tables in `folder`, and count all of them.

    Raises BuildError if a row that was attempted is neither kept nor rejected, or both.
    """
    kept, measured = _judged(folder)
    last = "conversation" if kept["conversation"].height else "evolved"
    weights = _weights(dataset)
    chosen, short, counts = {"seed": kept["seed"]}, [], {}
    for kind, axes in AXES.items():
        size, order = _size(dataset, kind, language), None
        if kind == last or size < kept[kind].height:
            counts[kind] = _sketches(folder / f"{kind}.parquet")
            order = sample.diverse(kept[kind], counts[kind], axes)
        chosen[kind] = sample.balanced(kept[kind], size, axes, order=order, weights=weights)
        found = sample.shortfalls(chosen[kind], _cells(dataset, axes), size, axes, weights)
        short.append(found.select(pl.lit(language).alias("language"), pl.lit(kind).alias("kind"), pl.all()))
    _at_least(dataset, language, chosen)
    taken = pl.concat(table["row_id"] for table in chosen.values())
    rows = measured.with_columns(sampled=pl.col("row_id").is_in(taken.implode()), language=pl.lit(language))
    told = kept[last].select("row_id", *metrics.AXES.values())
    return Part(
        {kind: _by_split(table, dataset.validation) for kind, table in chosen.items()},
        metrics.count(language, rows, told, counts[last]),
        pl.concat(short, how="diagonal").filter(pl.col("short") > 0),
    )


def _judged(folder: Path) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Return what was kept, by kind, and the measures of every attempted row with its `reason`, null if it was kept."""
    kept = {kind: collect(scan(folder / f"{kind}.parquet", schema.ROWS).select(_COLUMNS), folder) for kind in KINDS}
    rejected = collect(scan(folder / "rejected.parquet", schema.REJECTED).select("row_id", "kind", "reason"), folder)
    measures = collect(scan(folder / "measures.parquet", schema.MEASURES), folder)
    for kind in KINDS:
        of_kind = pl.col("kind") == kind
        verdicts = {"kept": kept[kind]["row_id"], "rejected": rejected.filter(of_kind)["row_id"]}
        conserved(f"{folder}: {kind}", measures.filter(of_kind)["row_id"], verdicts)
    return kept, measures.join(rejected.select("row_id", "reason"), on="row_id", how="left", maintain_order="left")


def _size(dataset: DatasetSpec, kind: str, language: str) -> int:
    """Return how many rows of a kind the sample takes from a language."""
    rows: int = getattr(dataset.quota, kind)
    return round(rows * dataset.quota.weight.language.get(language, 1.0))


def _weights(dataset: DatasetSpec) -> sample.Weights:
    """Return the weights of the recipe by column."""
    return {column: getattr(dataset.quota.weight, axis) for axis, column in metrics.AXES.items()}


def _cells(dataset: DatasetSpec, axes: Sequence[str]) -> pl.DataFrame:
    """Return every combination of some columns that the recipe declares."""
    pairs = [(task, operator) for task, operators in dataset.operators.items() for operator in operators]
    cells = pl.DataFrame(pairs, schema=dict.fromkeys(axes[:2], pl.String), orient="row")
    if len(axes) < 3:
        return cells
    return cells.join(pl.DataFrame({axes[2]: dataset.variations}, schema={axes[2]: pl.String}), how="cross")


def _at_least(dataset: DatasetSpec, language: str, chosen: Mapping[str, pl.DataFrame]) -> None:
    """Raise BuildError if the sample of a language has fewer rows of something than the recipe wants at least."""
    rows = pl.concat(chosen[kind] for kind in AXES)
    declared = {
        "task": list(dataset.operators),
        "operator": [name for names in dataset.operators.values() for name in names],
        "variation": list(dataset.variations),
    }
    few = []
    for axis, names in declared.items():
        least, got = getattr(dataset.quota.at_least, axis), Counter(rows[metrics.AXES[axis]].to_list())
        few += [f"{axis} {name} has {got[name]} of {least}" for name in names if got[name] < least]
    if few:
        raise BuildError(
            f"recipe {dataset.recipe!r}: quota.at_least: {language}: {', '.join(few[:3])}"
            f"{f' and {len(few) - 3} more are short' if len(few) > 3 else ''}. Add seeds, or lower it."
        )


def _by_split(table: pl.DataFrame, share: float) -> dict[str, pl.Series]:
    """Return the row ids of each split; all that descends from a seed is in the same."""
    held = sample.held_out(table["seed_id"], share)
    return dict(zip(SPLITS, (table["row_id"].filter(~held), table["row_id"].filter(held)), strict=True))


def _sketches(path: Path) -> Counts:
    content = pl.element().struct.field("content")
    text = pl.col("conversation").list.eval(content).list.join("\n")
    return sketches(collect(scan(path, schema.ROWS).select(text), path).to_series())


class _Kept(msgspec.Struct, frozen=True):
    """A part as it lies on disk: what it was made of, its frames, and a digest of them."""

    key: str
    digest: str
    frames: dict[str, bytes]


def _key(folder: Path, language: str, dataset: DatasetSpec) -> str:
    """Return a digest of all that the part of a language depends on; raises BuildError if a table is not there."""
    try:
        tables = [digest_bytes((folder / f"{name}.parquet").read_bytes()) for name in (*KINDS, "rejected", "measures")]
    except OSError as err:
        raise BuildError(f"{err.filename}: cannot be read ({err.strerror}). Run `dvc repro`, which makes it.") from err
    how = [dataset.code, dataset.recipe, dataset.quota, dataset.operators, dataset.variations, dataset.validation]
    return digest([language, tables, how])


def _keep(part_: Part, path: Path, key: str) -> None:
    chosen = [
        pl.DataFrame({"row_id": ids}).with_columns(kind=pl.lit(kind), split=pl.lit(split))
        for kind, splits in part_.chosen.items()
        for split, ids in splits.items()
    ]
    numbers = part_.numbers
    tables = {"chosen": pl.concat(chosen), "shortfalls": part_.shortfalls, "cells": numbers.cells}
    tables |= {"reasons": numbers.reasons, **{f"by {axis}": table for axis, table in numbers.diversity.items()}}
    frames = {name: _packed(table) for name, table in tables.items()}
    with writing(path) as target:
        target.write_bytes(msgspec.msgpack.encode(_Kept(key, digest_bytes(b"".join(frames.values())), frames)))


def _read(path: Path, key: str) -> Part | None:
    """Return the part that is kept under a key, None if there is another one, none at all, or a damaged one."""
    try:
        kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None
    if kept.key != key or kept.digest != digest_bytes(b"".join(kept.frames.values())):
        return None
    tables = {name: pl.read_ipc(data) for name, data in kept.frames.items()}
    chosen = {
        kind: {split: tables["chosen"].filter(kind=kind, split=split)["row_id"] for split in SPLITS} for kind in KINDS
    }
    diversity = {axis: tables[f"by {axis}"] for axis in metrics.AXES}
    return Part(chosen, metrics.Numbers(tables["cells"], tables["reasons"], diversity), tables["shortfalls"])


def _packed(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return buffer.getvalue()


def scan(path: Path, columns: dict[str, Any]) -> pl.LazyFrame:
    """Return a table to read from later; raises BuildError if it is not there or not the table that was expected."""
    try:
        table = pl.scan_parquet(path, glob=False)
        found = table.collect_schema()
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(
            f"{path}: cannot be read ({str(err).splitlines()[0]}). Run `dvc repro`, which makes it."
        ) from err
    if found != pl.Schema(columns):
        raise BuildError(f"{path}: not the table that was expected. Make it again with `dvc repro -f`.")
    return table


def collect(table: pl.LazyFrame, path: Path) -> pl.DataFrame:
    try:
        return table.collect()
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{path}: cannot be read ({str(err).splitlines()[0]}). Run `dvc repro -f`.") from err
