"""The checks that tasks, operators and variations declare, each on the exchange that it is about."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec
import polars as pl

from m2l import config
from m2l.checks.base import Case, Check
from m2l.filters.base import Context, Filter
from m2l.spec import Target

Row = Mapping[str, Any]
Checks = tuple[Check, ...]


class DeclaredChecks(Filter):
    """Reject a row whose task, operator or variation says by a check that it is not what it should be.

    A task's checks judge the first answer, unless the operator changes the answer's
    form; an operator's judge the instruction; those of a turn of a variation that turn.
    """

    level: ClassVar[Literal["turn", "row"]] = "row"

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        task = {name: instances(t.checks, f"conf/task/{name}.yaml") for name, t in context.task.items()}
        operator = {name: instances(o.checks, f"conf/operator/{name}.yaml") for name, o in context.operator.items()}
        turns = {
            name: [instances(turn.checks, f"conf/variation/{name}.yaml") for turn in variation.turns]
            for name, variation in context.variation.items()
        }

        def failing(row: Row) -> list[str]:
            evol, variation = row["task_evol_type"], row["multiturn_evol_type"]
            seed = context.seeds[row["seed_id"]]
            case = Case(
                language=context.language,
                others=context.others,
                seed=seed,
                instruction=row["instruction"],
                turns=tuple(turn["content"] for turn in row["conversation"]),
            )
            cases: Iterator[tuple[Checks, Case]] = _cases(
                case,
                () if evol and not context.operator[evol].keeps_answer else task[row["task"]],
                operator.get(evol, ()),
                turns.get(variation, []),
            )
            return [check.reason for checks, one in cases for check in checks if not check.holds(one)]

        found = pl.struct("task", "task_evol_type", "multiturn_evol_type", "seed_id", "instruction", "conversation")
        failed = found.map_elements(failing, return_dtype=pl.List(pl.String))
        every = [*task.values(), *operator.values(), *(checks for form in turns.values() for checks in form)]
        reasons = sorted({check.reason for checks in every for check in checks})
        return {reason: ~failed.list.contains(reason) for reason in reasons}


def instances(targets: tuple[Target, ...], where: str) -> Checks:
    """Return the checks that a declaration states; raises ConfigError for one that cannot be made."""
    return tuple(config.instantiate(target, Check, where=where) for target in targets)


def _cases(case: Case, answer: Checks, evolution: Checks, turns: list[Checks]) -> Iterator[tuple[Checks, Case]]:
    yield answer, case
    yield evolution, case
    for number, checks in enumerate(turns, start=1):
        yield checks, msgspec.structs.replace(case, at=2 * number)
