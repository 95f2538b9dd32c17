"""What a filter is, and how filters are applied."""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import polars as pl

from m2l.spec import Language, LanguageFacts, OperatorForm, Seed, Task, VariationForm
from m2l.text import letters_in, letters_of, read_all

BATCH = 2048
"""Rows that are judged at once, so that what is known of their texts stays known from rule to rule."""


Files = Sequence[str] | Mapping[str, str]
"""Files that a filter reads: the patterns of its declaration, and in a slice their names and digests."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter may know of the slice: what it declares, its seeds by id, and the worked examples.

    `root` is the project, below which the files lie that a filter names, `others` are the
    languages that a turn may be in beside the slice's own, `scores` the marks of a judge
    by row, None where it gave none.
    """

    root: Path
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

    @property
    def languages(self) -> dict[str, LanguageFacts]:
        """The facts of every language that a turn may be in, by code."""
        return {**self.others, self.language_code: self.language}

    @property
    def targets(self) -> dict[str, str]:
        """The code of the other language that a seed is to be answered in, by its id, where it names one."""
        named = {name: self.task[seed.task].target(seed) for name, seed in self.seeds.items()}
        return {name: code for name, code in named.items() if code is not None and code in self.others}


class Filter(ABC):
    """A set of named rules; a rule's name is the reason for rejection, True keeps.

    At level `turn` the rules see one row a turn, those of a conversation below each
    other: `row` (its number), `position` (0 is the first user turn), `role`, `content`
    (of the first turn the instruction alone, since what stands below it a person
    wrote), its `words` and its `folded` form, `finish_reason` (null where a person wrote
    it), and `kind`, `task`, `seed_id`, `task_evol_type` and `multiturn_evol_type` of its
    table; a row is kept if all of its turns are. At level `row` they see some rows of
    the table itself, and at level `table` all of them together, with the `folded` forms
    of their turns; an expression of lists of text gives the reasons themselves there.
    `sentences` says by rule, for a person who reads what was rejected, what failing it means.
    """

    level: ClassVar[Literal["turn", "row", "table"]] = "turn"
    needs_scores: ClassVar[bool] = False
    sentences: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def rules(self, context: Context) -> dict[str, pl.Expr]:
        """Return the rules, as Boolean expressions, by name."""


WORD_SCRIPTS = ("Hans", "Hant", "Jpan", "Hang")
TURN_COLUMNS = ("kind", "task", "seed_id", "task_evol_type", "multiturn_evol_type", "instruction")


def each(function: Callable[..., bool], *columns: str | pl.Expr, where: pl.Expr | None = None) -> pl.Expr:
    """Return the expression that asks `function` once for each distinct combination of values of columns.

    With `where` it is asked only about the rows of which that is true; the others are True.
    """

    def answers(values: Sequence[pl.Series]) -> list[bool]:
        if len(values) == 1:
            one = values[0].to_list()
            answer = {key: function(key) for key in dict.fromkeys(one)}
            return [answer[key] for key in one]
        several = list(zip(*(series.to_list() for series in values), strict=True))
        known = {key: function(*key) for key in dict.fromkeys(several)}
        return [known[key] for key in several]

    def judge(values: Sequence[pl.Series]) -> pl.Series:
        if where is None:
            return pl.Series(answers(values), dtype=pl.Boolean)
        *asked, mask = values
        found = answers([series.filter(mask) for series in asked])
        return pl.repeat(value=True, n=len(mask), eager=True).scatter(mask.arg_true(), found)

    columns = columns if where is None else (*columns, where.fill_null(value=False))
    return pl.map_batches(columns, judge, return_dtype=pl.Boolean())


def enough_of_script(script: str, least: float, where: pl.Expr) -> pl.Expr:
    """Say of each turn, where `where` is true, whether a share `least` of its letters is of an ISO 15924 script.

    Elsewhere it is True, and a turn without letters has enough. A letter of a script that
    writes syllables or words counts three times: a name in Latin letters makes a short
    sentence no foreign one. Letters are counted only where one is foreign.
    """
    weight = 3 if script in WORD_SCRIPTS else 1

    def enough(folded: str) -> bool:
        own = letters_in(folded, script)
        other = sum(map(str.isalpha, folded)) - own
        return weight * own / (weight * own + other) >= least

    judged = pl.when(where).then("folded")
    return each(enough, "folded", where=judged.str.contains(rf"[\p{{L}}--{letters_of(script)}]"))


