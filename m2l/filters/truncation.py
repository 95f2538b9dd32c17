"""Answers that were cut off: by the token budget, or in the middle of a sentence."""

from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.records import FinishReason
from m2l.spec import Positive

_CLOSING = r"[\"'”’»)\]」』）]*"
_LETTER = r"[\p{L}\p{M}]"
_STOP = (
    rf"{_LETTER}{{2}}{_CLOSING}\.+{_CLOSING}\s+[\p{{Lu}}\p{{Lo}}\"'“«(]"
    rf"|{_LETTER}{_CLOSING}[!?…।॥።፧။؟۔]+{_CLOSING}\s+"
    rf"|{_LETTER}{_CLOSING}[。！？]+{_CLOSING}\s*"
)
_UNFINISHED = rf"(?:{_STOP})[^\n.!?…।॥።፧။؟۔。！？]*[\p{{L}}\p{{M}}\p{{N}},،、，;(\-–—]\s*$"
"""A last line in which a sentence ends, and which then goes on to end without the end of one.

A full stop stands between a word and a capital, or a letter without case, so that few
abbreviations and no number of a list count. A language that writes no full stops is never judged.
"""


class Truncation(Filter):
    """Reject an answer that hit its token budget, or one that ends in the middle of a sentence.

    The second is judged from `min_words` words on, where the answer itself shows how its
    sentences end: what is shorter was not cut, and people who chat end on no full stop.
    """

    sentences: ClassVar[dict[str, str]] = {
        "truncated": "An answer was cut off: it hit its token budget.",
        "unfinished": "An answer ends in the middle of a sentence.",
    }

    def __init__(self, min_words: Positive) -> None:
        self.min_words = min_words

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        budget = pl.col("finish_reason").fill_null("stop") != FinishReason.LENGTH.value
        long = (pl.col("role") == "assistant") & (pl.col("words").list.len() >= self.min_words)
        unfinished = long & pl.col("content").str.contains(_UNFINISHED)
        return {"truncated": budget, "unfinished": ~unfinished}
