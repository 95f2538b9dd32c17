"""Text of the prompt itself that came out as an answer."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.text import fold, words

MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "<|eot_id|>", "{{", "}}")
"""Marks of chat templates and of our own templates, which no answer contains."""

STAGE_DIRECTION = r"^\s*[(（][^()（）]*[)）]\s*$"
"""A turn that is nothing but a remark in parentheses, as a directive stands before a user turn."""


class Leaks(Filter):
    """Reject a turn with a label of the prompt, a template's mark, or a quotation of a worked example.

    A quotation is `min_words` words in a row of an example or a directive; a seed's own
    words are no leak in what was made from it.
    """

    def __init__(self, min_words: int) -> None:
        self.min_words = min_words

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        labels = {fold(getattr(context.language.labels, name)) for name in context.language.labels.__struct_fields__}
        locale = context.language.bcp47
        shown = {gram for text in _shown(context) for gram in self._grams(text, locale)}
        owners: dict[tuple[str, ...], set[str]] = {}
        for seed in context.examples:
            for text in (seed.instruction, seed.response):
                for gram in self._grams(text, locale):
                    owners.setdefault(gram, set()).add(seed.seed_id)

        def unlabelled(text: str) -> bool:
            heads = (line.partition(mark)[0] for line in text.splitlines() for mark in ":：" if mark in line)
            return not any(fold(head) in labels for head in heads)

        def unquoted(turn: Mapping[str, Any]) -> bool:
            if turn["kind"] == "seed":
                return True
            own = {turn["seed_id"]}
            return not any(
                gram in shown or owners.get(gram, own) - own for gram in self._grams(turn["content"], locale)
            )

        content = pl.col("content")
        return {
            "leaked_label": content.map_elements(unlabelled, return_dtype=pl.Boolean()),
            "leaked_mark": ~content.str.contains_any(list(MARKS)) & ~content.str.contains(STAGE_DIRECTION),
            "leaked_example": pl.struct("kind", "seed_id", "content").map_elements(unquoted, return_dtype=pl.Boolean()),
        }

    def _grams(self, text: str, locale: str) -> Iterator[tuple[str, ...]]:
        found = words(text, locale)
        return zip(*(found[start:] for start in range(self.min_words)), strict=False)


def _shown(context: Context) -> Iterator[str]:
    yield from context.directives
    for shots in context.language.shots.evolve.values():
        for shot in shots:
            yield shot.evolved
    for dialogues in context.language.shots.dialogue.values():
        for dialogue in dialogues:
            yield from dialogue
