"""What a filter is, and how filters are applied."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import msgspec
import polars as pl

from m2l.spec import Language, LanguageFacts, OperatorForm, Seed, Task, VariationForm


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter may know of the slice: what it declares, its seeds by id, and the worked examples.

    `others` are the languages that a turn may be in beside the slice's own, `scores` the
    marks of a judge by row, None where it gave none.
    """

    language_code: str
    language: Language
    others: dict[str, LanguageFacts]
    task: dict[str, Task]
    operator: dict[str, OperatorForm]
    variation: dict[str, VariationForm]
    seeds: dict[str, Seed]
    examples: tuple[Seed, ...]
    scores: dict[str, float | None] = {}

    @property
    def directives(self) -> tuple[str, ...]:
        """The directives of all operators and variations."""
        turns = (turn for form in self.variation.values() for turn in form.turns)
        return (*(form.prompt for form in self.operator.values()), *(turn.prompt for turn in turns))

    def target(self, seed_id: str) -> LanguageFacts | None:
        """Return the other language that a seed is to be answered in, if it names one."""
        seed = self.seeds[seed_id]
        code = self.task[seed.task].target(seed)
        return None if code is None else self.others.get(code)


class Filter(ABC):
    """A set of named rules; a rule's name is the reason for rejection, True keeps.

    At level `turn` the rules see one row a turn: `row` (index), `position` (0 is the
    first user turn), `role`, `content`, `finish_reason` (null where a person wrote it)
    and the columns of the table that `turn_columns` names; a row is kept if all of its
    turns are. At level `row` they see the table itself.
    """

    level: ClassVar[Literal["turn", "row"]] = "turn"
    needs_scores: ClassVar[bool] = False

    @abstractmethod
    def rules(self, context: Context) -> dict[str, pl.Expr]:
        """Return the rules, as Boolean expressions, by name."""


TURN_COLUMNS = ("kind", "task", "seed_id", "multiturn_evol_type", "instruction")


def apply(table: pl.DataFrame, filters: Mapping[str, Filter], context: Context) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (kept, rejected); rejected has `reason`, the first rule failed, and all `reasons`.

    Rules are tried in the order of `filters`; kept and rejected together are the table,
    each in its order.
    """
    verdicts = {name: keep for flt in filters.values() for name, keep in _verdicts(table, flt, context).items()}
    failed = [[name for name, keep in verdicts.items() if not keep[row]] for row in range(table.height)]
    marked = table.with_columns(pl.Series("reasons", failed, dtype=pl.List(pl.String)))
    kept = marked.filter(pl.col("reasons").list.len() == 0).drop("reasons")
    rejected = marked.filter(pl.col("reasons").list.len() > 0).with_columns(reason=pl.col("reasons").list.first())
    return kept, rejected


def turns(table: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each turn of a table, as filters of level `turn` see it."""
    return (
        table.with_row_index("row")
        .select("row", *TURN_COLUMNS, "finish_reasons", pl.col("conversation").alias("turn"))
        .with_columns(position=pl.int_ranges(pl.col("turn").list.len()))
        .explode("turn", "position")
        .drop_nulls("turn")
        .unnest("turn")
        .with_columns(finish_reason=pl.col("finish_reasons").list.get(pl.col("position"), null_on_oob=True))
        .drop("finish_reasons")
    )


def _verdicts(table: pl.DataFrame, flt: Filter, context: Context) -> dict[str, Sequence[bool]]:
    rules = flt.rules(context)
    if flt.level == "row":
        return {name: table.select(rule.alias(name)).to_series().to_list() for name, rule in rules.items()}
    judged = turns(table).select("row", **rules).group_by("row").agg(pl.col(name).all() for name in rules)
    rows = table.with_row_index("row").select("row").join(judged, on="row", how="left", maintain_order="left")
    return {name: rows[name].fill_null(value=False).to_list() for name in rules}
