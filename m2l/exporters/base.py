"""What an exporter is, and what it is given."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import polars as pl

from m2l.errors import BuildError
from m2l.process import writing
from m2l.spec import DatasetSpec


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A sampled dataset: the rows of its configs by name and split, what was rejected or put aside, and its numbers.

    Rows are lazy: a dataset may be larger than memory, so an exporter sinks or slices
    them and collects no more than it needs. `sizes` has their numbers, `numbers` the
    tables of what was counted, and `metrics` what is said of the whole.
    """

    spec: DatasetSpec
    configs: dict[str, dict[str, pl.LazyFrame]]
    sizes: dict[str, dict[str, int]]
    rejected: pl.LazyFrame
    quarantined: pl.DataFrame
    numbers: dict[str, pl.DataFrame]
    metrics: dict[str, Any]


class Exporter(ABC):
    """Writes a dataset in a format that others read."""

    @abstractmethod
    def export(self, dataset: Dataset, folder: Path) -> None:
        """Write the dataset below `folder`; the same dataset always gives the same bytes."""


class JsonLines(Exporter):
    """Base of the formats with a JSON object a row: one file a split, in a folder that is called as the format is.

    `config` says which of the dataset's configs to write. A line holds what `columns`
    gives, and then what `KEPT` names, so that a row can be traced and its licence is known.
    """

    KEPT: ClassVar[tuple[str, ...]] = ("row_id", "language", "task", "license")
    name: ClassVar[str]

    def __init__(self, config: str) -> None:
        self.config = config

    @abstractmethod
    def columns(self) -> dict[str, pl.Expr]:
        """Return the format's own columns, by name, over the columns of the published rows."""

    def rows(self) -> pl.Expr:
        """Say which rows the format can hold; all of them, unless a subclass knows better."""
        return pl.lit(value=True)

    def export(self, dataset: Dataset, folder: Path) -> None:
        if self.config not in dataset.configs:
            known = ", ".join(dataset.configs)
            raise BuildError(f"conf/exporter/{self.name}.yaml: no config {self.config!r} here. Available: {known}.")
        target = folder / self.name
        for split, rows in dataset.configs[self.config].items():
            with writing(target / f"{split}.jsonl") as part:
                lines = rows.filter(self.rows()).select(**self.columns(), **{name: pl.col(name) for name in self.KEPT})
                try:
                    lines.sink_ndjson(part, maintain_order=True)
                except pl.exceptions.PolarsError as err:
                    reason = str(err).splitlines()[0]
                    raise BuildError(f"{target}: cannot be written ({reason}). Run `dvc repro -f`.") from err
        for path in target.glob("*.jsonl"):
            if path.stem not in dataset.configs[self.config]:
                path.unlink()
