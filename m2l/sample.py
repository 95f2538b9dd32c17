"""Balanced sampling: the same share for every cell, as far as there are rows."""

from collections.abc import Sequence

import polars as pl

from m2l.digest import digest

AXES = ("task", "operator_family", "variation")


def balanced(table: pl.DataFrame, size: int, axes: Sequence[str]) -> pl.DataFrame:
    """Return at most `size` rows of a table, spread evenly over `axes`, the first of them first.

    Rows are dealt in turn: one for each value of the first axis, within it one for each
    value of the second, and so on; within a cell in the order of a digest of `row_id`.
    A cell that runs out is passed over and the others go on, so that a short cell never
    shrinks the sample while there are rows. The result does not depend on the order of
    the table, and is sorted by `row_id`.
    """
    order = pl.Series("_order", [digest(row_id) for row_id in table["row_id"]], dtype=pl.String)
    dealt = table.with_columns(order).sort("_order")
    for depth in range(len(axes), 0, -1):
        dealt = dealt.with_columns(_rank=pl.int_range(pl.len()).over(list(axes[:depth]))).sort(
            "_rank", maintain_order=True
        )
    dealt = dealt.head(size)
    return dealt.select(table.columns).sort("row_id")
