"""User turns that are answers: the model wrote the wrong side of the conversation."""

from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each
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

    def __init__(self, max_similarity: float, min_letters: int) -> None:
        self.max_similarity = max_similarity
        self.min_letters = min_letters

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47
        first = (pl.col("position") == 0) & (pl.col("kind") != "seed")

        def instructs(seed_id: str, instruction: str | None) -> bool:
            response = context.seeds[seed_id].response
            if instruction is None or len(fold(response)) < self.min_letters:
                return True
            one, other = set(words(instruction, locale)), set(words(response, locale))
            alike = len(one & other) > self.max_similarity * len(one | other)
            return not alike and fold(response) not in fold(instruction)

        folded, answer = pl.col("folded"), pl.col("folded").shift(1).fill_null("")
        later = (pl.col("role") == "user") & (pl.col("position") > 0) & (answer.str.len_chars() >= self.min_letters)
        said, before = pl.when(later).then("words"), pl.when(later).then(pl.col("words").shift(1))
        common, all_words = said.list.set_intersection(before).list.len(), said.list.set_union(before).list.len()
        repeats = folded.str.contains(answer, literal=True) | (common > self.max_similarity * all_words)
        return {
            "answer_as_instruction": each(instructs, "seed_id", pl.when(first).then("content")),
            "answer_as_user_turn": ~(later & repeats),
        }
