"""The last stage: a sample of the tables of all languages, split, counted and exported; one language at a time."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import config, metrics, sample, schema
from m2l.build import DIST, TABLES, Progress, Report, build
from m2l.conservation import conserved
from m2l.engine.base import Engine
from m2l.errors import BuildError
from m2l.exporters.base import Dataset, Exporter
from m2l.process import writing
from m2l.sketch import Counts, sketches
from m2l.slices import Composed
from m2l.spec import DatasetSpec

KINDS = ("seed", "evolved", "conversation")
CONFIGS = {"seed_data": KINDS[:1], "seed_evol_data": KINDS[:2], "full_data": KINDS}
"""The three configs of the published dataset; each holds the rows of the one before it."""

NUMBERS = "numbers"
"""The folder beside the dataset with its numbers by language, task, operator and so on."""

AXES = {
    "evolved": ("task", "task_evol_type"),
    "conversation": ("task", "task_evol_type", "multiturn_evol_type"),
}
"""What the sample of each kind is dealt over."""

SPLITS = ("train", "validation")
_COLUMNS = ("row_id", "seed_id", "language", "task", "task_evol_type", "multiturn_evol_type")


class Part(msgspec.Struct, frozen=True):
    """What was chosen of one language, row ids by kind and split; its numbers, and the cells that are short of rows."""

    chosen: dict[str, dict[str, pl.Series]]
    numbers: metrics.Numbers
    shortfalls: pl.DataFrame


def assemble(root: Path, dataset: DatasetSpec, *, tables: Path = TABLES, dist: Path = DIST) -> dict[str, Any]:
    """Sample the tables of all languages and write the dataset to `dist`; return its metrics.

    No more than one language is in memory at a time; what is chosen is streamed from
    its table to the dataset.
    """
    parts = {name: sampled(root / tables / name, name, dataset) for name in dataset.languages}
    aside = _quarantined(root, dataset, tables)
    numbers = metrics.together([part.numbers for part in parts.values()])
    short = pl.concat(part.shortfalls for part in parts.values())
    configs = {name: _splits(root / tables, parts, kinds) for name, kinds in CONFIGS.items()}
    sizes = {name: {split: size for split, (_, size) in found.items()} for name, found in configs.items()}
    tables_ = _numbers(numbers, short, aside)
    content = Dataset(
        spec=dataset,
        configs={name: {split: rows for split, (rows, _) in found.items()} for name, found in configs.items()},
        sizes=sizes,
        rejected=pl.concat(_scan(root / tables / name / "rejected.parquet", schema.REJECTED) for name in parts),
        quarantined=aside,
        numbers=tables_,
        metrics=_flat(sizes, tables_, aside.height, metrics.overall(numbers)),
    )
    for name, target in dataset.exporter.items():
        config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml").export(content, root / dist)
    for name, table in content.numbers.items():
        with writing(root / dist / NUMBERS / f"{name}.csv") as part_:
            table.write_csv(part_)
    with writing(root / dist / "metrics.json") as part_:
        part_.write_bytes(msgspec.json.format(msgspec.json.encode(content.metrics), indent=1) + b"\n")
    return content.metrics


def run_all(
    root: Path, composed: Composed, *, tables: Path, dist: Path, engine: Engine | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[dict[str, Report], dict[str, Any]]:  # fmt: skip
    """Build every slice and assemble them, without DVC; the store is the project's."""
    reports = {
        name: build(root, piece, tables=tables, engine=engine, progress=progress(name) if progress else None)
        for name, piece in composed.slices.items()
    }
    return reports, assemble(root, composed.dataset, tables=tables, dist=dist)


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
    kept = {kind: _collect(_scan(folder / f"{kind}.parquet", schema.ROWS).select(_COLUMNS), folder) for kind in KINDS}
    rejected = _collect(_scan(folder / "rejected.parquet", schema.REJECTED).select("row_id", "kind", "reason"), folder)
    measures = _collect(_scan(folder / "measures.parquet", schema.MEASURES), folder)
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
    return {"train": table["row_id"].filter(~held), "validation": table["row_id"].filter(held)}


