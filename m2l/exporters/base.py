"""What an exporter is, and what it is given."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

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
