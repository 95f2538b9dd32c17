"""Near-duplicates within a language, by MinHash (Broder 1997) over character shingles."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import polars as pl
from rensa import RMinHash, RMinHashLSH

from m2l.filters.base import Context, Filter, each
from m2l.text import fold

SHINGLE = 5
_RNG_SEED = 42


class NearDuplicates(Filter):
    """Reject a row of which all that was written is nearly that of a row before it, or of a seed.

    Compared are the instruction and all after the first user turn, as sets of
    5-character shingles; a passage that the instruction is about is not. So two labels
    that answer different questions are no duplicates, nor two questions about one passage.
    With the seeds the first exchange is compared. `threshold` is the least estimated
    Jaccard similarity that counts, `num_perm` the number of hash functions.
    """

    sentences: ClassVar[dict[str, str]] = {
        "near_duplicate": "It is nearly the same as another row.",
        "seed_duplicate": "Its first exchange is nearly that of a seed.",
    }

    level: ClassVar[Literal["turn", "row", "table"]] = "table"

    def __init__(self, threshold: float, num_perm: int) -> None:
        if not 0 < threshold <= 1 or num_perm % 32:
            raise ValueError("threshold is above 0 and at most 1, num_perm a multiple of 32")
        self.threshold = threshold
        self.num_perm = num_perm

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        known = _Index(self.threshold, self.num_perm)
        for seed in context.seeds.values():
            known.add(known.sketch(fold(f"{seed.instruction}{seed.response}")))

        def original(exchange: str | None) -> bool:
            return exchange is None or not known.near(known.sketch(exchange))

        def unlike_before(values: Sequence[pl.Series]) -> pl.Series:
            return self._first(values[0])

        exchange = pl.when(pl.col("kind") != "seed").then(pl.col("folded").list.head(2).list.join(""))
        return {
            "near_duplicate": pl.map_batches([pl.col("folded").list.join("")], unlike_before, pl.Boolean()),
            "seed_duplicate": each(original, exchange),
        }

    def _first(self, texts: Iterable[str | None]) -> pl.Series:
        index = _Index(self.threshold, self.num_perm)
        keep = []
        for text in texts:
            sketch = index.sketch(text or "")
            keep.append(not index.near(sketch))
            if keep[-1]:
                index.add(sketch)
        return pl.Series(keep, dtype=pl.Boolean)


class _Index:
    """Sketches of texts, found again by those that are near: bands of four hashes, then the estimate itself."""

    def __init__(self, threshold: float, num_perm: int) -> None:
        self.threshold, self.num_perm = threshold, num_perm
        self._index = RMinHashLSH(threshold=threshold, num_perm=num_perm, num_bands=num_perm // 4)
        self._sketches: list[RMinHash] = []

    def sketch(self, folded: str) -> RMinHash:
        sketch = RMinHash(num_perm=self.num_perm, seed=_RNG_SEED)
        sketch.update([folded[start : start + SHINGLE] for start in range(max(1, len(folded) - SHINGLE + 1))])
        return sketch

    def near(self, sketch: RMinHash) -> bool:
        return any(self._sketches[at].jaccard(sketch) >= self.threshold for at in self._index.query(sketch))

    def add(self, sketch: RMinHash) -> None:
        self._index.insert(len(self._sketches), sketch)
        self._sketches.append(sketch)
