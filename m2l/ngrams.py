"""Hashes of n-grams of words and of characters, of a whole batch of texts at once.

Equal n-grams have equal hashes. Of unequal ones two have the same hash once in about 10^19 pairs.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]
Owners = npt.NDArray[np.int64]
"""One hash an n-gram, and beside it the place of its text in the batch."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


def of_words(words: pl.Series, size: int) -> tuple[Hashes, Owners]:
    """Return the hashes of all runs of `size` words of each list of words, with their owners, both in order."""
    flat, owners = _flat(words)
    return _windows(flat.hash().to_numpy(), owners, size)


def of_letters(words: pl.Series, *sizes: int) -> list[tuple[Hashes, Owners]]:
    """Return for each size the hashes of runs of words that have a letter, as if there were no others."""
    flat, owners = _flat(words)
    spelt = flat.str.contains(r"\p{L}").to_numpy()
    hashes, owners = flat.hash().to_numpy()[spelt], owners[spelt]
    return [_windows(hashes, owners, size) for size in sizes]


def _flat(words: pl.Series) -> tuple[pl.Series, Owners]:
    """Return all words of all lists, and beside each the place of its list."""
    lengths = words.list.len().fill_null(0).to_numpy().astype(np.int64)
    return words.filter(words.list.len() > 0).explode(), np.repeat(np.arange(len(words)), lengths)


def of_characters(texts: pl.Series, size: int) -> tuple[Hashes, Owners]:
    """Return the hashes of all runs of `size` characters of each text; a shorter text is a run of its own."""
    padded = ("\0" * size).join([*texts, ""])
    codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = texts.str.len_chars().to_numpy().astype(np.int64)
    runs = np.maximum(1, lengths - size + 1)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1] + size)]) if len(lengths) else lengths
    inside = np.arange(runs.sum()) + np.repeat(starts - np.cumsum(runs) + runs, runs)
    return _combined(codes, size)[inside], np.repeat(np.arange(len(texts)), runs)


def repeating(hashes: Hashes, owners: Owners, times: int) -> Owners:
    """Return the owners that have some hash so many times or more."""
    keys = hashes ^ (owners.astype(np.uint64) * _FACTOR)
    ordered = np.sort(keys)
    last = ordered[times - 1 :]
    again = last[last == ordered[: len(last)]]
    return owners[np.isin(keys, again)] if len(again) else owners[:0]


def places(hashes: Hashes, known: Hashes) -> tuple[Owners, npt.NDArray[np.bool_]]:
    """Return where each hash stands in `known`, which are sorted, and whether it stands there at all."""
    if not len(known):
        return np.zeros(len(hashes), dtype=np.int64), np.zeros(len(hashes), dtype=bool)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return at, known[at] == hashes


def circling(texts: pl.Series, unit: int, least: int) -> npt.NDArray[np.bool_]:
    """Say of each text whether a run of `least` characters may be one of up to `unit`, again and again.

    If it is one of n, all of them but n are equal to the one n places after: in a row of
    15 or more there are 8 that begin at a multiple of 8, which one look at a byte shows.
    """
    if least - unit < 15:
        return np.ones(len(texts), dtype=bool)
    codes = np.frombuffer("\0".join([*texts, ""]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum(texts.str.len_chars().to_numpy().astype(np.int64) + 1)
    found = np.zeros(len(texts), dtype=bool)
    for size in range(1, unit + 1):
        equal = np.packbits(codes[:-size] == codes[size:])
        found[np.searchsorted(ends, 8 * np.flatnonzero(equal == 255), side="right")] = True
    return found


def _windows(hashes: Hashes, owners: Owners, size: int) -> tuple[Hashes, Owners]:
    """Return the hashes of all runs of `size` hashes that have one owner, with their owners."""
    if len(hashes) < size:
        return hashes[:0], owners[:0]
    whole = owners[: len(owners) - size + 1] == owners[size - 1 :]
    return _combined(hashes, size)[whole], owners[: len(owners) - size + 1][whole]


def _combined(values: Hashes, size: int) -> Hashes:
    """Hash every window of `size` values; the values of a window count by their order."""
    number = max(0, len(values) - size + 1)
    found = values[:number] * _FACTOR
    for start in range(1, size):
        found ^= found >> _SHIFT
        found += values[start : start + number]
        found *= _FACTOR
    found ^= found >> _SHIFT
    return found
