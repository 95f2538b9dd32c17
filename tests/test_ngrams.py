"""Hashes of a whole batch at once say what a look at one text after the other says."""

import re
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l import ngrams

WORDS = st.lists(st.lists(st.sampled_from(["a", "b", "bu", "日本", "ไทย"]), max_size=9), max_size=6)
TEXTS = st.lists(st.text(alphabet="abé日𝔸", max_size=40), max_size=6)


def _grams(sequence: list[str] | str, size: int) -> list[tuple[str, ...]]:
    return [tuple(sequence[start : start + size]) for start in range(len(sequence) - size + 1)]


@given(WORDS, st.integers(1, 4))
def test_equal_runs_of_words_and_no_others_have_equal_hashes(lists: list[list[str]], size: int) -> None:
    """Every run within a text is there, with its owner and in order; none reaches into the next text."""
    hashes, owners = ngrams.of_words(pl.Series(lists, dtype=pl.List(pl.String)), size)
    expected = [(owner, gram) for owner, words in enumerate(lists) for gram in _grams(words, size)]
    assert owners.tolist() == [owner for owner, _ in expected]
    named = dict(zip(hashes.tolist(), (gram for _, gram in expected), strict=True))
    assert [named[value] for value in hashes.tolist()] == [gram for _, gram in expected]
    assert len(named) == len({gram for _, gram in expected})


@given(TEXTS, st.integers(1, 5))
def test_a_text_shorter_than_a_run_is_a_run_of_its_own(texts: list[str], size: int) -> None:
    """Every run of characters within a text is there, in order, and one at least of each text."""
    hashes, owners = ngrams.of_characters(pl.Series(texts, dtype=pl.String), size)
    expected = [(at, gram) for at, text in enumerate(texts) for gram in (_grams(text, size) or [tuple(text)])]
    assert owners.tolist() == [owner for owner, _ in expected]
    assert len(set(hashes.tolist())) == len({gram for _, gram in expected})


@given(WORDS, st.integers(1, 3), st.integers(2, 3))
def test_what_repeats_itself_is_found(lists: list[list[str]], size: int, times: int) -> None:
    """A text is named exactly if some run of words comes so often in it; what another text says does not count."""
    found = ngrams.repeating(*ngrams.of_words(pl.Series(lists, dtype=pl.List(pl.String)), size), times)
    expected = {at for at, words in enumerate(lists) if max(Counter(_grams(words, size)).values(), default=0) >= times}
    assert set(found.tolist()) == expected


@given(WORDS, WORDS, st.integers(1, 2))
def test_similarity_is_that_of_the_sets(ones: list[list[str]], others: list[list[str]], size: int) -> None:
    """Pair by pair, what two lists have in common of all that they have; two without a run are equal."""
    number = min(len(ones), len(others))
    runs = [ngrams.of_words(pl.Series(lists[:number], dtype=pl.List(pl.String)), size) for lists in (ones, others)]
    sets = [(set(_grams(one, size)), set(_grams(other, size))) for one, other in zip(ones, others, strict=False)]
    expected = [len(one & other) / len(one | other) if one | other else 1.0 for one, other in sets]
    assert ngrams.similarities(runs[0], runs[1], number).tolist() == pytest.approx(expected)


@given(st.lists(st.sets(st.integers(0, 99)), max_size=3), st.sets(st.integers(0, 99)))
def test_places_are_those_of_equal_hashes(parts: list[set[int]], known: set[int]) -> None:
    """A hash is known exactly if it is among those that are, and then its place holds it."""
    asked = np.array([value for part in parts for value in sorted(part)], dtype=np.uint64)
    at, there = ngrams.places(asked, np.array(sorted(known), dtype=np.uint64))
    assert there.tolist() == [value in known for value in asked.tolist()]
    assert [sorted(known)[place] for place in at[there]] == asked[there].tolist()


@given(
    st.lists(st.tuples(TEXTS.map("".join), st.text("abc日", min_size=1, max_size=8), st.integers(1, 30)), max_size=5)
)
def test_no_circle_is_overlooked(parts: list[tuple[str, str, int]]) -> None:
    """What the regular expression finds in a text, a look at all texts at once has pointed at."""
    texts = [head + unit * times + head for head, unit, times in parts]
    circle = re.compile(r"(.{1,8}?)\1{2,}")
    found = ngrams.circling(pl.Series(texts, dtype=pl.String), 8, 24)
    for text, may in zip(texts, found, strict=True):
        assert may or all(len(match[0]) < 24 for match in circle.finditer(text))


def test_few_texts_are_pointed_at() -> None:
    """Prose goes round in no circle."""
    prose = pl.Series(["All human beings are born free and equal in dignity and rights.", "私たちは自由です。"])
    assert not ngrams.circling(prose, 8, 24).any()
