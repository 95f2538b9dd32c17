"""What the benchmarks judge with: the shipped slices of the full recipe, their filters, and rows as a table."""

from pathlib import Path

import polars as pl

from bench.defects import Row
from m2l import config, rows, schema, slices
from m2l.filters.base import Context, Filter
from m2l.spec import Slice

ROOT = Path(__file__).parents[1]


def contexts(languages: str | None = None) -> dict[str, tuple[Slice, Context]]:
    """Return slice and context of each language, as a build of the full recipe has them."""
    chosen = f"[{languages}]" if languages else "all"
    composed = slices.resolve(ROOT, config.compose(ROOT, ["recipe=full", "engine=fake", f"language={chosen}"]))
    return {code: (piece, rows.context(ROOT, piece)) for code, piece in composed.slices.items()}


def shipped_filters(piece: Slice) -> dict[str, Filter]:
    """Return the filters of a slice, with their shipped thresholds."""
    return rows.filters(piece)


def table(judged: list[Row]) -> pl.DataFrame:
    """Return rows as the table that filters judge."""
    return schema.frame(judged, schema.ROWS | {"error": pl.String, "instruction": pl.String})
