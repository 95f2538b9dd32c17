"""Turns without a text: nothing, or little but punctuation and signs."""

from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.spec import Share


class Blank(Filter):
    """Reject a turn without a letter or digit, and one of which they are under `min_share` of what is seen."""

    sentences: ClassVar[dict[str, str]] = {
        "empty": "A turn has no letter and no digit.",
        "mostly_punctuation": "A turn is mostly punctuation.",
    }

    def __init__(self, min_share: Share) -> None:
        self.min_share = min_share

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        content, read = pl.col("content"), pl.col("folded").str.len_chars()
        enough = read >= self.min_share * content.str.len_chars()
        spaces = pl.when(~enough).then(content).str.count_matches(r"\s").fill_null(0)  # most have enough with them, too
        seen = content.str.len_chars() - spaces
        return {"empty": read > 0, "mostly_punctuation": (read == 0) | (read >= self.min_share * seen)}
