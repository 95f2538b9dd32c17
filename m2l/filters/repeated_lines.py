"""Lines that come again, and characters that never end: loops that no count of words sees."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each
from m2l.ngrams import circling
from m2l.spec import NotNegative, Positive, Share


class RepeatedLines(Filter):
    """Reject a turn whose lines are mostly said twice, or in which a few characters go round in a circle.

    `max_line_share` is the share of lines, `max_character_share` that of their
    characters, which stand in a line that came before (Rae et al. 2021, table A1). A
    circle is a unit of up to `max_unit` characters, a letter among them, that is
    repeated so often that it fills `min_circle` characters or more.
    """

    sentences: ClassVar[dict[str, str]] = {
        "repeated_lines": "Lines of a turn repeat each other.",
        "repeated_characters": "A turn ends in the same few characters over and over.",
    }

    def __init__(
        self, max_line_share: Share, max_character_share: Share, max_unit: Positive, min_circle: NotNegative
    ) -> None:
        self.max_line_share = max_line_share
        self.max_character_share = max_character_share
        self.min_circle = min_circle
        self.max_unit = max_unit
        self._circle = re.compile(rf"([^\W\d_]\S{{0,{max_unit - 1}}}?)\1{{3,}}")

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        content = pl.col("content")
        round_ = pl.map_batches([content], self._may_circle, pl.Boolean())
        return {
            "repeated_lines": each(self._says_new, content, where=content.str.count_matches("\n") > 1),
            "repeated_characters": each(self._ends, content, where=round_),
        }

    def _may_circle(self, values: Sequence[pl.Series]) -> pl.Series:
        return pl.Series(circling(values[0].fill_null(""), self.max_unit, self.min_circle))

    def _says_new(self, text: str) -> bool:
        lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
        again = [line for line, count in Counter(lines).items() for _ in range(count - 1)]
        return (
            len(again) <= self.max_line_share * len(lines)
            and sum(map(len, again)) <= self.max_character_share * sum(map(len, lines))
        )  # fmt: skip

    def _ends(self, text: str) -> bool:
        return all(len(found[0]) < self.min_circle for found in self._circle.finditer(text))
