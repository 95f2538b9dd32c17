"""Repetition within a turn, by bounds that the declaration states."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import polars as pl

from m2l.filters.base import Context, Filter, each
from m2l.ngrams import of_letters, repeating
from m2l.repetition import Bounds, repeats
from m2l.spec import NotNegative, Positive, Share
from m2l.text import words


class Repetition(Filter):
    """Reject a turn in which repeated n-grams of words take too large a share of its characters.

    Of the first turn the instruction is judged: what stands below it, such as two
    sentences to compare, a person wrote. See `m2l.repetition.Bounds` for the keys.
    """

    sentences: ClassVar[dict[str, str]] = {
        "repetition": "The same words come back too often in a turn.",
    }

    def __init__(
        self,
        min_words: Positive,
        min_count: NotNegative,
        top_ngram: Mapping[Positive, Share],
        duplicate_ngram: Mapping[Positive, Share],
    ) -> None:
        self.bounds = Bounds(
            min_words=min_words,
            min_count=min_count,
            top_ngram={int(n): share for n, share in top_ngram.items()},
            duplicate_ngram={int(n): share for n, share in duplicate_ngram.items()},
        )

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47

        def fine(text: str) -> bool:
            return not repeats(words(text, locale), self.bounds)

        long = pl.col("words").list.len() >= self.bounds.min_words
        suspect = pl.map_batches([pl.when(long).then("words")], self._suspect, pl.Boolean())
        return {"repetition": each(fine, "content", where=suspect)}

    def _suspect(self, values: Sequence[pl.Series]) -> pl.Series:
        """Say of lists of words whether one of them comes often enough for any bound; hardly any does."""
        bounds = [(self.bounds.top_ngram, max(2, self.bounds.min_count)), (self.bounds.duplicate_ngram, 2)]
        times = {min(shares): often for shares, often in bounds if shares}
        suspect = np.zeros(len(values[0]), dtype=bool)
        for often, found in zip(times.values(), of_letters(values[0], *times), strict=True):
            suspect[repeating(*found, often)] = True
        return pl.Series(suspect)
