"""Noticing that an answer goes round in circles, token by token."""

from m2l.records import LoopRule


class LoopWatch:
    """Takes the tokens of one answer and says when the rule is met.

    For every period that the last tokens still follow, it counts how many tokens in a row
    were the one a period before. Only periods at which the newest token occurred are
    looked at, so that a text without repetition costs next to nothing.
    """

    def __init__(self, rule: LoopRule) -> None:
        self.rule = rule
        self._places: dict[int, list[int]] = {}
        self._runs: dict[int, int] = {}
        self._count = 0

    def take(self, token: int) -> bool:
        """Take the next token; return whether the answer has become a loop with it."""
        rule, here = self.rule, self._count
        self._count += 1
        places = self._places.setdefault(token, [])
        if places and here - places[0] > rule.max_period:
            places[:] = [place for place in places if here - place <= rule.max_period]
        self._runs = {here - place: self._runs.get(here - place, 0) + 1 for place in places}
        places.append(here)
        return any(run + period >= max(rule.repeats * period, rule.min_tokens) for period, run in self._runs.items())
