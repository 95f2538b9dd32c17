"""Text of the prompt itself that came out as an answer."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import polars as pl

from m2l.filters.base import Context, Filter, each
from m2l.ngrams import Hashes, Owners, of_words, places
from m2l.spec import Positive
from m2l.text import NO_SPACES, fold, read_all

MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "<|eot_id|>", "{{", "}}")
"""Marks of chat templates and of our own templates, which no answer contains."""

STAGE_DIRECTION = r"^\s*[(（][^()（）]*[)）]\s*$"
"""A turn that is nothing but a remark in parentheses, as a directive stands before a user turn."""


_NOBODY, _NONE = -1, -2
"""Who says what is of no seed, and which example a row has whose seed is none: never the same."""


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

    def __init__(self, min_words: Positive, min_words_without_spaces: Positive) -> None:
        self.min_words = min_words
        self.min_words_without_spaces = min_words_without_spaces

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        labels = {fold(getattr(context.language.labels, name)) for name in context.language.labels.__struct_fields__}
        without_spaces = context.language.script in NO_SPACES
        size = self.min_words_without_spaces if without_spaces else self.min_words
        shown, owners = _quotable(context, size)
        numbers = {seed.seed_id: number for number, seed in enumerate(context.examples)}

        def unlabelled(text: str) -> bool:
            heads = (line.partition(mark)[0] for mark in ":：" if mark in text for line in text.splitlines())
            return not any(fold(head) in labels for head in heads)

        def unquoted(values: Sequence[pl.Series]) -> pl.Series:
            words, seeds, made = values
            hashes, turns = of_words(words, size)
            at, known = places(hashes, shown)
            said, where = owners[at[known]], turns[known]
            quoting = np.zeros(len(words), dtype=bool)
            quoting[where[said != seeds.to_numpy()[where]]] = True
            return pl.Series(~(quoting & made.to_numpy()))

        content = pl.col("content")
        seed = pl.col("seed_id").replace_strict(numbers, default=_NONE, return_dtype=pl.Int64)
        return {
            "leaked_label": each(unlabelled, "content", where=content.str.contains("[:：]")),
            "leaked_mark": ~content.str.contains_any(list(MARKS)) & ~content.str.contains(STAGE_DIRECTION),
            "leaked_example": pl.map_batches(["words", seed, pl.col("kind") != "seed"], unquoted, pl.Boolean()),
        }


def _quotable(context: Context, size: int) -> tuple[Hashes, Owners]:
    """Return the hashes of what a prompt may show in `size` words, sorted, with the number of the seed that says it.

    What several texts say, or one that is no seed's, is of no seed.
    """
    said = [
        (number, text) for number, seed in enumerate(context.examples) for text in (seed.instruction, seed.response)
    ]
    texts = pl.DataFrame([*said, *((_NOBODY, text) for text in _shown(context))], ["owner", "text"], orient="row")
    read = read_all(texts["text"].unique(), context.language.bcp47)
    read = texts.join(read, on="text", how="left", maintain_order="left")
    hashes, of_text = of_words(read["words"], size)
    owners = pl.DataFrame({"gram": hashes, "owner": read["owner"].to_numpy()[of_text]}).unique()
    by_gram = owners.group_by("gram").agg(owner=pl.when(pl.len() == 1).then(pl.col("owner").first()).otherwise(_NOBODY))
    by_gram = by_gram.sort("gram")
    return by_gram["gram"].to_numpy(), by_gram["owner"].to_numpy()


def _shown(context: Context) -> Iterator[str]:
    yield from context.directives
    for shots in context.language.shots.evolve.values():
        for shot in shots:
            yield shot.evolved
    for dialogues in context.language.shots.dialogue.values():
        for dialogue in dialogues:
            yield from dialogue
