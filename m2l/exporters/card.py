"""The card of a dataset: YAML header and text, all of it from the data and from what the data was made by."""

import json
from collections.abc import Iterable, Iterator

import msgspec
import polars as pl

from m2l.digest import digest
from m2l.exporters.base import Dataset
from m2l.spec import LanguageFacts, Target

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_SHORT = 60
"""A setting of more characters is told by its digest."""

_CATEGORIES = {
    "text-generation": (),
    "question-answering": ("question_answering", "reading_comprehension"),
    "multiple-choice": ("multiple_choice", "commonsense_reasoning"),
    "summarization": ("summarization", "headline_generation"),
    "translation": ("translation",),
    "text-classification": ("sentiment_analysis", "topic_classification", "natural_language_inference"),
    "token-classification": ("named_entity_recognition",),
}
"""The categories of the Hugging Face hub, by the tasks that belong to each; what the model writes is in the first."""

_PAPER = r"""@inproceedings{m2lingual,
  title = {M2Lingual: Enhancing Multilingual, Multi-Turn Instruction Alignment in Large Language Models},
  author = {Rishabh Maheshwary and Vikas Yadav and Hoang Nguyen and Khyati Mahajan and Sathwik Tejaswi Madhusudhan},
  booktitle = {NAACL}, year = {2025}, eprint = {2406.16783}, archivePrefix = {arXiv}
}"""


def card(dataset: Dataset) -> str:
    """Return the dataset card."""
    splits = dataset.configs["full_data"].values()
    origins = pl.concat(rows.select("source", "license") for rows in splits).unique().collect()
    licenses, sources = sorted(set(origins["license"])), sorted(set(origins["source"]))
    parts = (
        _made(dataset),
        _languages(dataset),
        _filters(dataset),
        _limits(dataset),
        _rebuild(dataset),
        _prompts(dataset),
        _origins(dataset, licenses, sources),
    )
    return "\n".join([*_header(dataset, licenses), "", *(line for part in parts for line in part)]) + "\n"


def _header(dataset: Dataset, licenses: list[str]) -> Iterator[str]:
    spec = dataset.spec
    tags = sorted({language.bcp47 for language in spec.languages.values()})
    used = [name for name, tasks in _CATEGORIES.items() if not tasks or spec.operators.keys() & {*tasks}]
    yield "---"
    yield f"pretty_name: {_quoted(spec.recipe)}"
    yield from _yaml_list("language", sorted({tag.partition("-")[0] for tag in tags}))
    yield from _yaml_list("language_bcp47", tags)
    if len(licenses) == 1 and spec.model.license == licenses[0]:
        yield f"license: {licenses[0].lower()}"
    else:
        yield "license: other"
        yield f"license_name: {_quoted(' and '.join([*licenses, spec.model.license]))}"
    yield from _yaml_list("task_categories", used)
    yield from _yaml_list("size_categories", [_size(dataset.metrics["rows"]["full_data"])])
    yield from _yaml_list("tags", ["synthetic", "multilingual", "multi-turn", "instruction-tuning", "m2l"])
    yield "configs:"
    yield from _configs(dataset)
    yield "---"


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


def _made(dataset: Dataset) -> Iterator[str]:
    spec, sizes, rows = dataset.spec, dataset.sizes, dataset.metrics["rows"]
    yield f"# {spec.recipe}: multilingual, multi-turn instruction data"
    yield ""
    yield (
        f"Made with m2l after the method of M2Lingual (arXiv 2406.16783) from seeds by **{spec.model.title}** "
        f"(`{spec.model.source}`, {spec.model.license}), which wrote every evolved instruction, answer and later "
        "turn. It is synthetic text: it has passed the filters named below, and no person has read it all."
    )
    yield ""
    yield from _table(
        ("config", "rows", "train", "validation", "what it holds"),
        [
            (f"`{name}`", rows[name], sizes[name].get("train", 0), sizes[name].get("validation", 0), what)
            for name, what in (
                ("seed_data", "seeds"),
                ("seed_evol_data", "and evolved instructions with an answer"),
                ("full_data", "and multi-turn conversations"),
            )
        ]
        + [
            (
                "`rejected`",
                dataset.metrics["rejected"],
                "",
                "",
                "what the filters rejected, each row with its `reasons`",
            )
        ],
    )
    yield ""
    yield (
        "Columns are those of M2Lingual, then ours: `row_id`, `parent_id` and `seed_id` give a row's descent, "
        "`request_keys` the calls that wrote it (`m2l show <row_id>` prints them with every prompt)."
    )
    if dataset.metrics["validation"]:
        yield ""
        yield (
            f"Of `full_data`, {dataset.metrics['validation']} rows are held out in the split `validation`: all that "
            f"descends from seeds which a digest chose, a share of {spec.validation:g}. No seed has rows in both."
        )
    yield ""


def _languages(dataset: Dataset) -> Iterator[str]:
    kinds = dataset.numbers["kinds"]
    rows = []
    for code, language in dataset.spec.languages.items():
        own = kinds.filter(pl.col("language") == code)
        talk = own.filter(pl.col("kind") == "conversation").select(pl.col("attempted", "kept").sum()).row(0)
        share = f"{talk[1] / talk[0]:.0%}" if talk[0] else ""
        name = f"{language.name} (`{code}`)"
        rows.append((name, own["sampled"].sum(), talk[0], talk[1], share, _verified(language)))
    head = ("language", "rows", "conversations attempted", "passed the filters", "yield", "language verified by")
    yield from ("## Languages", "", *_table(head, rows), "")


