"""Alpaca: JSON lines of instruction, input and output, for rows of a single exchange."""

from typing import ClassVar

import polars as pl

from m2l.exporters.base import JsonLines


class Alpaca(JsonLines):
    """Write each row of one user turn as `instruction`, an empty `input`, and `output`.

    What a seed brings along stands in the instruction, as the model was shown it, so that
    a trainer has nothing to join. Conversations of several turns are left out.
    """

    name: ClassVar[str] = "alpaca"

    def rows(self) -> pl.Expr:
        return (pl.col("no_of_turns") == 1) & (pl.col("conversation").list.len() == 2)

    def columns(self) -> dict[str, pl.Expr]:
        def content(turn: int) -> pl.Expr:
            return pl.col("conversation").list.get(turn, null_on_oob=True).struct.field("content")

        return {"instruction": content(0), "input": pl.lit(""), "output": content(1)}
