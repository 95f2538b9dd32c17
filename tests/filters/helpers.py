"""Small tables to filter, and filters with their shipped thresholds."""

from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from m2l import config, schema, spec
from m2l.filters.base import Context, Filter, apply
from m2l.spec import Seed
from tests.conftest import ROOT

ENGLISH = config.load_named(ROOT, "language", "eng_Latn", spec.Language)
SUMMARY = spec.Task(title="", description="", fields={}, answer="", min_words=4, max_tokens=99)
OWN = Seed(
    seed_id="own", task="general", instruction="?", input=None, fields={}, response="", source="", license="", origin=""
)


def shipped(name: str, files: dict[str, str] | None = None) -> Filter:
    """Return a filter with the keys of its YAML, and the files that a slice would name for it."""
    target = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "filter" / f"{name}.yaml"))
    assert isinstance(target, dict)
    keys = {str(key): value for key, value in target.items()}
    return config.instantiate(keys | ({"files": files or {}} if "files" in keys else {}), Filter, where=name)


def context(
    language: str = "eng_Latn",
    examples: tuple[Seed, ...] = (),
    directives: tuple[str, ...] = (),
    seeds: tuple[Seed, ...] = (OWN,),
    root: Path = ROOT,
) -> Context:
    """Return the context of a slice of a shipped language; each directive is one of an operator."""
    declared = config.load_named(ROOT, "language", language, spec.Language)
    other = config.load_named(ROOT, "language", declared.neighbour.code, spec.Language)
    operator = {
        str(number): spec.OperatorForm(family="", applies_to=(), keeps_answer=True, checks=(), prompt=text)
        for number, text in enumerate(directives)
    }
    return Context(
        root=root,
        language_code=language,
        language=declared,
        others={declared.neighbour.code: other.facts},
        task={"general": SUMMARY},
        operator=operator,
        variation={},
        seeds={seed.seed_id: seed for seed in (*seeds, *examples)},
        examples=examples,
    )


def row(*contents: str, kind: str = "conversation", seed: str = "?", reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a row whose turns have these contents, user first."""
    empty: dict[str, Any] = {name: "" for name, dtype in schema.ROWS.items() if dtype == pl.String}
    roles = ("user", "assistant")
    turns = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return empty | {
        "id": 0, "no_of_turns": len(contents) // 2, "conversation": turns, "request_keys": [], "kind": kind,
        "finish_reasons": list(reasons), "attempts": [], "task": "general", "seed_prompt": seed, "seed_id": "own",
        "instruction": contents[0] if contents else "",
    }  # fmt: skip


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return rows as a table, numbered by their ids."""
    numbered = [value | {"row_id": str(number)} for number, value in enumerate(rows)]
    return schema.frame(numbered, schema.ROWS | {"instruction": pl.String})


def reasons(rows: pl.DataFrame, name: str, where: Context, files: dict[str, str] | None = None) -> list[list[str]]:
    """Return the reasons of each row after one shipped filter, and check what holds for every filter."""
    flt = {name: shipped(name, files)}
    kept, rejected = apply(rows, flt, where)
    assert kept.height + rejected.height == rows.height
    again, none = apply(kept, flt, where)
    assert none.is_empty()
    assert again.equals(kept)
    empty = apply(rows.clear(), flt, where)
    assert empty[0].is_empty()
    assert empty[1].is_empty()
    found = dict(rejected.select("row_id", "reasons").iter_rows())
    return [found.get(str(number), []) for number in range(rows.height)]
