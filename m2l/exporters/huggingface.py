"""Hugging Face layout: parquet files by config, and a dataset card whose facts come from the data."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from m2l import schema
from m2l.exporters.base import Dataset, Exporter
from m2l.process import writing
from m2l.spec import LanguageFacts

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


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
        with writing(folder / "README.md") as part:
            part.write_text(card(dataset), encoding="utf-8")


def card(dataset: Dataset) -> str:
    """Return the dataset card: YAML header and text, all of it from the data."""
    spec, splits = dataset.spec, dataset.configs["full_data"].values()
    origins = pl.concat(rows.select("source", "license") for rows in splits).unique().collect()
    licenses, sources = sorted(set(origins["license"])), sorted(set(origins["source"]))
    header = [
        "---",
        *_yaml_list("language", sorted({language.bcp47 for language in spec.languages.values()})),
        f"license: {licenses[0].lower() if len(licenses) == 1 and spec.model.license == licenses[0] else 'other'}",
        *_yaml_list("task_categories", ["text-generation", "question-answering", "summarization"]),
        *_yaml_list("size_categories", [_size(dataset.metrics["rows"]["full_data"])]),
        *_yaml_list("tags", ["synthetic", "multilingual", "multi-turn", "instruction-tuning", "m2l"]),
        "configs:",
        *_configs(dataset),
        "---",
    ]
    return "\n".join([*header, "", *_body(dataset, licenses, sources)]) + "\n"


def _configs(dataset: Dataset) -> Iterator[str]:
    """Yield the header's lines on which files hold which config and split; one without a row cannot be loaded."""
    rejected = {"train": dataset.metrics["rejected"]}
    for name, sizes in {**dataset.sizes, "rejected": rejected}.items():
        if any(sizes.values()):
            yield f"  - config_name: {name}"
            yield "    data_files:"
            for split, size in sizes.items():
                if size:
                    yield f"      - split: {split}"
                    yield f"        path: {name}/{split}.parquet"


def _body(dataset: Dataset, licenses: list[str], sources: list[str]) -> list[str]:
    spec, rows, kinds = dataset.spec, dataset.metrics["rows"], dataset.numbers["kinds"]
    lines = [
        f"# {spec.recipe}: multilingual, multi-turn instruction data",
        "",
        f"Made with m2l after the method of M2Lingual (arXiv 2406.16783) from seeds by "
        f"**{spec.model.title}** (`{spec.model.source}`, {spec.model.license}), which wrote every evolved instruction, "
        f"answer and later turn. It is synthetic text: it has passed the filters named below, and no person "
        "has read it all.",
        "",
        "| config | rows | what it holds |",
        "|---|---|---|",
        f"| `seed_data` | {rows['seed_data']} | seeds |",
        f"| `seed_evol_data` | {rows['seed_evol_data']} | and evolved instructions with an answer |",
        f"| `full_data` | {rows['full_data']} | and multi-turn conversations |",
        f"| `rejected` | {dataset.metrics['rejected']} | what the filters rejected, each row with its `reasons` |",
        "",
        "Columns are those of M2Lingual, then ours: `row_id`, `parent_id` and `seed_id` give a row's descent, "
        "`request_keys` the calls that wrote it (`m2l show <row_id>` prints them with every prompt).",
        "",
        "## Languages",
        "",
        "| language | rows | conversations attempted | passed the filters | language verified by |",
        "|---|---|---|---|---|",
    ]
    for code, language in spec.languages.items():
        own = kinds.filter(pl.col("language") == code)
        talk = own.filter(pl.col("kind") == "conversation").select(pl.col("attempted", "kept").sum()).row(0)
        lines.append(
            f"| {language.name} (`{code}`) | {own['sampled'].sum()} | {talk[0]} | {talk[1]} | {_verified(language)} |"
        )
    lines += ["", "## What was rejected", "", "| reason | rows |", "|---|---|"]
    reasons = sorted(dataset.metrics["rejected_for"].items(), key=lambda item: (-item[1], item[0]))
    lines += [f"| `{reason}` | {count} |" for reason, count in reasons]
    if dataset.quarantined.height:
        lines += ["", f"{dataset.quarantined.height} seed rows could not be used; `quarantined` says why."]
    held = dataset.metrics["validation"]
    if held:
        lines += [
            "",
            f"Of `full_data`, {held} rows are held out in the split `validation`: all that descends from seeds which "
            f"a digest chose, a share of {spec.validation:g}. No seed has rows in both splits.",
        ]
    return [
        *lines,
        "",
        "## Sources and licences",
        "",
        f"Seeds: {', '.join(sources)} ({', '.join(licenses)}). Model: {spec.model.source}, {spec.model.license}, "
        f"whose conditions on its output apply. Weights: `{spec.identity.content}`, "
        f"decoded by {spec.identity.backend}.",
        "",
        "```bibtex",
        "@inproceedings{m2lingual,",
        "  title = {M2Lingual: Enhancing Multilingual, Multi-Turn Instruction Alignment in Large Language Models},",
        "  booktitle = {NAACL}, year = {2025}, eprint = {2406.16783}, archivePrefix = {arXiv}",
        "}",
        "```",
    ]


def _verified(language: LanguageFacts) -> str:
    texts = {
        "detectors": "pycld2 or py3langid, and script",
        "script_only": "its script alone",
        "not_verifiable": "nothing: no detector knows it",
    }
    return texts[language.verify.method]


def _yaml_list(key: str, values: Iterable[str]) -> list[str]:
    return [f"{key}:", *(f'  - "{value}"' for value in values)]


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), "n>1M")