def lists(series: pl.Series) -> list[list[str]]:
    """Return lists of text as Python's; polars makes one list of all texts quicker than many of a few."""
    flat, ends = series.filter(series.list.len() > 0).explode().to_list(), series.list.len().cum_sum().to_list()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def contents() -> pl.Expr:
    """Return, of a row, the contents of its turns as a list."""
    return pl.col("conversation").list.eval(pl.element().struct.field("content"))


def apply(table: pl.DataFrame, filters: Mapping[str, Filter], context: Context) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (kept, rejected); rejected has `reason`, the first rule failed, and all `reasons`.

    Rules are tried in the order of `filters`; kept and rejected together are the table,
    each in its order.
    """
    named = [(name, flt.level, rule) for flt in filters.values() for name, rule in flt.rules(context).items()]
    turn, row, whole = ({name: rule for name, at, rule in named if at == level} for level in ("turn", "row", "table"))
    batches = list(table.iter_slices(BATCH)) or [table]
    with _without_collection():
        parts = pl.concat([_judge(batch, turn, row, context.language.bcp47) for batch in batches])
    together = pl.concat([table, parts.select("row", "folded")], how="horizontal").select("row", **whole).drop("row")
    verdicts = pl.concat([parts, together], how="horizontal")
    none = pl.lit([], dtype=pl.List(pl.String))
    fine, failed = [pl.col("row").is_not_null()], [none]
    for name, _, _ in named:
        rule = pl.col(name)
        if verdicts.schema[name] == pl.List(pl.String):
            fine.append(rule.list.len() == 0)
            failed.append(rule)
        else:
            fine.append(rule.fill_null(value=False))
            failed.append(pl.when(rule).then(none).otherwise(pl.lit([name])))
    passed = verdicts.select(pl.all_horizontal(fine)).to_series()
    reasons = verdicts.filter(~passed).with_columns(reasons=pl.concat_list(failed))  # of few rows: lists are dear
    rejected = table.filter(~passed).with_columns(reasons["reasons"], reason=reasons["reasons"].list.first())
    return table.filter(passed), rejected


@contextmanager
def _without_collection() -> Iterator[None]:
    """Look for no cycles among objects: filters make none, but so many objects that each would be looked at often."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def expected(context: Context) -> pl.Expr:
    """Return, of a turn, the codes of the languages that it may be in, separated by a space.

    Mostly that is the one of its slice. The first answer of a task that has a target
    language is in that one, later ones may be; what a variation wants answered in the
    neighbour language is in that one.
    """
    own, position = pl.lit(context.language_code), pl.col("position")
    target = pl.col("seed_id").replace_strict(context.targets, default=None, return_dtype=pl.String)
    elsewhere = [
        (pl.col("multiturn_evol_type") == name) & (position == 2 * number + 3)
        for name, form in context.variation.items()
        for number, turn in enumerate(form.turns)
        if turn.answer_in == "neighbour"
    ]
    return (
        pl.when(position % 2 == 0)
        .then(own)
        .when(position == 1)
        .then(pl.coalesce(target, own))
        .when(pl.any_horizontal(pl.lit(value=False), *elsewhere))
        .then(pl.lit(context.language.neighbour.code))
        .otherwise(pl.concat_str(own, target, separator=" ", ignore_nulls=True))
    )


def turns(table: pl.DataFrame, locale: str) -> pl.DataFrame:
    """Return one row for each turn of a table, with its `row`, as filters of level `turn` see it."""
    position = pl.col("position")
    found = (
        table.with_row_index("row")
        .select("row", *TURN_COLUMNS, "finish_reasons", pl.col("conversation").alias("turn"))
        .with_columns(position=pl.int_ranges(pl.col("turn").list.len()))
        .explode("turn", "position")
        .drop_nulls("turn")
        .unnest("turn")
        .with_columns(
            content=pl.when(position == 0).then("instruction").otherwise("content"),
            finish_reason=pl.col("finish_reasons").list.get(position, null_on_oob=True),
        )
        .drop("finish_reasons", "instruction")
    )
    read = read_all(found["content"].unique(), locale)
    return found.join(read, left_on="content", right_on="text", how="left", maintain_order="left")


def _judge(table: pl.DataFrame, turn: dict[str, pl.Expr], row: dict[str, pl.Expr], locale: str) -> pl.DataFrame:
    """Return a Boolean column for each rule of turns and of rows; a row without turns fails those of turns."""
    judged = turns(table, locale).select("row", "folded", **turn)
    by_row = judged.group_by("row").agg(pl.col("folded"), *(pl.col(name).all() for name in turn))
    rows = table.with_row_index("row").select("row").join(by_row, on="row", how="left", maintain_order="left")
    return pl.concat([rows, table.select(**row)], how="horizontal")
