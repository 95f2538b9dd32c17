"""The last stage: a sample of the tables of all languages, split, counted and exported; one language at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import config, metrics, schema
from m2l.build import DIST, TABLES, Progress, Report, build
from m2l.engine.base import Engine
from m2l.exporters.base import Dataset, Exporter
from m2l.parts import KINDS, SPLITS, Part, collect, part, scan
from m2l.process import writing
from m2l.slices import Composed
from m2l.spec import DatasetSpec

PARTS = Path("cache/parts")
"""Where what was chosen of each language is kept by the stage; without it the same is chosen again."""

CONFIGS = {"seed_data": KINDS[:1], "seed_evol_data": KINDS[:2], "full_data": KINDS}
"""The three configs of the published dataset; each holds the rows of the one before it."""

EXPORTED = "exported.json"
"""Beside the dataset: the files that each exporter wrote, so that they go when the configuration names it no more."""

NUMBERS = "numbers"
"""The folder beside the dataset with its numbers by language, task, operator and so on."""


def assemble(
    root: Path, dataset: DatasetSpec, *, tables: Path = TABLES, dist: Path = DIST, kept: Path | None = None
) -> dict[str, Any]:
    """Sample the tables of all languages and write the dataset to `dist`; return its metrics.

    No more than one language is in memory at a time; what is chosen is streamed from
    its table to the dataset. With a folder `kept` the part of each language stays there,
    and a language is sampled again only when its tables or the recipe have changed.
    """
    parts = {
        name: part(root / tables / name, name, dataset, root / kept / f"{name}.msgpack" if kept else None)
        for name in dataset.languages
    }
    if kept:
        for path in (root / kept).glob("*.msgpack"):
            if path.stem not in parts:
                path.unlink()
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
        rejected=_scan_all([root / tables / name / "rejected.parquet" for name in parts]),
        quarantined=aside,
        numbers=tables_,
        metrics=_flat(sizes, tables_, aside.height, metrics.overall(numbers)),
    )
    _export(content, root / dist)
    for name, table in content.numbers.items():
        with writing(root / dist / NUMBERS / f"{name}.csv") as part_:
            table.write_csv(part_)
    with writing(root / dist / "metrics.json") as part_:
        part_.write_bytes(msgspec.json.format(msgspec.json.encode(content.metrics), indent=1) + b"\n")
    return content.metrics


def _export(content: Dataset, folder: Path) -> None:
    """Let each exporter write, and take away what was written by one that is named no more, and nothing else."""
    before = _exported(folder)
    written = {}
    for name, target in content.spec.exporter.items():
        exporter = config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml")
        stood = _stamps(folder)
        exporter.export(content, folder)
        stands = _stamps(folder)
        mine = {path for path, stamp in stands.items() if stood.get(path) != stamp}
        written[name] = sorted(mine | (stands.keys() & set(before.get(name, ()))))
    for path in {path for paths in before.values() for path in paths}.difference(*written.values()):
        if not (folder / path).is_file():
            continue
        (folder / path).unlink()
        for parent in (folder / path).parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
    with writing(folder / EXPORTED) as part_:
        part_.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")


def _exported(folder: Path) -> dict[str, list[str]]:
    """Return what each exporter wrote the last time; of a record that does not read or leaves the folder, nothing."""
    try:
        before = msgspec.json.decode((folder / EXPORTED).read_bytes(), type=dict[str, list[str]])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    inside = folder.resolve()
    return {
        name: [path for path in paths if (folder / path).parent.resolve().is_relative_to(inside)]
        for name, paths in before.items()
    }


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return by path what changes when a file below a folder is written anew."""
    files = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (status.st_ino, status.st_mtime_ns) for path, status in files}


def run_all(
    root: Path, composed: Composed, *, tables: Path, dist: Path, kept: Path | None = None,
    engine: Engine | None = None, progress: Callable[[str], Progress] | None = None,
) -> tuple[dict[str, Report], dict[str, Any]]:  # fmt: skip
    """Build every slice and assemble them, without DVC; the store is the project's, `kept` as for `assemble`."""
    reports = {
        name: build(root, piece, tables=tables, engine=engine, progress=progress(name) if progress else None)
        for name, piece in composed.slices.items()
    }
    return reports, assemble(root, composed.dataset, tables=tables, dist=dist, kept=kept)


def _splits(tables: Path, parts: Mapping[str, Part], kinds: Sequence[str]) -> dict[str, tuple[pl.LazyFrame, int]]:
    """Return the rows of a config by split, and how many these are; `id` counts on from one split to the next."""
    every = _scan_all([tables / name / f"{kind}.parquet" for kind in kinds for name in parts])
    found, start = {}, 0
    for split in SPLITS:
        ids = pl.concat(parts[name].chosen[kind][split] for kind in kinds for name in parts)
        if len(ids) or split == "train":
            rows = every.filter(pl.col("row_id").is_in(ids.implode()))
            numbered = rows.drop("id").with_row_index("id", offset=start).cast({"id": pl.Int32})
            found[split] = (numbered.select(list(schema.ROWS)), len(ids))
        start += len(ids)
    return found


def _scan_all(paths: list[Path]) -> pl.LazyFrame:
    """Return the rows of several tables, which `parts` has found to be as expected, in one scan: the fastest way."""
    return pl.scan_parquet(paths, glob=False)


def _quarantined(root: Path, dataset: DatasetSpec, tables: Path) -> pl.DataFrame:
    """Return the seed rows that could not be used, of all languages and of none."""
    aside = [msgspec.to_builtins(row) | {"language": ""} for row in dataset.quarantined]
    paths = [root / tables / name / "quarantined.parquet" for name in dataset.languages]
    found = [collect(scan(path, schema.QUARANTINED), path) for path in paths]
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
