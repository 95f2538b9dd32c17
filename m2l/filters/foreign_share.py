"""Turns that are partly in another script, or that slip into English."""

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each, enough_of_script, expected
from m2l.identify import shares
from m2l.spec import ENGLISH, NotNegative, Share
from m2l.text import words

CROSS_LINGUAL = "cross_lingual"


class ForeignShare(Filter):
    """Reject a turn with too large a share of letters of other scripts, or of common English words.

    `english` are the words counted, but for those that the language's own examples
    have, too. A turn is mixed from `max_english` of its words on, or of half that where
    pycld2 sees `min_bytes` per cent of English as well; `tolerance` is `max_english` for
    languages whose speakers mix more. What an operator of the family cross_lingual made
    may be mixed, and turns that may be in two languages are not judged.
    """

    sentences: ClassVar[dict[str, str]] = {
        "foreign_script": "Too many letters of a turn are of another script.",
        "english_inside": "A turn slips into English.",
    }

    def __init__(
        self,
        max_foreign_script: Share,
        max_english: Share,
        min_bytes: NotNegative,
        tolerance: Mapping[str, Share],
        english: str,
    ) -> None:
        self.max_foreign_script = max_foreign_script
        self.max_english = max_english
        self.min_bytes = min_bytes
        self.tolerance = tolerance
        self.english = frozenset(english.split())

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        own, locale = context.language_code, context.language.bcp47
        most = self.tolerance.get(own, self.max_english)
        counted = self.english - {word for text in _own_texts(context) for word in words(text, locale)}
        mixing = [name for name, form in context.operator.items() if form.family == CROSS_LINGUAL]
        judged = (expected(context) == own) & ~pl.col("task_evol_type").is_in(mixing)

        def unmixed(text: str) -> bool:
            found = words(text, locale)
            hits = sum(word in counted for word in found)
            if hits < 2 or hits < most / 2 * len(found):
                return True
            return hits < most * len(found) and dict(shares(text)).get("en", 0) < self.min_bytes

        some = pl.col("words").list.set_intersection(pl.lit(sorted(counted))).list.len() > 0
        ours = pl.lit(value=own == ENGLISH or context.language.verify.method == "not_verifiable")
        return {
            "foreign_script": enough_of_script(context.language.script, 1 - self.max_foreign_script, judged & ~ours),
            "english_inside": each(unmixed, "content", where=some & judged & ~ours),
        }


def _own_texts(context: Context) -> list[str]:
    shots = context.language.shots
    evolved = [shot.evolved for family, found in shots.evolve.items() if family != CROSS_LINGUAL for shot in found]
    talks = [talk for family, found in shots.dialogue.items() if family != "language_change" for talk in found]
    seeds = [seed for seed in context.examples if context.task[seed.task].target(seed) is None]
    return [*evolved, *(turn for talk in talks for turn in talk), *(seed.instruction for seed in seeds)]
