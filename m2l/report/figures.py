"""The figures of the page: each a plot, what it says in words, and the table of the same numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from m2l.exporters.base import Dataset
from m2l.report import plots
from m2l.report.cost import Cost

MOST_CELLS = 3_000
"""A heat map of more cells leaves the operators to the table: it would be too large to draw and to read."""

MOST_REASONS = 25


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A plot with its title, what to see in it, and its numbers as a table of text and numbers."""

    name: str
    title: str
    says: str
    svg: str
    head: tuple[str, ...]
    rows: list[tuple[object, ...]]


def figures(dataset: Dataset, cost: Cost) -> list[Figure]:
    """Return the figures that the dataset has numbers for, in the order of the page."""
    made: Sequence[Callable[[], Figure | None]] = (
        lambda: coverage(dataset),
        lambda: funnel(dataset),
        lambda: kept(dataset, "languages"),
        lambda: kept(dataset, "tasks"),
        lambda: kept(dataset, "variations"),
        lambda: reasons(dataset),
        lambda: turns(dataset),
        lambda: words(dataset),
        lambda: characters(dataset),
        lambda: diversity(dataset),
        lambda: tokens(cost),
    )
    return [figure for make in made if (figure := make()) is not None]


def coverage(dataset: Dataset) -> Figure | None:
    """Rows of the dataset by language, task and operator."""
    by = ["language", "task", "operator"]
    written = dataset.numbers["cells"].filter(pl.col("kind") != "seed")
    cells = written.group_by(by).agg(pl.col("attempted", "kept", "sampled").sum()).sort(by)
    if not cells.height:
        return None
    drawn = cells.with_columns(short=_short())
    facet: str | None = "task"
    says = "Rows of the dataset by language and operator, for each task. An empty frame is a cell without a row."
    x = "short"
    if cells.height > MOST_CELLS:
        drawn = drawn.group_by("language", "task").agg(pl.col("sampled").sum()).sort("language", "task")
        x, facet = "task", None
        says = "Rows of the dataset by language and task. The table has operators, too."
    operators = cells.select(pl.struct("task", "operator").n_unique()).item() / cells["task"].n_unique()
    columns = max(1, min(4, int(34 // (operators + 5))))
    return Figure(
        name="coverage",
        title="Coverage",
        says=says,
        svg=plots.svg(_plain(drawn), plots.heat(x, "language", "sampled", facet, columns=columns)),
        head=("language", "task", "operator", "attempted", "kept", "in the dataset"),
        rows=cells.rows(),
    )


def funnel(dataset: Dataset) -> Figure:
    """What was attempted, kept and taken into the dataset, by kind of row."""
    kinds = dataset.numbers["kinds"].group_by("kind").agg(pl.col("attempted", "kept", "sampled").sum())
    order = {"seed": "seeds", "evolved": "evolved instructions", "conversation": "conversations"}
    found = {row["kind"]: row for row in kinds.to_dicts()}
    shown = [(label, found[kind]) for kind, label in order.items() if kind in found]
    long = [
        {"kind": label, "step": step, "rows": row[column]}
        for label, row in shown
        for step, column in (("attempted", "attempted"), ("kept by the filters", "kept"), ("in the dataset", "sampled"))
    ]
    return Figure(
        name="funnel",
        title="From what was attempted to the dataset",
        says="Rows of each kind: attempted, kept by the filters, and taken into the balanced sample.",
        svg=plots.svg(long, plots.bars("kind", "rows", "rows", series="step")),
        head=("kind", "attempted", "kept", "in the dataset"),
        rows=[(label, row["attempted"], row["kept"], row["sampled"]) for label, row in shown],
    )


def kept(dataset: Dataset, axis: str) -> Figure | None:
    """How much of what was attempted was kept, by language, task or variation."""
    name = axis.removesuffix("s")
    table = dataset.numbers[axis].filter(pl.col("yield").is_not_null()).sort("yield", name, descending=[True, False])
    if not table.height:
        return None
    return Figure(
        name=f"kept-{axis}",
        title=f"Kept, by {name}",
        says="The share of what the model wrote that passed all filters.",
        svg=plots.svg(_plain(table.select(name, "yield")), plots.bars(name, "yield", "kept of attempted", share=True)),
        head=(name, "attempted", "kept", "share", "asked again", "in the dataset"),
        rows=table.select(name, "attempted", "kept", "yield", "asked_again", "sampled").rows(),
    )


def reasons(dataset: Dataset) -> Figure | None:
    """What rows were rejected for first, by kind."""
    table = dataset.numbers["reasons"].group_by("reason", "kind").agg(pl.col("rows").sum())
    if not table.height:
        return None
    total = table.group_by("reason").agg(pl.col("rows").sum().alias("total"))
    ordered = table.join(total, on="reason").sort("total", "reason", "kind", descending=[True, False, False])
    shown = ordered.filter(
        pl.col("reason").is_in(ordered["reason"].unique(maintain_order=True).head(MOST_REASONS).implode())
    )
    return Figure(
        name="reasons",
        title="Why rows were rejected",
        says="By the first rule that a row failed. What each means stands with the row in the reader.",
        svg=plots.svg(
            _plain(shown.select("reason", "kind", "rows")),
            {
                "width": 320,
                "height": {"step": 18},
                "mark": "bar",
                "encoding": {
                    "y": plots.axis("reason", None, "nominal"),
                    "x": plots.axis("rows", "rows", axis={"tickCount": 5, "format": "d"}),
                    "color": plots.axis("kind", None, "nominal"),
                },
            },
        ),
        head=("reason", "kind", "rows"),
        rows=ordered.select("reason", "kind", "rows").rows(),
    )


def turns(dataset: Dataset) -> Figure | None:
    """How many turns the user has, by language."""
    table = (
        _talks(dataset).group_by("language", "no_of_turns").agg(rows=pl.len()).sort("language", "no_of_turns").collect()
    )
    if not table.height:
        return None
    named = table.rename({"no_of_turns": "user turns"})
    return Figure(
        name="turns",
        title="Turns",
        says="Conversations of the dataset by the number of turns that the user has.",
        svg=plots.svg(_plain(named), plots.stacked("language", "rows", "conversations", "user turns")),
        head=("language", "user turns", "conversations"),
        rows=table.rows(),
    )


def words(dataset: Dataset) -> Figure | None:
    """How many words a turn has, by language."""
    table = dataset.numbers["languages"].select("language", "user_words", "assistant_words", "turns").drop_nulls()
    if not table.height:
        return None
    long = table.unpivot(["user_words", "assistant_words"], index="language", variable_name="who", value_name="words")
    named = long.with_columns(who=pl.col("who").replace({"user_words": "user", "assistant_words": "assistant"}))
    return Figure(
        name="words",
        title="Words of a turn",
        says="The mean over what was kept. Languages differ in how many words they need for the same.",
        svg=plots.svg(_plain(named.sort("language")), plots.bars("language", "words", "words a turn", series="who")),
        head=("language", "words of a user turn", "words of an answer", "user turns a row"),
        rows=table.rows(),
    )


def characters(dataset: Dataset) -> Figure | None:
    """How long conversations are, by language."""
    size = pl.col("conversation").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    shares = {"low": 0.1, "middle": 0.5, "high": 0.9}
    asked = {name: pl.col("size").quantile(share, "nearest") for name, share in shares.items()}
    table = _talks(dataset).select("language", size=size).group_by("language").agg(**asked).sort("language").collect()
    if not table.height:
        return None
    return Figure(
        name="characters",
        title="Length of a conversation",
        says="In characters: a tenth is shorter than the line, a tenth is longer, and half are below the dot.",
        svg=plots.svg(_plain(table), plots.ranges("language", "low", "middle", "high", "characters")),
        head=("language", "a tenth is below", "half are below", "nine tenths are below"),
        rows=table.rows(),
    )


def diversity(dataset: Dataset) -> Figure | None:
    """How varied the texts of a language are."""
    names = {"distinct_1": "distinct-1", "distinct_2": "distinct-2", "self_similarity": "self-similarity"}
    table = dataset.numbers["languages"].select("language", *names, "kept_self_similarity")
    long = table.unpivot(list(names), index="language", variable_name="measure", value_name="value").drop_nulls()
    if not long.height:
        return None
    named = long.with_columns(pl.col("measure").replace(names)).sort("language", "measure")
    return Figure(
        name="diversity",
        title="Diversity",
        says="distinct-n is the share of distinct words and pairs of words (more is more varied); self-similarity is "
        "how alike two conversations of the dataset are on average (less is more varied).",
        svg=plots.svg(_plain(named), plots.dots("language", "value", "share", "measure")),
        head=("language", *names.values(), "self-similarity of all that was kept"),
        rows=table.rows(),
    )


def tokens(cost: Cost) -> Figure | None:
    """What the calls of each language took."""
    if not cost.shares:
        return None
    long = [
        {"language": share.language, "whose": whose, "tokens": value}
        for share in cost.shares
        for whose, value in (("of prompts", share.prompt_tokens), ("written", share.tokens))
    ]
    return Figure(
        name="tokens",
        title="Calls and tokens",
        says="Tokens of the calls that each language rests on, from the store. "
        "Calls that its last build did not make were reused.",
        svg=plots.svg(long, plots.bars("language", "tokens", "tokens", series="whose")),
        head=("language", "calls", "made by its last build", "reused", "tokens of prompts", "tokens written"),
        rows=[(s.language, s.calls, s.made, s.calls - s.made, s.prompt_tokens, s.tokens) for s in cost.shares],
    )


def _talks(dataset: Dataset) -> pl.LazyFrame:
    return pl.concat(dataset.configs["full_data"].values()).filter(pl.col("kind") == "conversation")


def _short() -> pl.Expr:
    """Return an operator's name without that of its task, which stands above it."""
    return pl.struct("task", "operator").map_elements(_without_task, return_dtype=pl.String)


def _without_task(cell: Mapping[str, str]) -> str:
    return cell["operator"].removeprefix(f"{cell['task']}_")


def _plain(table: pl.DataFrame) -> list[dict[str, Any]]:
    return list(_rounded(table))


def _rounded(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in table.iter_rows(named=True):
        yield {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
