"""The tables: their polars schemas, and the check that a frame keeps to one."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from m2l.errors import BuildError
from m2l.process import writing

ROW_GROUP = 8192
"""Rows of a parquet row group, which is what is in memory at a time while a dataset is written or streamed."""

TURN = pl.Struct({"role": pl.String, "content": pl.String})

PAPER: dict[str, Any] = {
    "id": pl.Int32,
    "task_evol_type": pl.String,
    "task_evol_prompt": pl.String,
    "seed_prompt": pl.String,
    "output_assistant_reply": pl.String,
    "evolved_user_prompt": pl.String,
    "multiturn_evol_type": pl.String,
    "multiturn_evol_prompt": pl.String,
    "evolved_multiturn_prompt": pl.String,
    "no_of_turns": pl.Int32,
    "language": pl.String,
    "task": pl.String,
    "conversation": pl.List(TURN),
}
"""The columns of the published M2Lingual dataset, in its order.

`no_of_turns` counts user turns; `multiturn_evol_prompt` and `evolved_multiturn_prompt`
hold one line for each user turn after the first.
"""

LINEAGE: dict[str, Any] = {
    "row_id": pl.String,
    "parent_id": pl.String,
    "seed_id": pl.String,
    "kind": pl.String,
    "operator_family": pl.String,
    "variation_family": pl.String,
    "request_keys": pl.List(pl.String),
    "finish_reasons": pl.List(pl.String),
    "attempts": pl.List(pl.Int32),
    "model": pl.String,
    "model_content": pl.String,
    "source": pl.String,
    "license": pl.String,
    "origin": pl.String,
}
"""Ours: where a row comes from. `request_keys` has one store key for each text that the
model wrote, `attempts` how often that text was asked for again."""

ROWS: dict[str, Any] = PAPER | LINEAGE
REJECTED: dict[str, Any] = ROWS | {"reason": pl.String, "reasons": pl.List(pl.String), "error": pl.String}
"""A rejected row beside every rule that it failed; `reason` is the first of them."""

MARK = pl.Struct({"criterion": pl.String, "mark": pl.Int32})

JUDGED: dict[str, Any] = {
    "row_id": pl.String,
    "kind": pl.String,
    "judge": pl.String,
    "model": pl.String,
    "model_content": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "marks": pl.List(MARK),
    "score": pl.Float64,
    "request_key": pl.String,
    "finish_reason": pl.String,
    "error": pl.String,
}
"""What a judge was asked about a row, and what it said; `score` is the mean of the marks, null where there are none."""

QUARANTINED: dict[str, Any] = {"language": pl.String, "where": pl.String, "reason": pl.String, "text": pl.String}

MEASURES: dict[str, Any] = {
    "row_id": pl.String,
    "kind": pl.String,
    "task": pl.String,
    "task_evol_type": pl.String,
    "multiturn_evol_type": pl.String,
    "no_of_turns": pl.Int32,
    "user_words": pl.Int32,
    "assistant_words": pl.Int32,
    "texts": pl.Int32,
    "truncated": pl.Int32,
    "verified": pl.Int32,
    "expected": pl.Int32,
    "replaced": pl.Int32,
    "replaced_truncated": pl.Int32,
    "replaced_verified": pl.Int32,
    "replaced_expected": pl.Int32,
    "words": pl.List(pl.UInt32),
}
"""What was counted of each attempted row, kept or not, so that no filter's edit changes it.

`texts` are those that the model wrote for this row and not for its parent; of them
`truncated` hit their budget, a detector or a script could verify the language of
`verified`, and `expected` were in it. `replaced` texts were asked for again. `words` are
all words of the row in order, each by the number of its first appearance in the table.
"""


def frame(rows: Sequence[dict[str, object]], schema: dict[str, Any]) -> pl.DataFrame:
    """Return `rows` as a frame of exactly the columns and types of `schema`."""
    return pl.DataFrame(rows, schema=schema, orient="row")


def write(table: pl.DataFrame, path: Path) -> None:
    """Write a table as parquet, whole or not at all; raises BuildError if the disk is full."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    with writing(path) as part:
        part.write_bytes(buffer.getbuffer())


def sink(table: pl.LazyFrame, path: Path, size: int) -> None:
    """Write rows as parquet, whole or not at all, without holding them; raises BuildError unless they are `size`."""
    with writing(path) as part:
        try:
            table.sink_parquet(part, row_group_size=ROW_GROUP, maintain_order=True)
            written = pl.scan_parquet(part, glob=False).select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as err:
            raise BuildError(f"{path}: cannot be written ({str(err).splitlines()[0]}). Run `dvc repro -f`.") from err
        if written != size:
            raise BuildError(f"{path}: {written} rows are not the {size} chosen. Run `dvc repro -f`, then report it.")


def check(table: pl.DataFrame, schema: dict[str, Any], *, where: str) -> pl.DataFrame:
    """Return `table` if its columns and types are those of `schema`, else raise BuildError."""
    if table.schema != pl.Schema(schema):
        raise BuildError(f"{where}: not the table that was expected. Make it again with `dvc repro -f`.")
    return table
