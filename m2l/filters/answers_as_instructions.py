"""User turns that are answers: the model wrote the wrong side of the conversation."""

from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.ngrams import of_words, similarities
from m2l.spec import Positive, Share
from m2l.text import fold, words


class AnswersAsInstructions(Filter):
    """Reject a row whose instruction is its seed's answer, or of which a user turn says the answer before it.

    That is: it holds all of it, or the two have more than `max_similarity` of their
    distinct words in common; an answer of under `min_letters` letters may stand in an
    instruction, as a label does.
    """

    sentences: ClassVar[dict[str, str]] = {
        "answer_as_instruction": "The instruction is its seed's answer, or holds all of it.",
        "answer_as_user_turn": "A user turn says what the assistant had just answered.",
    }

    def __init__(self, max_similarity: Share, min_letters: Positive) -> None:
        self.max_similarity = max_similarity
        self.min_letters = min_letters

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        responses = {name: seed.response for name, seed in context.seeds.items()}
        spoken = pl.Series(
            [words(text, context.language.bcp47) for text in responses.values()], dtype=pl.List(pl.String)
        )
        numbers = dict(zip(responses, range(len(responses)), strict=True))

        def of_seed(values: Sequence[pl.Series]) -> pl.Series:
            return spoken.gather(values[0])

        def alike(values: Sequence[pl.Series]) -> pl.Series:
            one, other = (of_words(series, 1) for series in values)
            return pl.Series(similarities(one, other, len(values[0])) > self.max_similarity)

        def says(where: pl.Expr, folded: pl.Expr, spoken: pl.Expr) -> pl.Expr:
            judged = where & (folded.str.len_chars() >= self.min_letters)
            holds = pl.when(judged).then("folded").str.contains(folded, literal=True).fill_null(value=False)
            both = [pl.when(judged).then("words"), pl.when(judged).then(spoken)]
            return judged & (holds | pl.map_batches(both, alike, pl.Boolean()))

        first, user = pl.col("position") == 0, pl.col("role") == "user"
        evolved = first & (pl.col("kind") != "seed")
        folded = pl.when(evolved).then("seed_id").replace_strict({name: fold(text) for name, text in responses.items()})
        number = pl.when(evolved).then("seed_id").replace_strict(numbers, return_dtype=pl.UInt32)
        before = pl.col("folded").shift(1).fill_null("")
        return {
            "answer_as_instruction": ~says(
                evolved, folded.fill_null(""), pl.map_batches([number], of_seed, pl.List(pl.String()))
            ),
            "answer_as_user_turn": ~says(user & ~first, before, pl.col("words").shift(1)),
        }
