"""Lengths of turns in words."""

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.records import FinishReason
from m2l.spec import NotNegative, Positive, Weight


class Length(Filter):
    """Reject a turn that is too short or too long in ICU words.

    The first answer must have the task's own `min_words`, later ones `min_assistant_words`.
    `of_language` is what a language's words are times those of English for the same
    text, 1 where it is not named; the longest turn has `max_words` times that.
    """

    sentences: ClassVar[dict[str, str]] = {
        "too_short": "A turn has too few words.",
        "too_long": "A turn has too many words.",
        "looped": "An answer went round in circles and was ended.",
    }

    def __init__(
        self,
        min_user_words: NotNegative,
        min_assistant_words: NotNegative,
        max_words: Positive,
        of_language: Mapping[str, Weight],
    ) -> None:
        self.min_user_words = min_user_words
        self.min_assistant_words = min_assistant_words
        self.max_words = max_words
        self.of_language = of_language

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        count = pl.col("words").list.len()
        first_answer = pl.col("task").replace_strict({name: task.min_words for name, task in context.task.items()})
        least = (
            pl.when(pl.col("role") == "user")
            .then(self.min_user_words)
            .when(pl.col("position") == 1)
            .then(first_answer)
            .otherwise(self.min_assistant_words)
        )
        most = self.max_words * self.of_language.get(context.language_code, 1.0)
        return {
            "too_short": count >= least,
            "too_long": count <= most,
            "looped": pl.col("finish_reason").fill_null("stop") != FinishReason.LOOP.value,
        }
