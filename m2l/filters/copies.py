"""Texts that say nothing new: an evolution that changed nothing, an echo, a turn said twice."""

from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.spec import NotNegative
from m2l.text import fold


class Copies(Filter):
    """Reject a copied seed, an answer that repeats its question, and a turn that was said before.

    Texts are compared in NFKC, case-folded, letters and digits alone. An echo is an
    answer that holds its whole question, if that has `min_echo` of these or more.
    """

    sentences: ClassVar[dict[str, str]] = {
        "copied_seed": "The evolved instruction is its seed, unchanged.",
        "echo": "An answer repeats the whole question.",
        "repeated_turn": "A turn says what an earlier turn has said.",
    }

    def __init__(self, min_echo: NotNegative) -> None:
        self.min_echo = min_echo

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        folded, before = pl.col("folded"), pl.col("folded").shift(1).fill_null("")
        seeds = {name: fold(seed.instruction) for name, seed in context.seeds.items()}
        copied = folded == pl.col("seed_id").replace_strict(seeds)
        answer = pl.col("role") == "assistant"
        return {
            "copied_seed": (pl.col("kind") == "seed") | (pl.col("position") > 0) | ~copied,
            "echo": ~(answer & (before.str.len_chars() >= self.min_echo) & folded.str.contains(before, literal=True)),
            "repeated_turn": pl.struct("row", "folded").is_first_distinct(),
        }
