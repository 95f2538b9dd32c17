"""Hugging Face layout: parquet files by config, and a dataset card whose facts come from the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from m2l import schema
from m2l.exporters.base import Dataset, Exporter
from m2l.process import writing
from m2l.spec import LanguageFacts

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class HuggingFace(Exporter):
    """Write one folder a config, `rejected` and `quarantined` beside them, and `README.md`."""

    def export(self, dataset: Dataset, folder: Path) -> None:
        tables = {**dataset.configs, "rejected": dataset.rejected, "quarantined": dataset.quarantined}
        for name, table in tables.items():
            schema.write(table, folder / name / "train.parquet")
        with writing(folder / "README.md") as part:
            part.write_text(card(dataset), encoding="utf-8")


def card(dataset: Dataset) -> str:
    """Return the dataset card: YAML header and text, all of it from the data."""
    spec, full = dataset.spec, dataset.configs["full_data"]
    licenses = sorted(set(full["license"].to_list()))
    header = [
        "---",
        *_yaml_list("language", sorted({language.bcp47 for language in spec.languages.values()})),
        f"license: {licenses[0].lower() if len(licenses) == 1 and spec.model.license == licenses[0] else 'other'}",
        *_yaml_list("task_categories", ["text-generation", "question-answering", "summarization"]),
        *_yaml_list("size_categories", [_size(full.height)]),
        *_yaml_list("tags", ["synthetic", "multilingual", "multi-turn", "instruction-tuning", "m2l"]),
        "configs:",
        *(
            line
            for name, table in {**dataset.configs, "rejected": dataset.rejected}.items()
            if table.height  # a config without a row cannot be loaded
            for line in (f"  - config_name: {name}", f"    data_files: {name}/train.parquet")
        ),
        "---",
    ]
    return "\n".join([*header, "", *_body(dataset, licenses)]) + "\n"


def _body(dataset: Dataset, licenses: list[str]) -> list[str]:
    spec = dataset.spec
    kept = dataset.configs["full_data"]
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
        f"| `seed_data` | {dataset.configs['seed_data'].height} | seeds |",
        f"| `seed_evol_data` | {dataset.configs['seed_evol_data'].height} | and evolved instructions with an answer |",
        f"| `full_data` | {kept.height} | and multi-turn conversations |",
        f"| `rejected` | {dataset.rejected.height} | what the filters rejected, each row with its `reasons` |",
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
        rows = kept.filter(pl.col("language") == code).height
        counts: Any = dataset.metrics["languages"]
        talk = counts[code]["conversation"]
        lines.append(
            f"| {language.name} (`{code}`) | {rows} | {talk['attempted']} | {talk['kept']} | {_verified(language)} |"
        )
    lines += ["", "## What was rejected", "", "| reason | rows |", "|---|---|"]
    reasons = dataset.rejected.group_by("reason").len().sort("len", "reason", descending=[True, False])
    lines += [f"| `{reason}` | {count} |" for reason, count in reasons.iter_rows()]
    if dataset.quarantined.height:
        lines += ["", f"{dataset.quarantined.height} seed rows could not be used; `quarantined` says why."]
    sources = sorted(set(kept["source"].to_list()))
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
