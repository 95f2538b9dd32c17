"""A dataset that lies built, read back, so that it can be exported in another format without building again."""

from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import config, schema
from m2l.assemble import CONFIGS, NUMBERS
from m2l.errors import BuildError
from m2l.exporters.base import Dataset, Exporter
from m2l.exporters.huggingface import SPEC
from m2l.parts import SPLITS
from m2l.spec import DatasetSpec, Target

EXPORTS = Path("data/export")

_TEXT = {"language": pl.String, "kind": pl.String, "task": pl.String, "operator": pl.String, "variation": pl.String}


def export(root: Path, name: str, data: Path, to: Path) -> None:
    """Write the dataset in `data` below `to`, in the format of `conf/exporter/<name>.yaml`.

    Raises ConfigError for a format that is not declared, BuildError if `data` holds no dataset.
    """
    target = config.load_named(root, "exporter", name, Target)
    exporter = config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml")
    exporter.export(read(data), to)


def read(folder: Path) -> Dataset:
    """Return the dataset that the exporter `huggingface` wrote to a folder, its rows lazy.

    Raises BuildError if a part of it is missing or is not what was expected.
    """
    try:
        spec = msgspec.json.decode((folder / SPEC).read_bytes(), type=DatasetSpec)
        metrics: dict[str, Any] = msgspec.json.decode((folder / "metrics.json").read_bytes())
        configs = {
            name: {split: _scan(path) for split in SPLITS if (path := folder / name / f"{split}.parquet").is_file()}
            for name in CONFIGS
        }
        return Dataset(
            spec=spec,
            configs=configs,
            sizes={name: {split: _size(rows) for split, rows in found.items()} for name, found in configs.items()},
            rejected=_scan(folder / "rejected" / "train.parquet", schema.REJECTED),
            quarantined=_scan(folder / "quarantined" / "train.parquet", schema.QUARANTINED).collect(),
            numbers={path.stem: _numbers(path) for path in sorted((folder / NUMBERS).glob("*.csv"))},
            metrics=metrics,
        )
    except (OSError, msgspec.MsgspecError, pl.exceptions.PolarsError) as err:
        reason = str(err).splitlines()[0].rstrip(".")
        if isinstance(err, OSError) and err.filename:
            reason = f"{Path(err.filename).name}: {err.strerror}"
        raise BuildError(f"{folder}: no dataset that can be read ({reason}). Make it with `dvc repro`.") from err


def _scan(path: Path, columns: dict[str, Any] | None = None) -> pl.LazyFrame:
    rows = pl.scan_parquet(path, glob=False)
    if rows.collect_schema() != pl.Schema(schema.ROWS if columns is None else columns):
        raise BuildError(f"{path}: not the table that was expected. Make it again with `dvc repro -f`.")
    return rows


def _size(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())


def _numbers(path: Path) -> pl.DataFrame:
    """Return a table of numbers; what names a cell is text, even where no row tells."""
    table = pl.read_csv(path, schema_overrides=_TEXT, infer_schema_length=None)
    return table.with_columns(pl.col(name).fill_null("") for name in _TEXT if name in table.columns)
