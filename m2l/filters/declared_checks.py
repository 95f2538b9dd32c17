"""The checks that tasks, operators and variations declare, as rules of a filter."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import polars as pl

from m2l.checks.base import Case
from m2l.checks.declared import Declared
from m2l.filters.base import Context, Filter, contents, lists


class DeclaredChecks(Filter):
    """Reject a row whose task, operator or variation says by a check that it is not what it should be."""

    level: ClassVar[Literal["turn", "row", "table"]] = "row"

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        declared = Declared(context.task, context.operator, context.variation)

        def failing(values: Sequence[pl.Series]) -> pl.Series:
            *columns, conversations = values
            rows = zip(*(column.to_list() for column in columns), lists(conversations), strict=True)
            found = declared.rows(
                (
                    Case(
                        language=context.language,
                        others=context.others,
                        seed=context.seeds[seed_id],
                        instruction=instruction,
                        turns=tuple(turns),
                    ),
                    operator,
                    variation,
                )
                for operator, variation, seed_id, instruction, turns in rows
            )
            # a list of lists, which are mostly empty, would cost more than the checks
            return pl.Series(["\n".join(reasons) for reasons in found], dtype=pl.String).str.extract_all(r"[^\n]+")

        columns: list[str | pl.Expr] = ["task_evol_type", "multiturn_evol_type", "seed_id", "instruction", contents()]
        return {"declared": pl.map_batches(columns, failing, return_dtype=pl.List(pl.String))}
