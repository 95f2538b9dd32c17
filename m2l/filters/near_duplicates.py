"""Near-duplicates within a language, by MinHash (Broder 1997) over character shingles."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from rensa import RMinHash

from m2l.filters.base import Context, Filter
from m2l.ngrams import Hashes, of_characters, places
from m2l.text import fold

SHINGLE = 5
_RNG_SEED = 42
_BAND = 4
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BATCH = 1024

Sketches = npt.NDArray[np.uint32]
"""The least hashes of a text, or of several, one row each."""


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
        seeds = [fold(f"{seed.instruction}{seed.response}") for seed in context.seeds.values()]
        known = self._sketches(pl.Series(seeds, dtype=pl.String))

        keys = _bands(known)
        by_band: dict[int, list[int]] = {}
        for at, own in enumerate(keys.tolist()):
            for band in own:
                by_band.setdefault(band, []).append(at)
        sorted_keys = np.unique(keys)

        def unlike_before(values: Sequence[pl.Series]) -> pl.Series:
            return pl.Series(self._first(self._sketches(values[0])), dtype=pl.Boolean)

        def original(values: Sequence[pl.Series]) -> pl.Series:
            exchanges = values[0].drop_nulls().unique()
            sketches = self._sketches(exchanges)
            bands = _bands(sketches)
            _, shared = places(bands.ravel(), sorted_keys)
            shared = shared.reshape(bands.shape)
            near = np.zeros(len(exchanges), dtype=bool)
            for at in np.flatnonzero(shared.any(axis=1)):
                near[at] = self._near(sketches[at], known, by_band, bands[at][shared[at]])
            return ~values[0].is_in(exchanges.filter(pl.Series(near)).implode()).fill_null(value=False)

        exchange = pl.when(pl.col("kind") != "seed").then(pl.col("folded").list.head(2).list.join(""))
        return {
            "near_duplicate": pl.map_batches([pl.col("folded").list.join("")], unlike_before, pl.Boolean()),
            "seed_duplicate": pl.map_batches([exchange], original, pl.Boolean()),
        }

    def _sketches(self, texts: pl.Series) -> Sketches:
        """Return the least hash of each text's shingles by each of the hash functions."""
        parts = [np.zeros((0, self.num_perm), dtype=np.uint32)]
        for start in range(0, len(texts), _BATCH):
            batch = texts.slice(start, _BATCH).fill_null("")
            hashes, owners = of_characters(batch, SHINGLE)
            offsets = np.searchsorted(owners, np.arange(len(batch) + 1)).astype(np.uint64)
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, self.num_perm, _RNG_SEED)
            parts.append(np.array(matrix.to_rows(), dtype=np.uint32))
        return np.concatenate(parts)

    def _first(self, sketches: Sketches) -> npt.NDArray[np.bool_]:
        """Say of each text whether it is unlike all before it that are so themselves."""
        bands = _bands(sketches)
        _, place, count = np.unique(bands, return_inverse=True, return_counts=True)
        shared = (count > 1)[place].reshape(bands.shape)
        keep = np.ones(len(sketches), dtype=bool)
        by_band: dict[int, list[int]] = {}
        for at in np.flatnonzero(shared.any(axis=1)).tolist():
            own = bands[at][shared[at]]
            keep[at] = not self._near(sketches[at], sketches, by_band, own)
            if keep[at]:
                for band in own.tolist():
                    by_band.setdefault(band, []).append(at)
        return keep

    def _near(self, sketch: Sketches, known: Sketches, by_band: Mapping[int, list[int]], bands: Hashes) -> bool:
        """Say whether one of the known texts that has a band in common with a text is nearly the same."""
        found = list({at for band in bands.tolist() for at in by_band.get(band, ())})
        return bool(found) and bool(((known[found] == sketch).mean(axis=1) >= self.threshold).any())


def _bands(sketches: Sketches) -> Hashes:
    """Return a hash for every `_BAND` least hashes of a text: texts that have one in common are compared."""
    numbers = np.arange(sketches.shape[1] // _BAND, dtype=np.uint64)
    parts = sketches.reshape(len(sketches), len(numbers), _BAND).astype(np.uint64)
    found = np.broadcast_to(numbers, parts.shape[:2])
    for at in range(_BAND):
        found = (found ^ parts[:, :, at]) * _FACTOR
        found ^= found >> np.uint64(32)
    return found
