"""Whether a third of the rows is more varied if unlike rows come first than if chance decides, on the tables in data/.

Run it by `make bench-diversity` after a build. What is compared is not what the choice
goes by: distinct-2 of words at equal numbers of words, and the mean similarity by
trigrams of all pairs. Chance is the mean of 50 draws.
"""

import random
import statistics
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import polars as pl

from m2l.sample import diverse
from m2l.sketch import sketches
from m2l.text import similarities, words

TABLES = Path("data/tables")
DRAWS = 50


def main() -> None:
    """Print a row for each kind of row: means over languages, unlike rows first against chance."""
    print(
        "| rows | languages | words a row: all, unlike, chance | distinct-2: unlike, chance | alike: unlike, chance |"
    )
    print("|---|---|---|---|---|")
    for kind in ("evolved", "conversation"):
        found = [compare(pl.read_parquet(path)) for path in sorted(TABLES.glob(f"*/{kind}.parquet"))]
        means = [statistics.mean(values) for values in zip(*found, strict=True)]
        every, unlike, chance = (f"{mean:.1f}" for mean in means[:3])
        rest = [f"{one:.3f}, {other:.3f}" for one, other in (means[3:5], means[5:7])]
        print(f"| {kind} | {len(found)} | {every}, {unlike}, {chance} | {rest[0]} | {rest[1]} |")


def compare(table: pl.DataFrame) -> tuple[float, ...]:
    """Return words a row of all, unlike first and by chance, then distinct-2 and similarity of the latter two."""
    content = pl.element().struct.field("content")
    texts = table.select(pl.col("conversation").list.eval(content).list.join("\n")).to_series()
    alone = table.with_columns(group=pl.lit(""))
    order = diverse(alone, sketches(texts), ("group",)).to_numpy()
    size, rng = table.height // 3, random.Random(0)
    unlike = [texts[int(row)] for row in np.argsort(order, kind="stable")[:size]]
    draws = [rng.sample(texts.to_list(), size) for _ in range(DRAWS)]
    least = min(sum(len(words(text)) for text in some) for some in (unlike, *draws))
    by_chance = [measure(draw, least) for draw in draws]
    chance = [statistics.mean(values) for values in zip(*by_chance, strict=True)]
    own = measure(unlike, least)
    return (measure(texts.to_list(), least)[0], own[0], chance[0], own[1], chance[1], own[2], chance[2])


def measure(texts: list[str], least: int) -> tuple[float, float, float]:
    """Return words a text, the share of distinct pairs of words among the first `least`, and the mean similarity."""
    found = [words(text) for text in texts]
    pairs = [pair for text in found for pair in pairwise(text)][:least]
    alike = statistics.mean(similarities(*zip(*combinations(texts, 2), strict=True)))
    return statistics.mean(map(len, found)), len(set(pairs)) / len(pairs), alike


if __name__ == "__main__":
    main()
