"""The checks that tasks, operators and variations declare, each on the exchange that it is about."""

from collections.abc import Iterable, Mapping

import msgspec

from m2l import config
from m2l.checks.base import Case, Check
from m2l.digest import canonical
from m2l.spec import OperatorForm, Target, Task, VariationForm

Checks = tuple[Check, ...]

_made: dict[bytes, Check] = {}


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
        return _failing(self._of_answer(case.seed.task, operator), case)

    def turn(self, case: Case, variation: str, number: int) -> list[str]:
        """Judge a turn of a variation, counted from 0 for the first one after the opening exchange."""
        return _failing(self._turns[variation][number], _at(case, number))

    def rows(self, rows: Iterable[tuple[Case, str, str]]) -> list[list[str]]:
        """Judge whole rows, each a case with its operator and variation; return the sorted reasons of each.

        A check sees the cases of all rows at once, and a first exchange that several rows have is judged once.
        """
        asked: dict[Check, list[tuple[Case, set[str]]]] = {}
        openings: dict[tuple[str, ...], set[str]] = {}
        found = []
        for case, operator, variation in rows:
            key = (operator, case.seed.seed_id, case.instruction, *case.turns[:2])
            opening = openings.get(key)
            if opening is None:
                opening = openings[key] = set()
                for check in (*self._of_answer(case.seed.task, operator), *self._operator.get(operator, ())):
                    asked.setdefault(check, []).append((case, opening))
            later: set[str] = set()
            for number, checks in enumerate(self._turns.get(variation, ())):
                turn = _at(case, number)
                for check in checks:
                    asked.setdefault(check, []).append((turn, later))
            found.append((opening, later))
        for check, cases in asked.items():
            for holds, (_, reasons) in zip(check.all_hold([case for case, _ in cases]), cases, strict=True):
                if not holds:
                    reasons.add(check.reason)
        return [sorted(opening | later) if opening or later else [] for opening, later in found]

    def _of_answer(self, task: str, operator: str) -> Checks:
        changed = bool(operator) and not self._operators[operator].keeps_answer
        return () if changed else self._task[task]


def instances(targets: tuple[Target, ...], where: str) -> Checks:
    """Return the checks that a declaration states; raises ConfigError for one that cannot be made."""
    return tuple(_instance(target, where) for target in targets)


def _instance(target: Target, where: str) -> Check:
    """Make a check once, wherever it is declared: it has no state, and is then asked about all rows at once."""
    key = canonical(target)
    if key not in _made:
        _made[key] = config.instantiate(msgspec.json.decode(key), Check, where=where)
    return _made[key]


def _at(case: Case, number: int) -> Case:
    """Return the case of a turn, counted from 0 for the first one after the opening exchange."""
    return msgspec.structs.replace(case, at=2 * (number + 1))


def _failing(checks: Checks, case: Case) -> list[str]:
    return [check.reason for check in checks if not check.holds(case)]
