"""Messages: JSON lines with a list of roles and contents, as TRL and most chat templates read them."""

from typing import ClassVar

import polars as pl

from m2l.exporters.base import JsonLines


class Messages(JsonLines):
    """Write each conversation as `messages`, the conversational format of TRL's SFTTrainer."""

    name: ClassVar[str] = "messages"

    def columns(self) -> dict[str, pl.Expr]:
        return {"messages": pl.col("conversation")}
