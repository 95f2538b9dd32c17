"""Balanced, diverse sampling: an even share for every cell, as far as there are rows, and unlike rows first."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits

from m2l.digest import digest
from m2l.sketch import Counts, correlations

Weights = Mapping[str, Mapping[str, float]]
"""How many turns a value of an axis gets, by axis and value; one that is not named gets 1."""

BLOCK = 128
"""So many rows are compared with each other; larger groups fall into blocks, so that time grows with rows alone."""

_ROUNDING = 1e-9
"""Shares are products of fractions: three times a third of 30 is 30."""


def balanced(
    table: pl.DataFrame,
    size: int,
    axes: Sequence[str],
    *,
    order: pl.Series | None = None,
    weights: Weights | None = None,
) -> pl.DataFrame:
    """Return at most `size` rows of a table, spread evenly over `axes`, the first of them first.

    Rows are dealt in turn: one for each value of the first axis, within it one for each
    value of the second, and so on; within a cell, and between cells whose turn it is, by
    `order` (see `diverse`) and then by a digest of `row_id`. A value of weight 2 has its
    turn twice as often (by D'Hondt's divisors). A cell that runs out is passed over and the
    others go on, so that a short cell never shrinks the sample while there are rows. The
    result does not depend on the order of the table, is part of any larger sample, and
    is sorted by `row_id`.
    """
    first = pl.Series("_order", [0] * table.height, dtype=pl.Int64) if order is None else order.alias("_order")
    dealt = table.with_columns(first, _digests(table)).sort("_order", "_digest")
    for depth in range(len(axes), 0, -1):
        axis = axes[depth - 1]
        rank = pl.int_range(1, pl.len() + 1).over(list(axes[:depth]))
        weight = pl.col(axis).replace_strict((weights or {}).get(axis, {}), default=1.0, return_dtype=pl.Float64)
        dealt = dealt.with_columns(_turn=rank / weight).sort("_turn", maintain_order=True)
    return dealt.head(size).select(table.columns).sort("row_id")


def diverse(table: pl.DataFrame, counts: Counts, axes: Sequence[str]) -> pl.Series:
    """Return for each row when its turn comes if rows that are unlike the chosen ones come first.

    Farthest-point traversal (Gonzalez 1985, greedy max-min) among all rows with the same
    value of the first axis: the next row is, of those whose cell has had the fewest turns,
    the one whose likest chosen row is the least like it. So cells of one row are diverse
    together, too. `counts` are the sketches of the rows. A group of more than `BLOCK`
    rows is cut into blocks in the order of a digest of `row_id`, each ordered by itself.
    """
    names = [pl.concat_str(axes[1:end], separator="\0").rank("dense") for end in range(2, len(axes) + 1)]
    cells = [table.select(name).to_series().to_numpy() for name in names]
    rows = table.select("row_id", axes[0]).with_row_index("_row").with_columns(_digests(table)).sort("_digest")
    place = np.zeros(table.height, dtype=np.int64)
    with threadpool_limits(limits=1, user_api="blas"):  # threads cost more than such small products
        for group in rows.group_by(axes[0], maintain_order=True).agg("_row")["_row"]:
            for start in range(0, len(group), BLOCK):
                block = group[start : start + BLOCK].to_numpy()
                chosen = list(_traverse(correlations(counts[block]), [cell[block] for cell in cells]))
                place[block[chosen]] = np.arange(len(chosen))
    return pl.Series("_order", place)


def _traverse(alike: npt.NDArray[np.float64], cells: Sequence[npt.NDArray[np.uint32]]) -> Iterator[int]:
    """Yield all rows, the next one in the cells with the fewest turns so far and the least like those before it."""
    number = len(alike)
    nearest = np.full(number, -1.0)
    turns = np.zeros(number)
    steps = np.zeros((number, number))
    for depth, cell in enumerate(cells):
        steps += (cell[:, None] == cell) * ((number + 1.0) ** (len(cells) - depth) * 4)
    np.fill_diagonal(steps, np.inf)
    for _ in range(number):
        row = int(np.argmin(turns + nearest))
        yield row
        np.maximum(nearest, alike[row], out=nearest)
        turns += steps[row]


def held_out(seed_ids: pl.Series, share: float) -> pl.Series:
    """Say of each seed id whether its rows are for validation: by its digest alone, so that no other seed decides."""
    bound = round(share * 2**32)
    drawn = [int(digest(["validation", seed_id])[:8], 16) < bound for seed_id in seed_ids]
    return pl.Series("held_out", drawn, dtype=pl.Boolean)


def shortfalls(
    sample: pl.DataFrame, cells: pl.DataFrame, size: int, axes: Sequence[str], weights: Weights
) -> pl.DataFrame:
    """Return the `share` of `size` that every declared cell has a claim to, and what it `got` of the sample.

    `cells` has a row for every combination of `axes` that is declared. There is a row for
    each of them, and for each combination of the first axes, `level` being the last of
    those; the axes after it are empty. `short` counts the whole rows that are missing.
    """
    found = []
    shared = cells.select(axes).unique().with_columns(share=pl.lit(float(size)))
    for depth, axis in enumerate(axes, start=1):
        weight = pl.col(axis).replace_strict(weights.get(axis, {}), default=1.0, return_dtype=pl.Float64)
        level = shared.select(*axes[:depth], "share").unique().with_columns(_weight=weight)
        total = pl.col("_weight").sum().over(axes[: depth - 1]) if depth > 1 else pl.col("_weight").sum()
        level = level.select(*axes[:depth], share=pl.col("share") * pl.col("_weight") / total)
        shared = shared.drop("share").join(level, on=axes[:depth])
        got = sample.group_by(axes[:depth]).agg(got=pl.len())
        found.append(level.join(got, on=axes[:depth], how="left").with_columns(level=pl.lit(axis)))
    missing = (pl.col("share") + _ROUNDING).floor().cast(pl.Int64) - pl.col("got")
    return (
        pl.concat(found, how="diagonal")
        .with_columns(pl.col("got").fill_null(0).cast(pl.Int64), pl.col(axes).fill_null(""))
        .with_columns(short=pl.max_horizontal(missing, 0))
        .select("level", *axes, "share", "got", "short")
        .sort("level", *axes)
    )


def _digests(table: pl.DataFrame) -> pl.Series:
    return pl.Series("_digest", [digest(row_id) for row_id in table["row_id"]], dtype=pl.String)
