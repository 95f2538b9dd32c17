"""Texts that say nothing new: an evolution that changed nothing, an echo, a turn said twice."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.text import fold

Row = Mapping[str, Any]


class Copies(Filter):
    """Reject a copied seed, an answer that repeats its question, and a turn that was said before.

    Texts are compared in NFKC, case-folded, letters and digits alone. An echo is an
    answer that holds its whole question, if that has `min_echo` of these or more.
    """

    level: ClassVar[Literal["turn", "row"]] = "row"

    def __init__(self, min_echo: int) -> None:
        self.min_echo = min_echo

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        row = pl.struct("kind", "seed_prompt", "conversation")
        checks = {"copied_seed": _evolved, "echo": self._answers, "repeated_turn": _distinct}
        return {name: row.map_elements(check, return_dtype=pl.Boolean()) for name, check in checks.items()}

    def _answers(self, row: Row) -> bool:
        contents = _folded(row)
        pairs = zip(contents[::2], contents[1::2], strict=False)
        return not any(len(question) >= self.min_echo and question in answer for question, answer in pairs)


def _folded(row: Row) -> list[str]:
    return [fold(turn["content"]) for turn in row["conversation"]]


def _evolved(row: Row) -> bool:
    return row["kind"] == "seed" or fold(row["seed_prompt"]) != _folded(row)[0]


def _distinct(row: Row) -> bool:
    contents = _folded(row)
    return len(set(contents)) == len(contents)
