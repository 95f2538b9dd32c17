"""The numbers of a dataset: counted per cell, rolled up by language, task, operator and variation."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from m2l.sketch import Counts, Groups, mean_similarities, units

CELL = ("language", "kind", "task", "task_evol_type", "multiturn_evol_type")
AXES = {"language": "language", "task": "task", "operator": "task_evol_type", "variation": "multiturn_evol_type"}
"""What rows are counted by, and the column of each."""

MOST_NGRAMS = 10_000
"""Of a group so many n-grams are looked at, in the order of `row_id`: distinct-n falls with the length of a text."""

_KEPT = pl.col("reason").is_null()
_SEED = pl.col("kind") == "seed"
_OF_TEXTS = ("texts", "truncated", "verified", "expected")

_SUMS = {
    "attempted": pl.len(),
    "kept": _KEPT.sum(),
    "rejected": (~_KEPT).sum(),
    "sampled": pl.col("sampled").sum(),
    "repaired": (_KEPT & (pl.col("replaced") > 0)).sum(),
    "asked_again": pl.col("replaced").sum(),
    **{f"sum_{name}": pl.col(name).filter(_KEPT).sum() for name in ("no_of_turns", "user_words", "assistant_words")},
    "all_texts": pl.col("texts").sum() + pl.col("replaced").sum(),
    **{f"all_{name}": pl.col(name).sum() + pl.col(f"replaced_{name}").sum() for name in _OF_TEXTS[1:]},
    **{f"kept_{name}": pl.col(name).filter(_KEPT).sum() for name in _OF_TEXTS},
}
"""What is counted of each cell; `all_` texts are those that were asked for again, too."""

COUNTS = ("attempted", "kept", "rejected", "sampled", "repaired", "asked_again")
_RATIOS = {
    "yield": ("kept", "attempted"),
    "truncated": ("all_truncated", "all_texts"),
    "in_language": ("all_expected", "all_verified"),
    "kept_in_language": ("kept_expected", "kept_verified"),
    "verified": ("kept_expected", "kept_texts"),
    "verifiable": ("kept_verified", "kept_texts"),
    "turns": ("sum_no_of_turns", "kept"),
    "user_words": ("sum_user_words", "sum_no_of_turns"),
    "assistant_words": ("sum_assistant_words", "sum_no_of_turns"),
}
"""Each ratio by the sums that it divides: the `in_language` of texts whose language something can verify."""

DIVERSITY = ("distinct_1", "distinct_2", "self_similarity", "kept_self_similarity")


class Numbers(msgspec.Struct, frozen=True):
    """The numbers of one language, or of several: sums by cell, rejections by reason, and diversity by axis."""

    cells: pl.DataFrame
    reasons: pl.DataFrame
    diversity: dict[str, pl.DataFrame]


def count(language: str, rows: pl.DataFrame, told: pl.DataFrame, counts: Counts) -> Numbers:
    """Count the rows of one language, in the order of `row_id`.

    `rows` has what was measured of each attempted row, its `reason` (null: kept) and
    whether it was `sampled`. Diversity is told of some kept rows, `told`, with their sketches.
    """
    told = told.join(rows.select("row_id", "sampled", "words"), on="row_id", how="left", maintain_order="left")
    return Numbers(
        cells=rows.group_by(CELL).agg(**_SUMS).sort(CELL),
        reasons=rows.filter(~_KEPT).group_by("language", "kind", "reason").agg(rows=pl.len()),
        diversity=_diversity(told, counts, language),
    )


def together(parts: Sequence[Numbers]) -> Numbers:
    """Return the numbers of several languages as one."""
    return Numbers(
        cells=pl.concat(part.cells for part in parts),
        reasons=pl.concat(part.reasons for part in parts).sort("language", "kind", "rows", "reason"),
        diversity={axis: pl.concat(part.diversity[axis] for part in parts) for axis in AXES},
    )


def by(numbers: Numbers, axis: str) -> pl.DataFrame:
    """Return a row for each value of an axis, of what the model wrote: counts, and ratios as means over languages."""
    written = numbers.cells.filter(~_SEED)
    if axis == "variation":
        written = written.filter(pl.col("kind") == "conversation")
    return _rolled(written, numbers.diversity[axis], AXES[axis]).rename({AXES[axis]: axis})


def overall(numbers: Numbers) -> dict[str, float | None]:
    """Return the counts and ratios of all that the model wrote, ratios as means over languages."""
    whole = pl.lit("").alias("whole")
    diversity = numbers.diversity["language"].with_columns(whole)
    row = _rolled(numbers.cells.filter(~_SEED).with_columns(whole), diversity, "whole").row(0, named=True)
    return {name: value for name, value in row.items() if name != "whole"}


def kinds(numbers: Numbers) -> pl.DataFrame:
    """Return the counts of each kind of row in each language."""
    keys = ("language", "kind")
    return numbers.cells.group_by(keys).agg(pl.col(COUNTS).sum()).sort(keys)


def _rolled(cells: pl.DataFrame, diversity: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return sums over languages of counts and means over languages of ratios, by a column."""
    keys = list(dict.fromkeys((column, "language")))
    sums = cells.group_by(keys).agg(pl.exclude(CELL).sum())
    ratios = {name: pl.when(pl.col(d) > 0).then(pl.col(n) / pl.col(d)) for name, (n, d) in _RATIOS.items()}
    each = sums.with_columns(**ratios).join(diversity, on=keys, how="left")
    means = pl.col(*_RATIOS, *DIVERSITY).mean().round(4)
    return each.group_by(column).agg(pl.col(COUNTS).sum(), means).sort(column)


