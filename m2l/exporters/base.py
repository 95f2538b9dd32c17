"""What an exporter is, and what it is given."""

from abc import ABC, abstractmethod
from pathlib import Path

import msgspec
import polars as pl

from m2l.spec import DatasetSpec


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A sampled dataset: its configs by name, what was rejected or put aside, and the counts."""

    spec: DatasetSpec
    configs: dict[str, pl.DataFrame]
    rejected: pl.DataFrame
    quarantined: pl.DataFrame
    metrics: dict[str, object]


class Exporter(ABC):
    """Writes a dataset in a format that others read."""

    @abstractmethod
    def export(self, dataset: Dataset, folder: Path) -> None:
        """Write the dataset below `folder`; the same dataset always gives the same bytes."""
