"""ShareGPT: JSON lines with who says what, as Axolotl and LLaMA-Factory read them."""

from typing import ClassVar

import polars as pl

from m2l.exporters.base import JsonLines


class ShareGPT(JsonLines):
    """Write each conversation as `conversations` of `from` (human or gpt) and `value`."""

    name: ClassVar[str] = "sharegpt"

    def columns(self) -> dict[str, pl.Expr]:
        turn = pl.element().struct
        who = turn.field("role").replace_strict({"system": "system", "user": "human", "assistant": "gpt"})
        said = pl.struct(who.alias("from"), turn.field("content").alias("value"))
        return {"conversations": pl.col("conversation").list.eval(said)}