def _diversity(told: pl.DataFrame, counts: Counts, language: str) -> dict[str, pl.DataFrame]:
    """Return how varied the sampled rows of each value of an axis are, and for comparison all that were kept."""
    found, sampled = units(counts), told["sampled"].to_numpy()
    ngrams = {f"distinct_{size}": _ngrams(told["words"], size, sampled) for size in (1, 2)}
    result = {}
    for axis, column in AXES.items():
        names = told[column].unique().sort()
        group = told[column].rank("dense").cast(pl.Int64).to_numpy() - 1
        table = pl.DataFrame(
            {
                "self_similarity": mean_similarities(found[sampled], group[sampled], len(names)),
                "kept_self_similarity": mean_similarities(found, group, len(names)),
            },
            schema_overrides=dict.fromkeys(DIVERSITY, pl.Float64),
        )
        distinct = {name: _distinct(grams, group[row], len(names)) for name, (grams, row) in ngrams.items()}
        table = table.with_columns(names.alias(column), **distinct).with_columns(language=pl.lit(language))
        result[axis] = table.select(*dict.fromkeys(("language", column)), *DIVERSITY)
    return result


def _ngrams(words: pl.Series, size: int, wanted: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint64], Groups]:
    """Return all n-grams of one or two words of the wanted rows, as numbers, and the row of each."""
    grams = words.explode(empty_as_null=False).to_numpy().astype(np.uint64)
    row = np.repeat(np.arange(len(words)), words.list.len().to_numpy())
    there = wanted[row]
    if size == 2:
        grams, there = grams[:-1] << np.uint64(32) | grams[1:], there[:-1] & (row[:-1] == row[1:])
        row = row[:-1]
    return grams[there], row[there]


def _distinct(grams: npt.NDArray[np.uint64], group: Groups, number: int) -> pl.Series:
    """Return for each group the share of distinct n-grams among all of them (Li et al. 2016), null without one."""
    seen = pl.col("gram").head(MOST_NGRAMS)
    shares = pl.DataFrame({"group": group, "gram": grams}).group_by("group").agg(share=seen.n_unique() / seen.len())
    return pl.DataFrame({"group": range(number)}, schema={"group": pl.Int64}).join(shares, on="group", how="left")[
        "share"
    ]
