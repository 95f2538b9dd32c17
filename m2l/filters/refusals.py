"""Answers that refuse, or that speak of themselves as of a machine."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.spec import ENGLISH, Positive
from m2l.text import NO_SPACES, fold, words


class Refusals(Filter):
    """Reject an answer that begins with a refusal, or in which the assistant says that it is a machine.

    `refuses` and `says_what_it_is` are phrases by language; those of English count in
    every language, since models fall back to it. Phrases are compared by their words; a
    star stands for any end of the last one. A refusal stands within the first `within` characters.
    """

    sentences: ClassVar[dict[str, str]] = {
        "refusal": "An answer refuses.",
        "speaks_as_machine": "An answer says that a machine is speaking.",
    }

    def __init__(
        self, within: Positive, refuses: Mapping[str, Sequence[str]], says_what_it_is: Mapping[str, Sequence[str]]
    ) -> None:
        self.within = within
        self.refuses = refuses
        self.says_what_it_is = says_what_it_is

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        own, user = context.language_code, pl.col("role") == "user"
        heard = pl.when(~user).then("words").list.join(" ")
        said = pl.format(" {} ", heard).str.replace_many(["’"], ["'"])

        def has(phrases: Mapping[str, Sequence[str]], within: int | None) -> pl.Expr:
            among_words, folded = said.str.slice(0, within), pl.col("folded").str.slice(0, within)
            english = [_sought(phrase) for phrase in phrases.get(ENGLISH, ())]
            if context.language.script in NO_SPACES:
                ours = [fold(phrase) for phrase in phrases.get(own, ())]
                return among_words.str.contains_any(english) | folded.str.contains_any(ours)
            return among_words.str.contains_any([*english, *map(_sought, phrases.get(own, ()))])

        return {
            "refusal": user | ~has(self.refuses, self.within),
            "speaks_as_machine": user | ~has(self.says_what_it_is, None),
        }


def _sought(phrase: str) -> str:
    """Return how a phrase stands among words that are set apart by spaces."""
    said = f" {' '.join(words(phrase.removesuffix('*')))} ".replace("’", "'")
    return said[:-1] if phrase.endswith("*") else said