def _filters(dataset: Dataset) -> Iterator[str]:
    spec = dataset.spec
    settings = [(f"`{name}`", _settings(target)) for name, target in sorted(spec.filter.items())]
    yield from (
        "## Filters",
        "",
        "A row is kept if it passes all of them; else it is in `rejected`, with its `reasons`.",
        "",
    )
    yield from _table(("filter", "settings"), settings)
    reasons = sorted(dataset.metrics["rejected_for"].items(), key=lambda item: (-item[1], item[0]))
    yield from ("", "What was rejected, seeds included:", "")
    yield from _table(("reason", "rows"), [(f"`{reason}`", count) for reason, count in reasons])
    if dataset.quarantined.height:
        yield from ("", f"{dataset.quarantined.height} seed rows could not be used; `quarantined` says why.")
    yield ""


def _limits(dataset: Dataset) -> Iterator[str]:
    spec = dataset.spec
    yield from ("## Limits", "")
    yield "- No filter can tell whether an answer is true, helpful or harmless. No person has read all of it."
    for method, what in (
        ("not_verifiable", "by nothing: no detector knows it"),
        ("script_only", "by its script alone"),
    ):
        names = [f"{name.name} (`{code}`)" for code, name in spec.languages.items() if name.verify.method == method]
        if names:
            yield f"- The language of a text was verified {what}: {', '.join(names)}."
    for code, language in spec.languages.items():
        if language.verify.note:
            yield f"- {language.name} (`{code}`): {_one_line(language.verify.note)}"
    share = dataset.metrics.get("verifiable")
    if share is not None:
        yield (
            f"- Of the texts that were kept, {share:.0%} (the mean over languages) are long enough, and in a language "
            "that can be told, to be verified at all."
        )
    short = dataset.metrics["short_rows"]
    if any(short.values()):
        yield (
            f"- Cells have fewer rows than their share of the quota: {short['task']} rows are missing by task, "
            f"{short['operator']} by operator, {short['variation']} by variation (`numbers/shortfalls.csv`)."
        )
    yield ""


def _rebuild(dataset: Dataset) -> Iterator[str]:
    spec = dataset.spec
    yield from ("## How it was made, and how to make it again", "")
    facts = [
        ("recipe", f"`{spec.recipe}`"),
        ("model", f"{spec.model.title}, `{spec.model.source}`"),
        ("file", f"`{spec.model.file}`, `{spec.identity.content}`"),
        ("quantisation", spec.quantisation or "not known: no file of it was read"),
        ("chat template", f"`{spec.identity.chat_template}`" if spec.identity.chat_template else "none"),
        ("decoded by", spec.identity.backend),
        ("sampling", _settings(msgspec.to_builtins(spec.model.sampling))),
        ("code", f"`{spec.code}`, a digest of the sources that the sample depends on"),
    ]
    yield from _table(("", ""), facts)
    yield ""
    languages = ",".join(spec.languages)
    yield from ("```sh", f"m2l plan recipe={spec.recipe} model={spec.model.name} 'language=[{languages}]'", "```")
    yield ""
    yield (
        "says in a clone of the project what that costs; with the same in `params.yaml`, `dvc repro` makes it. With "
        "the same store of completions (`m2l store import`) the same rows come out; without it the model is asked "
        "again, and another machine may write other texts. `dataset.json` holds all settings and digests."
    )
    yield ""


def _prompts(dataset: Dataset) -> Iterator[str]:
    prompts = dataset.spec.prompts
    yield from ("## Prompts", "")
    yield (
        f"Digests of the {len(prompts)} declarations that prompts are made of, each over its forms in all of these "
        "languages. The directive itself stands in `task_evol_prompt` and `multiturn_evol_prompt` of each row."
    )
    yield from ("", "<details><summary>All digests</summary>", "")
    yield from _table(
        ("declaration", "digest"), [(f"`{name}`", f"`{value}`") for name, value in sorted(prompts.items())]
    )
    yield from ("", "</details>", "")


def _origins(dataset: Dataset, licenses: list[str], sources: list[str]) -> Iterator[str]:
    spec = dataset.spec
    yield from ("## Sources, licences and citations", "")
    yield (
        f"Seeds: {', '.join(sources)} ({', '.join(licenses)}). Model: {spec.model.source}, {spec.model.license}, "
        "whose conditions on its output apply."
    )
    yield from ("", "```bibtex", _PAPER)
    for text in dict.fromkeys(spec.citations[name].strip() for name in sources if name in spec.citations):
        yield from ("", text)
    yield "```"


def _verified(language: LanguageFacts) -> str:
    texts = {
        "detectors": "pycld2 or py3langid, and script",
        "script_only": "its script alone",
        "not_verifiable": "nothing: no detector knows it",
    }
    return texts[language.verify.method]


def _settings(target: Target) -> str:
    """Return the keys of a declaration on one line; a long value by its digest."""
    found = []
    for name, value in sorted(target.items()):
        if name != "_target_":
            text = json.dumps(value, ensure_ascii=False, sort_keys=True)
            shown = text if len(text) <= _SHORT else f"{digest(value)[:12]} (digest)"
            found.append(f"{name} {shown}")
    return ", ".join(found) or "none"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield a table; a cell is one line and holds no bar."""
    titles = list(head)
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield f"| {' | '.join(_one_line(str(cell)).replace('|', chr(92) + '|') for cell in row)} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _yaml_list(key: str, values: Iterable[str]) -> list[str]:
    return [f"{key}:", *(f"  - {_quoted(value)}" for value in values)]


def _quoted(text: str) -> str:
    """Return a text as YAML reads it, which takes JSON's form."""
    return json.dumps(text, ensure_ascii=False)


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), "n>1M")
