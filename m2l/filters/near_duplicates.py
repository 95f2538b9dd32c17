"""Near-duplicates within a language, by MinHash (Broder 1997) over character shingles."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from rensa import RMinHash

from m2l.filters.base import Context, Filter
from m2l.ngrams import Hashes, Owners, of_characters
from m2l.spec import Positive, Share
from m2l.text import fold

SHINGLE = 5
_RNG_SEED = 42
_BAND = 4
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BATCH = 128
"""Texts whose shingles are held at once: few enough for the processor's cache, which makes it half as fast again."""

_PAIRS = 1024
_MANY = 128
"""Pairs that are compared at once, and texts with one band in common of which all pairs are."""

Sketches = npt.NDArray[np.uint32]
"""The least hashes of a text, or of several, one row each."""

Verdicts = npt.NDArray[np.bool_]


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

    def __init__(self, threshold: Share, num_perm: Positive) -> None:
        if not 0 < threshold <= 1 or num_perm % 32:
            raise ValueError("threshold is above 0 and at most 1, num_perm a multiple of 32")
        self.threshold = threshold
        self.num_perm = num_perm

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        seeds = [fold(f"{seed.instruction}{seed.response}") for seed in context.seeds.values()]
        known = self._sketches(pl.Series(seeds, dtype=pl.String))

        def unlike_before(values: Sequence[pl.Series]) -> pl.Series:
            return pl.Series(self._first(self._sketches(values[0])), dtype=pl.Boolean)

        def original(values: Sequence[pl.Series]) -> pl.Series:
            exchanges = values[0].drop_nulls().unique()
            like = pl.Series(self._like_any(self._sketches(exchanges), known), dtype=pl.Boolean)
            return ~values[0].is_in(exchanges.filter(like).implode()).fill_null(value=False)

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

    def _first(self, sketches: Sketches) -> Verdicts:
        """Say of each text whether it is unlike all before it that are so themselves.

        Of texts with a band in common all pairs are compared at once. Where more than `_MANY`
        have it, each is compared with those of them that were kept before it.
        """
        bands = _bands(sketches)
        order = np.argsort(bands, axis=None)
        keys, texts = bands.ravel()[order], order // bands.shape[1]
        many = np.isin(keys, keys[_MANY:][keys[_MANY:] == keys[:-_MANY]])
        common: dict[int, list[int]] = {}
        for text, band in zip(texts[many].tolist(), keys[many].tolist(), strict=True):
            common.setdefault(text, []).append(band)
        like: dict[int, list[int]] = {}
        for one, other in self._pairs(sketches, keys[~many], texts[~many]):
            like.setdefault(max(one, other), []).append(min(one, other))

        keep = np.ones(len(sketches), dtype=bool)
        kept: dict[int, list[int]] = {}
        for text in sorted(like.keys() | common.keys()):
            before = list({other for band in common.get(text, ()) for other in kept.get(band, ())})
            keep[text] = not (keep[like.get(text, [])].any() or self._alike(sketches[before], sketches[text]).any())
            for band in common.get(text, ()) if keep[text] else ():
                kept.setdefault(band, []).append(text)
        return keep

    def _pairs(self, sketches: Sketches, keys: Hashes, texts: Owners) -> Iterator[tuple[int, int]]:
        """Yield the pairs of texts that stand at equal keys, which are sorted, and are nearly the same."""
        last_bytes = sketches.astype(np.uint8)
        for far in range(1, _MANY):
            same = np.flatnonzero(keys[far:] == keys[:-far])
            for start in range(0, len(same), _PAIRS):
                one, other = texts[same[start : start + _PAIRS]], texts[same[start : start + _PAIRS] + far]
                for show in (last_bytes, sketches):
                    alike = self._alike(show.take(one, axis=0), show.take(other, axis=0))
                    one, other = one[alike], other[alike]
                yield from zip(one.tolist(), other.tolist(), strict=True)

    def _like_any(self, sketches: Sketches, known: Sketches) -> Verdicts:
        """Say of each text whether it is like one that is known."""
        frames = [
            pl.DataFrame({"text": np.repeat(np.arange(len(part)), part.shape[1]), "band": part.ravel()})
            for part in (_bands(sketches), _bands(known))
        ]
        pairs = frames[0].join(frames[1], on="band", suffix="_known").select("text", "text_known").unique()
        text, other = pairs["text"].to_numpy(), pairs["text_known"].to_numpy()
        found = np.zeros(len(sketches), dtype=bool)
        found[text[self._alike(sketches[text], known[other])]] = True
        return found

    def _alike(self, ones: npt.NDArray[Any], others: npt.NDArray[Any]) -> Verdicts:
        """Say of pairs of sketches whether their texts are nearly the same."""
        return np.asarray((ones == others).sum(axis=1, dtype=np.uint16) >= self.threshold * self.num_perm)


def _bands(sketches: Sketches) -> Hashes:
    """Return a hash for every `_BAND` least hashes of a text: texts that have one in common are compared."""
    numbers = np.arange(sketches.shape[1] // _BAND, dtype=np.uint64)
    parts = sketches.reshape(len(sketches), len(numbers), _BAND).astype(np.uint64)
    found = np.broadcast_to(numbers, parts.shape[:2])
    for at in range(_BAND):
        found = (found ^ parts[:, :, at]) * _FACTOR
        found ^= found >> np.uint64(32)
    return found
