"""How much of a text repeats itself, by the measures of Gopher (Rae et al. 2021, appendix A1.1) on ICU words."""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec


class Bounds(msgspec.Struct, frozen=True):
    """From which share of a text's characters on it repeats itself.

    `top_ngram` bounds the share of the most frequent n-gram by n, if it occurs
    `min_count` times or more, `duplicate_ngram` the share of all that occur twice or
    more. A text of fewer than `min_words` words is not judged.
    """

    min_words: int
    min_count: int
    top_ngram: Mapping[int, float]
    duplicate_ngram: Mapping[int, float]


GOPHER = Bounds(
    min_words=12,
    min_count=2,
    top_ngram={2: 0.20, 3: 0.18, 4: 0.16},
    duplicate_ngram={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
)
"""The bounds of the paper's table A1, for texts of twelve words or more; by them a text is asked for again."""


def repeats(found: tuple[str, ...], bounds: Bounds) -> bool:
    """Say whether a text of these words goes over a bound.

    An n-gram that occurs once does not count, and neither do numbers: a calculation has
    the same ones again and again.
    """
    found = tuple(word for word in found if any(map(str.isalpha, word)))
    if len(found) < bounds.min_words:
        return False
    total = sum(map(len, found))
    for n, bound in sorted(bounds.top_ngram.items()):
        counts = _repeated(found, n)
        if not counts:
            break  # where no n-gram occurs twice, no longer one does
        gram, count = max(counts.items(), key=lambda item: (item[1], sum(map(len, item[0]))))
        if count >= bounds.min_count and count * sum(map(len, gram)) > bound * total:
            return True
    for n, bound in sorted(bounds.duplicate_ngram.items()):
        share = duplicate_share(found, n)
        if share > bound:
            return True
        if share == 0:
            break
    return False


def duplicate_share(found: tuple[str, ...], n: int) -> float:
    """Return the share of characters that stand in some n-gram which occurs twice or more, each counted once."""
    counts = _repeated(found, n)
    if not counts:
        return 0.0
    inside: set[int] = set()
    for start, gram in enumerate(_ngrams(found, n)):
        if gram in counts:
            inside.update(range(start, start + n))
    return sum(len(found[index]) for index in inside) / max(1, sum(map(len, found)))


def _ngrams(found: tuple[str, ...], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[start:] for start in range(n)), strict=False)


def _repeated(found: tuple[str, ...], n: int) -> dict[tuple[str, ...], int]:
    """Return the n-grams that occur twice or more, with their counts; most texts have none, which a set tells."""
    grams = list(_ngrams(found, n))
    if len(set(grams)) == len(grams):
        return {}
    return {gram: count for gram, count in Counter(grams).items() if count > 1}
