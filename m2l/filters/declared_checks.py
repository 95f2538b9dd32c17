"""The checks that tasks, operators and variations declare, as rules of a filter."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl

from m2l.checks.base import Case
from m2l.checks.declared import Declared
from m2l.filters.base import Context, Filter

COLUMNS = ("task_evol_type", "multiturn_evol_type", "seed_id", "instruction", "conversation")


class DeclaredChecks(Filter):
    """Reject a row whose task, operator or variation says by a check that it is not what it should be."""

    level: ClassVar[Literal["turn", "row"]] = "row"

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        declared = Declared(context.task, context.operator, context.variation)

        def failing(row: Mapping[str, Any]) -> list[str]:
            case = Case(
                language=context.language,
                others=context.others,
                seed=context.seeds[row["seed_id"]],
                instruction=row["instruction"],
                turns=tuple(turn["content"] for turn in row["conversation"]),
            )
            return list(declared.row(case, row["task_evol_type"], row["multiturn_evol_type"]))

        failed = pl.struct(COLUMNS).map_elements(failing, return_dtype=pl.List(pl.String))
        return {reason: ~failed.list.contains(reason) for reason in declared.reasons}
