"""The sample: as even as there are rows, and independent of their order."""

from collections import Counter
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from m2l.sample import balanced

AXES = ("task", "operator")
cells = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=60)


def table(found: list[tuple[str, str]]) -> pl.DataFrame:
    """A row for each pair of task and operator."""
    rows = {
        "row_id": [f"{n}" for n in range(len(found))],
        "task": [t for t, _ in found],
        "operator": [o for _, o in found],
    }
    return pl.DataFrame(rows, schema={"row_id": pl.String, "task": pl.String, "operator": pl.String})


@given(cells, st.integers(0, 70))
def test_size_and_evenness(found: list[tuple[str, str]], size: int) -> None:
    """As many as asked or as there are; no task has two more than another that still had rows left."""
    rows = table(found)
    sample = balanced(rows, size, AXES)
    assert sample.height == min(size, rows.height)
    assert set(sample["row_id"]) <= set(rows["row_id"])
    have, took = Counter(rows["task"]), Counter(sample["task"])
    for task in have:
        if took[task] < have[task]:
            assert all(took[other] <= took[task] + 1 for other in have)
    for task in have:
        have_in = Counter(o for t, o in found if t == task)
        took_in = Counter(row["operator"] for row in sample.iter_rows(named=True) if row["task"] == task)
        for operator in have_in:
            if took_in[operator] < have_in[operator]:
                assert all(took_in[other] <= took_in[operator] + 1 for other in have_in)


@given(cells, st.integers(0, 20), st.randoms())
def test_the_order_of_the_table_does_not_matter(found: list[tuple[str, str]], size: int, rng: object) -> None:
    """Shuffled rows give the same sample, sorted the same way."""
    rows = table(found)
    order = list(range(rows.height))
    rng.shuffle(order)  # type: ignore[attr-defined]
    assert balanced(rows[order], size, AXES).equals(balanced(rows, size, AXES))


def test_a_larger_sample_holds_the_smaller() -> None:
    """Raising a quota adds rows and takes none away."""
    rows = table([("a", "x")] * 9 + [("b", "y")] * 4 + [("c", "x")])
    samples = [set(balanced(rows, size, AXES)["row_id"]) for size in range(15)]
    assert all(one <= other for one, other in pairwise(samples))
