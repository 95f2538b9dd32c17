"""The sample: as even as there are rows, unlike rows first, and independent of their order."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l.digest import digest
from m2l.sample import BLOCK, balanced, diverse, held_out, shortfalls
from m2l.sketch import sketches
from m2l.text import similarities

AXES = ("task", "operator", "variation")
cells = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from("12")), max_size=60)


def table(found: Sequence[tuple[str, ...]]) -> pl.DataFrame:
    """A row for each cell."""
    rows = {"row_id": [f"{n}" for n in range(len(found))]}
    rows |= {axis: [cell[place] for cell in found] for place, axis in enumerate(AXES)}
    return pl.DataFrame(rows, schema=dict.fromkeys(("row_id", *AXES), pl.String))


def even(rows: pl.DataFrame, sample: pl.DataFrame, axis: str, weights: dict[str, float]) -> None:
    """Check that no value has had two turns more than another that still had rows left."""
    have, took = Counter(rows[axis]), Counter(sample[axis])
    for value in have:
        if took[value] < have[value]:
            due = (took[value] + 1) / weights.get(value, 1.0)
            assert all(took[other] / weights.get(other, 1.0) <= due for other in have)


@settings(deadline=None)
@given(cells, st.integers(0, 70), st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.5, 1.0, 2.0, 3.0])))
def test_size_and_evenness(found: list[tuple[str, ...]], size: int, weights: dict[str, float]) -> None:
    """As many as asked or as there are; nothing has had more turns than it is due while another had rows left."""
    rows = table(found)
    sample = balanced(rows, size, AXES, weights={"task": weights})
    assert sample.height == min(size, rows.height)
    assert set(sample["row_id"]) <= set(rows["row_id"])
    even(rows, sample, "task", weights)
    for task in set(rows["task"]):
        of_task = pl.col("task") == task
        even(rows.filter(of_task), sample.filter(of_task), "operator", {})
        for operator in set(rows.filter(of_task)["operator"]):
            both = of_task & (pl.col("operator") == operator)
            even(rows.filter(both), sample.filter(both), "variation", {})


texts = st.text(alphabet="ab जि的 é", max_size=30)
described = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from("1"), texts), max_size=24)


@settings(deadline=None)
@given(described, st.integers(0, 20), st.randoms())
def test_the_order_of_the_table_does_not_matter(found: list[tuple[str, ...]], size: int, rng: object) -> None:
    """Shuffled rows give the same sample, sorted the same way, whatever they say."""
    rows = table(found).with_columns(text=pl.Series([cell[3] for cell in found], dtype=pl.String))
    order = list(range(rows.height))
    rng.shuffle(order)  # type: ignore[attr-defined]

    def sample(some: pl.DataFrame) -> pl.DataFrame:
        return balanced(some, size, AXES, order=diverse(some, sketches(some["text"]), AXES))

    assert sample(rows[order]).equals(sample(rows))


def test_a_larger_sample_holds_the_smaller() -> None:
    """Raising a quota adds rows and takes none away, whatever the weights."""
    rows = table([("a", "x", "1")] * 9 + [("b", "y", "2")] * 4 + [("c", "x", "1")])
    order = diverse(rows, sketches(pl.Series([f"{n * n} apples" for n in range(14)])), AXES)
    weighted: list[dict[str, dict[str, float]]] = [{}, {"task": {"b": 3.0}}]
    for weights in weighted:
        samples = [set(balanced(rows, n, AXES, order=order, weights=weights)["row_id"]) for n in range(15)]
        assert all(one <= other for one, other in pairwise(samples))


SUBJECTS = {
    "en": ["tides and the moon", "baking rye bread", "train timetables", "snow leopards", "tax law", "jazz drums"],
    "hi": ["चाँद और समुद्र की लहरें", "घर में रोटी बनाना", "रेलगाड़ी का समय", "पहाड़ों का तेंदुआ", "कर का कानून", "ढोल बजाना"],
    "zh": ["月亮和潮汐的关系", "在家烤黑麦面包", "火车时刻表怎么看", "高山上的雪豹", "税法的基本原则", "爵士鼓的节奏"],
}


def test_each_subject_is_taken_before_one_is_taken_twice() -> None:
    """Of 20 variants of each of six subjects in a cell, a sample of six has one of each, in three scripts."""
    for subjects in SUBJECTS.values():
        content = [f"{subject} {digest([subject, n])[:3]}" for subject in subjects for n in range(20)]
        rows = table([("a", "x", "1")] * len(content)).with_columns(text=pl.Series(content))
        assert rows.height <= BLOCK
        sample = balanced(rows, 6, AXES, order=diverse(rows, sketches(rows["text"]), AXES))
        assert sorted(sample["text"].str.slice(0, 4)) == sorted(subject[:4] for subject in subjects)


def test_cells_of_one_row_are_diverse_together() -> None:
    """Where each cell has one row, unlike rows are taken all the same, measured by trigrams and not by sketches."""
    content = [f"{subject} {digest([subject, n])[:3]}" for subject in SUBJECTS["en"] for n in range(20)]
    rows = table([("a", f"o{n}", f"v{n}") for n in range(len(content))]).with_columns(text=pl.Series(content))
    chosen = balanced(rows, 6, AXES, order=diverse(rows, sketches(rows["text"]), AXES))["text"]
    by_digest = balanced(rows, 6, AXES)["text"]
    likest = [max(similarities(*zip(*combinations(some, 2), strict=True))) for some in (chosen, by_digest)]
    assert likest[0] < 0.1 < 0.3 < likest[1]


def test_short_texts_are_not_preferred() -> None:
    """Texts of 60 and of 240 words from the same vocabulary are drawn alike: unlikeness is not brevity."""
    words = [digest(n)[:6] for n in range(400)]
    lengths = [60, 240] * 60
    content = [
        " ".join(words[int(digest([place, n])[:6], 16) % 400] for n in range(length))
        for place, length in enumerate(lengths)
    ]
    rows = table([("a", "x", "1")] * len(content)).with_columns(length=pl.Series(lengths))
    sample = balanced(rows, 40, AXES, order=diverse(rows, sketches(pl.Series(content)), AXES))
    assert 10 <= sample["length"].to_list().count(60) <= 30


@settings(deadline=None)
@given(st.sets(st.text(max_size=8)), st.sets(st.text(max_size=8)), st.floats(0, 0.5), st.floats(0, 0.49))
def test_adding_seeds_moves_no_seed(seeds: set[str], more: set[str], share: float, extra: float) -> None:
    """A seed's side depends on its id alone, and raising the share only takes seeds out of training."""

    def side(ids: set[str], part: float) -> dict[str, bool]:
        ordered = sorted(ids)
        return dict(zip(ordered, held_out(pl.Series(ordered, dtype=pl.String), part), strict=True))

    before, after = side(seeds, share), side(seeds | more, share)
    assert before.items() <= after.items()
    assert {key for key, held in before.items() if held} <= {
        k for k, held in side(seeds, share + extra).items() if held
    }


def test_the_share_that_is_held_out_is_the_one_asked_for() -> None:
    """Of 20,000 seeds about a twentieth is held out, and none at 0."""
    ids = pl.Series([f"seed {n}" for n in range(20_000)])
    assert 900 <= held_out(ids, 0.05).to_list().count(True) <= 1100
    assert not held_out(ids, 0.0).any()


@settings(deadline=None)
@given(cells, st.integers(0, 40))
def test_a_cell_is_short_by_what_it_has_too_few_of(found: list[tuple[str, ...]], size: int) -> None:
    """Shares at each level add up to the quota; a cell is short only if its share is more than it got."""
    declared = table([(a, x, n) for a in "abc" for x in "xy" for n in "12"])
    sample = balanced(table(found), size, AXES)
    short = shortfalls(sample, declared, size, AXES, {})
    for level, count in {"task": 3, "operator": 6, "variation": 12}.items():
        rows = short.filter(pl.col("level") == level)
        assert rows.height == count
        assert math.isclose(math.fsum(rows["share"].to_list()), size, abs_tol=1e-6)
        assert rows["got"].sum() == sample.height
        for row in rows.iter_rows(named=True):
            assert row["short"] == max(0, int(size // count - row["got"]))
