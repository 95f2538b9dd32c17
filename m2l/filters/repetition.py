"""Repetition within a turn, by the measures of Gopher (Rae et al. 2021, appendix A1.1) on ICU words."""

from collections import Counter
from collections.abc import Mapping

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.text import words


class Repetition(Filter):
    """Reject a turn in which repeated n-grams of words take too large a share of its characters.

    `top_ngram` bounds the share of the most frequent n-gram by n, `duplicate_ngram` the
    share of all that occur twice or more. An n-gram that occurs once does not count,
    and a turn of fewer than `min_words` words is passed over.
    """

    def __init__(self, min_words: int, top_ngram: Mapping[int, float], duplicate_ngram: Mapping[int, float]) -> None:
        self.min_words = min_words
        self.top_ngram = {int(n): share for n, share in top_ngram.items()}
        self.duplicate_ngram = {int(n): share for n, share in duplicate_ngram.items()}

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47

        def fine(text: str) -> bool:
            return not self.repeats(words(text, locale))

        return {"repetition": pl.col("content").map_elements(fine, return_dtype=pl.Boolean())}

    def repeats(self, found: tuple[str, ...]) -> bool:
        """Say whether a text of these words goes over a bound."""
        if len(found) < self.min_words:
            return False
        total = sum(map(len, found))
        for n, bound in self.top_ngram.items():
            grams = Counter(zip(*(found[start:] for start in range(n)), strict=False))
            gram, count = max(grams.items(), key=lambda item: (item[1], sum(map(len, item[0]))), default=((), 0))
            if count > 1 and count * sum(map(len, gram)) > bound * total:
                return True
        return any(duplicate_share(found, n) > bound for n, bound in self.duplicate_ngram.items())


def duplicate_share(found: tuple[str, ...], n: int) -> float:
    """Return the share of characters that stand in some n-gram which occurs twice or more, each counted once."""
    grams = list(zip(*(found[start:] for start in range(n)), strict=False))
    counts = Counter(grams)
    inside: set[int] = set()
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            inside.update(range(start, start + n))
    return sum(len(found[index]) for index in inside) / max(1, sum(map(len, found)))
