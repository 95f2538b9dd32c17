"""Lengths of turns in words, and answers that were cut off."""

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.records import FinishReason
from m2l.text import words


class Length(Filter):
    """Reject a turn that is too short or too long in ICU words, or that hit its token budget.

    The first answer must have the task's own `min_words`, later ones `min_assistant_words`.
    """

    def __init__(self, min_user_words: int, min_assistant_words: int, max_words: int) -> None:
        self.min_user_words = min_user_words
        self.min_assistant_words = min_assistant_words
        self.max_words = max_words

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47
        count = pl.col("content").map_elements(lambda text: len(words(text, locale)), return_dtype=pl.Int64())
        first_answer = pl.col("task").replace_strict({name: task.min_words for name, task in context.task.items()})
        least = (
            pl.when(pl.col("role") == "user")
            .then(self.min_user_words)
            .when(pl.col("position") == 1)
            .then(first_answer)
            .otherwise(self.min_assistant_words)
        )
        return {
            "too_short": count >= least,
            "too_long": count <= self.max_words,
            "truncated": pl.col("finish_reason").fill_null("stop") != FinishReason.LENGTH.value,
            "looped": pl.col("finish_reason").fill_null("stop") != FinishReason.LOOP.value,
        }
