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
_ALL, _KEPT, _BEGIN, _SIDE = np.uint64(64), np.uint64(40), np.uint64(17), np.uint64(1)
"""Bits of a hash: all, those that stand below its owner where both are one number, and those by which most are told."""


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
    padded = ("\0" * size).join([*texts.to_list(), ""])
    codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = texts.str.len_chars().to_numpy().astype(np.int64)
    runs = np.maximum(1, lengths - size + 1)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1] + size)]) if len(lengths) else lengths
    inside = np.arange(runs.sum()) + np.repeat(starts - np.cumsum(runs) + runs, runs)
    return _combined(codes, size)[inside], np.repeat(np.arange(len(texts)), runs)


def similarities(one: tuple[Hashes, Owners], other: tuple[Hashes, Owners], number: int) -> npt.NDArray[np.float64]:
    """Return for each of `number` owners the Jaccard similarity of its hashes in `one` and in `other`, as sets.

    It is 1 where neither has any. Compared are 40 bits of a hash, of up to 2^23 owners:
    of two texts of 200 n-grams, two unequal ones count as equal once in 10^7 pairs of texts.
    """
    keys = np.sort(np.concatenate([_owned(*part) << _SIDE | np.uint64(side) for side, part in enumerate((one, other))]))
    keys = keys[np.concatenate([np.ones(min(1, len(keys)), dtype=bool), keys[1:] != keys[:-1]])] >> _SIDE
    sizes, common = (
        np.bincount((found >> _KEPT).view(np.int64), minlength=number)
        for found in (keys, keys[1:][keys[1:] == keys[:-1]])
    )
    found = np.ones(number)
    np.divide(common, sizes - common, out=found, where=sizes > 0)
    return found


def repeating(hashes: Hashes, owners: Owners, times: int) -> Owners:
    """Return the owners that have some hash so many times or more; as `similarities`, by 40 bits of it."""
    keys = np.sort(_owned(hashes, owners))
    last = keys[times - 1 :]
    found: Owners = (last[last == keys[: len(last)]] >> _KEPT).astype(np.int64)
    return found


def places(hashes: Hashes, known: Hashes) -> tuple[Owners, npt.NDArray[np.bool_]]:
    """Return where each hash stands in `known`, which are sorted, and whether it stands there at all."""
    at = np.zeros(len(hashes), dtype=np.int64)
    begins = np.zeros(1 << int(_BEGIN), dtype=bool)
    begins[known >> (_ALL - _BEGIN)] = True
    there = begins[hashes >> (_ALL - _BEGIN)]
    maybe = np.flatnonzero(there)  # few, mostly: to look for a hash costs as much as making it
    if len(maybe):
        at[maybe] = np.minimum(np.searchsorted(known, hashes[maybe]), len(known) - 1)
        there[maybe] = known[at[maybe]] == hashes[maybe]
    return at, there


def circling(texts: pl.Series, unit: int, least: int) -> npt.NDArray[np.bool_]:
    """Say of each text whether a run of `least` characters may be one of up to `unit`, again and again.

    If it is one of n, all of them but n are equal to the one n places after: in a row of
    15 or more there are 8 that begin at a multiple of 8, which one look at a byte shows.
    """
    if least - unit < 15:
        return np.ones(len(texts), dtype=bool)
    codes = np.frombuffer("\0".join([*texts.to_list(), ""]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum(texts.str.len_chars().to_numpy().astype(np.int64) + 1)
    found = np.zeros(len(texts), dtype=bool)
    for size in range(1, unit + 1):
        equal = np.packbits(codes[:-size] == codes[size:])
        found[np.searchsorted(ends, 8 * np.flatnonzero(equal == 255), side="right")] = True
    return found


def _owned(hashes: Hashes, owners: Owners) -> Hashes:
    """Return numbers of which the order is that of the owners first; equal ones have one owner and equal hashes."""
    return (owners.astype(np.uint64) << _KEPT) | (hashes >> (_ALL - _KEPT))


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
