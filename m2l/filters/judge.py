"""The marks that an LLM judge gave."""

from typing import ClassVar, Literal

import polars as pl

from m2l.filters.base import Context, Filter


class Judge(Filter):
    """Reject a row whose mean mark is below `min_score`, and one to which the judge gave no marks.

    A row that no judge was asked about, such as a seed, is kept.
    """

    sentences: ClassVar[dict[str, str]] = {
        "not_judged": "The judge gave no marks that could be read.",
        "judged_low": "The judge's mean mark is too low.",
    }

    level: ClassVar[Literal["turn", "row"]] = "row"
    needs_scores: ClassVar[bool] = True

    def __init__(self, min_score: float) -> None:
        self.min_score = min_score

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        scores = context.scores
        silent = [row_id for row_id, score in scores.items() if score is None]
        low = [row_id for row_id, score in scores.items() if score is not None and score < self.min_score]
        return {"not_judged": ~pl.col("row_id").is_in(silent), "judged_low": ~pl.col("row_id").is_in(low)}
