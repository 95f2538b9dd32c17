"""Text of the prompt itself that came out as an answer."""

from collections.abc import Iterator
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each
from m2l.text import NO_SPACES, fold, words

MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "<|eot_id|>", "{{", "}}")
"""Marks of chat templates and of our own templates, which no answer contains."""

STAGE_DIRECTION = r"^\s*[(（][^()（）]*[)）]\s*$"
"""A turn that is nothing but a remark in parentheses, as a directive stands before a user turn."""


class Leaks(Filter):
    """Reject a turn with a label of the prompt, a template's mark, or a quotation of a worked example.

    A quotation is `min_words` words in a row of an example or a directive, or
    `min_words_without_spaces` in a script that sets none between words, where they are
    shorter; a seed's own words are no leak in what was made from it.
    """

    sentences: ClassVar[dict[str, str]] = {
        "leaked_label": "A line of a turn begins with a label of the prompt.",
        "leaked_mark": "A turn holds a mark of a template, or is nothing but a stage direction.",
        "leaked_example": "A turn quotes a worked example or a directive of the prompt.",
    }

    def __init__(self, min_words: int, min_words_without_spaces: int) -> None:
        self.min_words = min_words
        self.min_words_without_spaces = min_words_without_spaces

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        labels = {fold(getattr(context.language.labels, name)) for name in context.language.labels.__struct_fields__}
        locale = context.language.bcp47
        without_spaces = context.language.script in NO_SPACES
        size = self.min_words_without_spaces if without_spaces else self.min_words
        shown = _owners(context, size)

        def unlabelled(text: str | None) -> bool:
            if text is None:
                return True
            heads = (line.partition(mark)[0] for mark in ":：" if mark in text for line in text.splitlines())
            return not any(fold(head) in labels for head in heads)

        def unquoted(seed_id: str, text: str | None) -> bool:
            return text is None or all(shown.get(gram, {seed_id}) == {seed_id} for gram in _grams(text, size, locale))

        content = pl.col("content")
        quoted = pl.format(" {} ", pl.col("words").list.join(" ")).str.contains_any(
            [f" {' '.join(gram)} " for gram in shown]
        )
        found = (pl.col("kind") != "seed") & quoted
        return {
            "leaked_label": each(unlabelled, pl.when(content.str.contains("[:：]")).then("content")),
            "leaked_mark": ~content.str.contains_any(list(MARKS)) & ~content.str.contains(STAGE_DIRECTION),
            "leaked_example": each(unquoted, "seed_id", pl.when(found).then("content")),
        }


def _owners(context: Context, size: int) -> dict[tuple[str, ...], set[str]]:
    """Return what a prompt may show in `size` words, with the seeds that say it; what is no seed's is of `""`."""
    owned = [(seed.seed_id, text) for seed in context.examples for text in (seed.instruction, seed.response)]
    owners: dict[tuple[str, ...], set[str]] = {}
    for owner, text in (*owned, *(("", text) for text in _shown(context))):
        for gram in _grams(text, size, context.language.bcp47):
            owners.setdefault(gram, set()).add(owner)
    return owners


def _grams(text: str, size: int, locale: str) -> Iterator[tuple[str, ...]]:
    found = words(text, locale)
    return zip(*(found[start:] for start in range(size)), strict=False)


def _shown(context: Context) -> Iterator[str]:
    yield from context.directives
    for shots in context.language.shots.evolve.values():
        for shot in shots:
            yield shot.evolved
    for dialogues in context.language.shots.dialogue.values():
        for dialogue in dialogues:
            yield from dialogue
