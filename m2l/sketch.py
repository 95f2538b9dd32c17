"""What a text is like, as a small vector of hashed character n-grams: cheap, exact, and the same in every script."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

SIZE = 4
"""Characters of an n-gram."""

DIMENSIONS = 256
_MOST = 15
"""An n-gram's count stops here, so that nothing outweighs the rest."""

_BATCH = 128
_FACTORS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], dtype=np.uint32)
"""Odd numbers without a pattern (the primes of xxHash): for each character of a pair, and for the first pair of two."""

Counts = npt.NDArray[np.uint8]
Units = npt.NDArray[np.float32]
Groups = npt.NDArray[np.int64]
"""One row a text, or the number of the group that a text is in."""


def sketches(texts: pl.Series) -> Counts:
    """Return the counts of hashed character n-grams of each text, lower-cased."""
    folded = texts.str.to_lowercase()
    parts = [_counts(folded.slice(start, _BATCH).to_list()) for start in range(0, len(folded), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, DIMENSIONS), dtype=np.uint8)


def correlations(counts: Counts) -> npt.NDArray[np.float64]:
    """Return for each pair how much more alike it is than its lengths let expect: the cosine of centred counts.

    A plain cosine calls short texts unlike everything. Each text is centred by what one of
    its length has on average; sums are over whole numbers, so that every machine gets the same.
    """
    whole = counts.astype(np.float64)
    lengths, common = whole.sum(axis=1), whole.sum(axis=0)
    shares, overlaps = lengths / max(1.0, float(lengths.sum())), whole @ common
    centred = whole @ whole.T - np.outer(shares, overlaps) - np.outer(overlaps, shares)
    centred += np.outer(shares, shares) * float(common @ common)
    norms = np.sqrt(np.maximum(np.diagonal(centred), 1e-9))
    return np.asarray(centred / norms[:, None] / norms[None, :])


def units(counts: Counts) -> Units:
    """Return each sketch at length 1; that of a text without an n-gram stays 0."""
    result = counts.astype(np.float32)
    result /= np.sqrt(np.maximum((result * result).sum(axis=1), 1))[:, None]
    return result


def mean_similarities(found: Units, group: Groups, number: int) -> list[float | None]:
    """Return for each of `number` groups the mean cosine over all pairs of its rows; None where there is no pair.

    In time linear in the rows: the squared length of a sum of units holds each pair twice, and each unit with itself.
    """
    order, members = np.argsort(group, kind="stable"), np.bincount(group, minlength=number)
    sums = np.zeros((number, DIMENSIONS))
    if len(group):
        starts = np.cumsum(members)[members > 0] - members[members > 0]
        sums[members > 0] = np.add.reduceat(found[order], starts, axis=0)
    alone = np.bincount(group, weights=found.any(axis=1), minlength=number)
    pairs = members * (members - 1)
    means = np.maximum((sums * sums).sum(axis=1) - alone, 0) / np.maximum(pairs, 1)
    return [float(mean) if there else None for mean, there in zip(means, pairs, strict=True)]


def _counts(texts: Sequence[str]) -> Counts:
    """Hash every window of `SIZE` characters at once; a window that reaches into the next text is left out."""
    joined = "\0".join([*texts, "\0" * SIZE])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    number = len(codes) - SIZE
    pairs = codes[:-1] * _FACTORS[0]
    pairs += codes[1:] * _FACTORS[1]
    hashes = pairs[:number] * _FACTORS[2]
    hashes += pairs[2 : number + 2]
    hashes ^= hashes >> np.uint32(15)
    hashes *= _FACTORS[0]
    hashes >>= np.uint32(24)
    ends = codes == 0
    owner = np.cumsum(ends, dtype=np.int32)
    inside = ~(ends[:number] | ends[1 : number + 1] | ends[2 : number + 2] | ends[3 : number + 3])
    cells = owner[:number] * np.int32(DIMENSIONS)
    cells += hashes.view(np.int32)
    found = np.bincount(cells[inside], minlength=len(texts) * DIMENSIONS)
    return np.minimum(found, _MOST).astype(np.uint8).reshape(len(texts), DIMENSIONS)
