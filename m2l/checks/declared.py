"""The checks that tasks, operators and variations declare, each on the exchange that it is about."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec

from m2l import config
from m2l.checks.base import Case, Check
from m2l.digest import canonical
from m2l.spec import OperatorForm, Target, Task, VariationForm

Checks = tuple[Check, ...]


class Declared:
    """All declared checks of a slice; each method returns the reasons for which a case fails.

    A task's checks judge the first answer, unless the operator changes the answer's
    form; an operator's judge the instruction; those of a turn of a variation that turn.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        operators: Mapping[str, OperatorForm],
        variations: Mapping[str, VariationForm],
    ) -> None:
        self._operators = operators
        self._task = {name: instances(task.checks, f"conf/task/{name}.yaml") for name, task in tasks.items()}
        self._operator = {name: instances(op.checks, f"conf/operator/{name}.yaml") for name, op in operators.items()}
        self._turns = {
            name: [instances(turn.checks, f"conf/variation/{name}.yaml") for turn in variation.turns]
            for name, variation in variations.items()
        }

    @property
    def reasons(self) -> list[str]:
        """Every reason that there may be, sorted."""
        turns = (checks for variation in self._turns.values() for checks in variation)
        every = (*self._task.values(), *self._operator.values(), *turns)
        return sorted({check.reason for checks in every for check in checks})

    def instruction(self, case: Case, operator: str) -> list[str]:
        """Judge an instruction as an evolution by an operator; a seed's own (no operator) always holds."""
        return _failing(self._operator.get(operator, ()), case)

    def answer(self, case: Case, operator: str) -> list[str]:
        """Judge the first answer, as long as it is to have the form that its task expects."""
        changed = bool(operator) and not self._operators[operator].keeps_answer
        return [] if changed else _failing(self._task[case.seed.task], case)

    def turn(self, case: Case, variation: str, number: int) -> list[str]:
        """Judge a turn of a variation, counted from 0 for the first one after the opening exchange."""
        return _failing(self._turns[variation][number], msgspec.structs.replace(case, at=2 * (number + 1)))

    def turns(self, case: Case, variation: str) -> Iterator[str]:
        """Yield the reasons for which the turns of a variation fail."""
        for number in range(len(self._turns.get(variation, ()))):
            yield from self.turn(case, variation, number)


def instances(targets: tuple[Target, ...], where: str) -> Checks:
    """Return the checks that a declaration states; raises ConfigError for one that cannot be made."""
    return tuple(_instance(canonical(target), where) for target in targets)


@lru_cache(maxsize=4096)
def _instance(target: bytes, where: str) -> Check:
    """Make a check once: it has no state, and 180 operators in 73 languages state the same ones."""
    return config.instantiate(msgspec.json.decode(target), Check, where=where)


def _failing(checks: Checks, case: Case) -> list[str]:
    return [check.reason for check in checks if not check.holds(case)]
