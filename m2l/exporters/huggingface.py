"""Hugging Face layout: parquet files by config, and a dataset card whose facts come from the data."""

from pathlib import Path

import msgspec

from m2l import schema
from m2l.digest import canonical
from m2l.exporters.base import Dataset, Exporter
from m2l.exporters.card import card
from m2l.process import writing

SPEC = "dataset.json"
"""What the dataset was made by, beside it: from it and the tables everything else can be written again."""


class HuggingFace(Exporter):
    """Write one folder a config with a file a split, `rejected` and `quarantined` beside them, and `README.md`."""

    def export(self, dataset: Dataset, folder: Path) -> None:
        for name, splits in dataset.configs.items():
            for split, rows in splits.items():
                schema.sink(rows, folder / name / f"{split}.parquet", dataset.sizes[name][split])
            for path in (folder / name).glob("*.parquet"):
                if path.stem not in splits:
                    path.unlink()
        schema.sink(dataset.rejected, folder / "rejected" / "train.parquet", dataset.metrics["rejected"])
        schema.write(dataset.quarantined, folder / "quarantined" / "train.parquet")
        with writing(folder / SPEC) as part:
            part.write_bytes(msgspec.json.format(canonical(dataset.spec), indent=1) + b"\n")
        with writing(folder / "README.md") as part:
            part.write_text(card(dataset), encoding="utf-8")
