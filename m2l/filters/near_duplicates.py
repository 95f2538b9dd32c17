"""Near-duplicates within a language, by MinHash (Broder 1997) over character shingles."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from rensa import RMinHash, RMinHashLSH

from m2l.filters.base import Context, Filter
from m2l.text import shingles

_RNG_SEED = 42


class NearDuplicates(Filter):
    """Reject a row of which all that was written is nearly that of a row before it.

    Compared are the instruction and all after the first user turn, as sets of
    5-character shingles; a passage that the instruction is about is not. So two labels
    that answer different questions are no duplicates, nor two questions about one passage.
    `threshold` is the least estimated Jaccard similarity that counts, `num_perm` the
    number of hash functions.
    """

    level: ClassVar[Literal["turn", "row"]] = "row"

    def __init__(self, threshold: float, num_perm: int) -> None:
        if not 0 < threshold <= 1 or num_perm % 32:
            raise ValueError("threshold is above 0 and at most 1, num_perm a multiple of 32")
        self.threshold = threshold
        self.num_perm = num_perm

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        return {
            "near_duplicate": pl.struct("instruction", "conversation").map_batches(
                self._first, return_dtype=pl.Boolean(), is_elementwise=False
            )
        }

    def _first(self, rows: pl.Series) -> pl.Series:
        index = RMinHashLSH(threshold=self.threshold, num_perm=self.num_perm, num_bands=self.num_perm // 4)
        sketches: list[RMinHash] = []
        keep = []
        for number, row in enumerate(rows.to_list()):
            sketch = RMinHash(num_perm=self.num_perm, seed=_RNG_SEED)
            sketch.update(shingles(_written(row)))
            near = (sketches[other].jaccard(sketch) for other in index.query(sketch))
            keep.append(not any(similarity >= self.threshold for similarity in near))
            sketches.append(sketch)
            if keep[-1]:
                index.insert(number, sketch)
        return pl.Series(keep, dtype=pl.Boolean)


def _written(row: Mapping[str, Any]) -> str:
    return "\n".join([row["instruction"], *(turn["content"] for turn in row["conversation"][1:])])
