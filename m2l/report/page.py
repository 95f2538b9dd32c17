"""The page: one file that opens from the disk, asks nothing of the network, and runs nothing that was generated."""

import base64
import hashlib
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from m2l import export
from m2l.build import DIST, TABLES
from m2l.exporters.base import Dataset
from m2l.lineage import PAGE as PAGE
from m2l.process import writing
from m2l.report import reader
from m2l.report.cost import cost
from m2l.report.figures import Figure, figures
from m2l.report.sentences import sentences
from m2l.spec import DatasetSpec

MOST_BYTES = 4_900_000
"""What the page may take, so that it opens at once and can be mailed; rows get what figures and tables leave."""


def write(root: Path, data: Path, to: Path) -> int:
    """Write the report on the dataset in a folder to the file `to`; return how many bytes it has.

    Raises BuildError if there is no dataset, or the file cannot be written.
    """
    own = data.resolve() == (root / DIST).resolve()
    content = page(root, export.read(data), own=own).encode()
    with writing(to) as part:
        part.write_bytes(content)
    return len(content)


def page(root: Path, dataset: Dataset, *, own: bool) -> str:
    """Return the page on a dataset; `own` says whether it is the one that the project's tables were built for.

    The store knows the prompts of any dataset that was made with it, and what the project's own took.
    """
    spent = cost(root, list(dataset.spec.languages) if own else [])
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "share": _share}
    style, script = _part("style.css"), _part("report.js")
    render = partial(
        environment.from_string(_part("template.html")).render,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        spec=dataset.spec,
        metrics=dataset.metrics,
        talks=_talks(dataset),
        sections=_sections(figures(dataset, spent)),
        cost=spent,
    )
    rest = render(data=Markup(reader.embedded(_data(root, dataset, reader.Reading([], [], 0)))), shown=0, total=0)
    reading = reader.read(root, dataset, budget=MOST_BYTES - len(rest.encode()), tables=root / TABLES if own else None)
    data = Markup(reader.embedded(_data(root, dataset, reading)))
    return render(data=data, shown=len(reading.rows), total=reading.total)


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy under which just this style and this script count, and nothing is asked for."""
    allowed = (f"style-src {_hash(style)}", f"script-src {_hash(script)}", "img-src data:")
    return "; ".join(("default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"))


def _data(root: Path, dataset: Dataset, reading: reader.Reading) -> dict[str, Any]:
    """Return what the script reads."""
    reasons = {reason for row in reading.rows for reason in row.get("reasons", ())}
    return {
        "languages": _languages(dataset.spec),
        "sentences": dict(sorted(sentences(root, reasons).items())),
        "filters": sorted(dataset.spec.filter),
        "model": dataset.spec.model.title,
        "lines": reading.lines,
        "rows": reading.rows,
        "total": reading.total,
    }


def _languages(spec: DatasetSpec) -> dict[str, list[str]]:
    return {
        code: [language.name, language.own_name, language.bcp47, language.direction]
        for code, language in spec.languages.items()
    }


def _talks(dataset: Dataset) -> tuple[int, int]:
    """Return how many conversations were kept, and of how many."""
    own = dataset.numbers["kinds"].filter(pl.col("kind") == "conversation")
    return int(own["kept"].sum()), int(own["attempted"].sum())


def _sections(drawn: list[Figure]) -> list[tuple[str, str, list[Figure]]]:
    """Return the figures below the headings of the page."""
    headings = {
        "coverage": ("Coverage", ("coverage",)),
        "yield": ("What was kept", ("funnel", "kept-languages", "kept-tasks", "kept-variations", "reasons")),
        "lengths": ("Turns and lengths", ("turns", "words", "characters")),
        "diversity": ("Diversity", ("diversity",)),
        "cost": ("Throughput and cost", ("tokens",)),
    }
    by_name = {figure.name: figure for figure in drawn}
    return [
        (anchor, heading, [by_name[name] for name in names if name in by_name])
        for anchor, (heading, names) in headings.items()
    ]


def _part(name: str) -> str:
    return (files("m2l.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source of a Content-Security-Policy that allows just this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _number(value: object) -> str:
    """Return a number as a person reads it; nothing for one that is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