def _splits(tables: Path, parts: Mapping[str, Part], kinds: Sequence[str]) -> dict[str, tuple[pl.LazyFrame, int]]:
    """Return the rows of a config by split, and how many these are; `id` counts on from one split to the next."""
    found, start = {}, 0
    for split in SPLITS:
        chosen = [(name, kind, parts[name].chosen[kind][split]) for kind in kinds for name in parts]
        size = sum(len(ids) for *_, ids in chosen)
        if size or split == "train":
            rows = pl.concat(
                _scan(tables / name / f"{kind}.parquet", schema.ROWS).filter(pl.col("row_id").is_in(ids.implode()))
                for name, kind, ids in chosen
            )
            numbered = rows.drop("id").with_row_index("id", offset=start).cast({"id": pl.Int32})
            found[split] = (numbered.select(list(schema.ROWS)), size)
        start += size
    return found


def _sketches(path: Path) -> Counts:
    content = pl.element().struct.field("content")
    text = pl.col("conversation").list.eval(content).list.join("\n")
    return sketches(_collect(_scan(path, schema.ROWS).select(text), path).to_series())


def _quarantined(root: Path, dataset: DatasetSpec, tables: Path) -> pl.DataFrame:
    """Return the seed rows that could not be used, of all languages and of none."""
    aside = [msgspec.to_builtins(row) | {"language": ""} for row in dataset.quarantined]
    paths = [root / tables / name / "quarantined.parquet" for name in dataset.languages]
    found = [_collect(_scan(path, schema.QUARANTINED), path) for path in paths]
    return pl.concat([*found, schema.frame(aside, schema.QUARANTINED)])


def _numbers(numbers: metrics.Numbers, short: pl.DataFrame, aside: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the tables of numbers by name, with the columns called what people call them."""
    quarantined = aside.group_by("language").agg(quarantined=pl.len())
    names = {column: axis for axis, column in metrics.AXES.items() if axis != column}
    tables = {f"{axis}s": metrics.by(numbers, axis) for axis in metrics.AXES}
    by_language = tables["languages"].join(quarantined, on="language", how="left")
    tables["languages"] = by_language.with_columns(pl.col("quarantined").fill_null(0))
    return tables | {
        "kinds": metrics.kinds(numbers),
        "cells": numbers.cells.rename(names),
        "reasons": numbers.reasons,
        "shortfalls": short.rename(names).with_columns(pl.col("level").replace(names)),
    }


def _flat(
    sizes: Mapping[str, Mapping[str, int]],
    tables: Mapping[str, pl.DataFrame],
    quarantined: int,
    overall: Mapping[str, float | None],
) -> dict[str, Any]:
    """Return the few numbers of the whole dataset that `dvc metrics` shows.

    The first ones count rows of every kind; those from `yield` on tell of what the model wrote.
    """
    totals = {name: int(tables["kinds"][name].sum()) for name in ("kept", "rejected", "sampled")}
    worst = tables["languages"].sort("yield", "language", nulls_last=True).row(0, named=True)
    short = dict(tables["shortfalls"].group_by("level").agg(pl.col("short").sum()).iter_rows())
    reasons = tables["reasons"].group_by("reason").agg(pl.col("rows").sum()).sort("reason")
    return {
        "rows": {name: sum(found.values()) for name, found in sizes.items()},
        "train": sizes["full_data"]["train"],
        "validation": sizes["full_data"].get("validation", 0),
        "attempted": totals["kept"] + totals["rejected"] + quarantined,
        **totals,
        "quarantined": quarantined,
        **{name: value for name, value in overall.items() if name not in {"attempted", *totals}},
        "lowest_yield": worst["yield"],
        "lowest_yield_language": worst["language"],
        "short_rows": {level: short.get(level, 0) for level in ("task", "operator", "variation")},
        "rejected_for": dict(reasons.iter_rows()),
    }


def _scan(path: Path, columns: dict[str, Any]) -> pl.LazyFrame:
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


def _collect(table: pl.LazyFrame, path: Path) -> pl.DataFrame:
    try:
        return table.collect()
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{path}: cannot be read ({str(err).splitlines()[0]}). Run `dvc repro -f`.") from err
