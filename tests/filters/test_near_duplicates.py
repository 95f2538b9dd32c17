"""Near-duplicates: comparing many at once says what comparing each with all before it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l.filters import near_duplicates
from m2l.filters.near_duplicates import NearDuplicates, Sketches

NUMBER, THRESHOLD = 32, 0.7
BLOCK = 4
"""Least hashes that are compared with one look: texts that have none such in common are never compared."""

BASES = st.integers(0, 3)
CHANGES = st.sets(st.integers(0, NUMBER - 1), max_size=16)


def _sketches(drawn: list[tuple[int, set[int]]]) -> Sketches:
    """Return a sketch for each pair of a text that it is a copy of and places at which it has hashes of its own."""
    found = np.array([[base * 1000 + place for place in range(NUMBER)] for base, _ in drawn], dtype=np.uint32)
    for row, (_, changed) in enumerate(drawn):
        for place in changed:
            found[row, place] = 100_000 + row * NUMBER + place
    return found.reshape(len(drawn), NUMBER)


def _met(one: list[int], other: list[int]) -> bool:
    """Say whether two texts share all hashes of some block, and so many of all that they are alike."""
    blocks = range(0, NUMBER, BLOCK)
    alike = sum(first == second for first, second in zip(one, other, strict=True)) >= THRESHOLD * NUMBER
    return alike and any(one[start : start + BLOCK] == other[start : start + BLOCK] for start in blocks)


@pytest.mark.parametrize("many", [2, 3, 128])
@given(drawn=st.lists(st.tuples(BASES, CHANGES), max_size=24))
def test_the_first_of_those_that_are_alike_stays(many: int, drawn: list[tuple[int, set[int]]]) -> None:
    """A text goes exactly if one that stayed before it is nearly the same, however many share a block with it."""
    sketches = _sketches(drawn)
    stay: list[list[int]] = []
    expected = []
    for own in sketches.tolist():
        expected.append(not any(_met(own, other) for other in stay))
        if expected[-1]:
            stay.append(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_MANY", many)
        assert NearDuplicates(THRESHOLD, NUMBER)._first(sketches).tolist() == expected


@given(drawn=st.lists(st.tuples(BASES, CHANGES), max_size=12), known=st.lists(st.tuples(BASES, CHANGES), max_size=6))
def test_what_is_known_is_recognised(drawn: list[tuple[int, set[int]]], known: list[tuple[int, set[int]]]) -> None:
    """A text is like a seed exactly if it is nearly the same as one of them."""
    texts, seeds = _sketches(drawn), _sketches(known)
    expected = [any(_met(own, seed) for seed in seeds.tolist()) for own in texts.tolist()]
    assert NearDuplicates(THRESHOLD, NUMBER)._like_any(texts, seeds).tolist() == expected
