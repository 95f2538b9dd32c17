"""Any table as a seed source: JSON lines, CSV, TSV or parquet, with a mapping of its columns."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from m2l import templates
from m2l.errors import SeedError, TemplateError
from m2l.seed_sources.base import FOLDER, Raw, SeedSource, Wanted, described
from m2l.spec import Language

Row = Mapping[str, Any]


class Table(SeedSource):
    """Rows of a table, made into seeds by templates over their columns.

    `path` is a file, or a pattern of files, below `data/seeds`, where DVC watches it.
    `language` is a template for the row's language, looked up in `languages` and then
    among the codes and names that `conf/language` declares. `task` is a template too,
    looked up in `tasks` where that is given. `instruction` null takes the task's own
    `prompt`; `input` maps the task's fields to templates, or to a list of them, or to
    the name of a column that holds a list (`column: name`). With `self_contained` the
    instruction holds it all, and the fields stay empty. `id` names a row for its origin.
    """

    def __init__(
        self,
        path: str,
        source: str,
        license: str,
        language: str,
        task: str,
        response: str,
        instruction: str | None = None,
        input: Mapping[str, Any] | None = None,
        languages: Mapping[str, str] | None = None,
        tasks: Mapping[str, str] | None = None,
        id: str | None = None,
        self_contained: bool = False,
        citation: str = "",
    ) -> None:
        if not path.startswith(f"{FOLDER}/") or ".." in Path(path).parts:
            raise ValueError(f"path {path!r} is not below {FOLDER}, where edits are noticed")
        self.path, self.source, self.license, self.citation = path, source, license, citation
        self.language, self.task, self.response, self.instruction = language, task, response, instruction
        self.input, self.languages, self.tasks, self.id = input or {}, languages or {}, tasks or {}, id
        self.self_contained = self_contained

    def rows(self, root: Path, wanted: Wanted) -> Iterator[Raw]:
        codes = {**_names(wanted.all_languages), **{_key(name): code for name, code in self.languages.items()}}
        for path in self.files(root):
            name = str(path.relative_to(root))
            for number, raw in _read(path, name):
                yield self._raw(raw, name, number, codes)

    def files(self, root: Path) -> list[Path]:
        """Return the files that `path` stands for; raises SeedError if there is none."""
        found = sorted(path for path in root.glob(self.path) if path.is_file())
        if not found:
            raise SeedError(f"{self.path}: no such file. {self.advice()}")
        return found

    def advice(self) -> str:
        """Return what to do if there is no file."""
        return "Put it there, or drop the seed source."

    def _raw(self, raw: object, name: str, number: int, codes: Mapping[str, str]) -> Raw:
        text, where = described(raw), f"{name}:{number}"
        problem = None
        language: str | None = None
        values: dict[str, Any] = {}
        origin = name
        if not isinstance(raw, dict):
            problem = "not JSON" if isinstance(raw, str) else "not a JSON object"
        else:
            raw = {column: "" if value is None else value for column, value in raw.items()}  # no cell reads "None"
            try:
                given = _render(self.language, raw)
                language = codes.get(_key(given))
                if language is None:
                    problem = f"no conf/language for {given!r}"
                else:
                    values = self._values(raw)
                    origin = f"{name}#{_render(self.id, raw)}" if self.id else name
            except TemplateError as err:
                problem = str(err)
        return Raw(
            where=where,
            origin=origin,
            language=language,
            values=values,
            text=text,
            problem=problem,
            self_contained=self.self_contained,
        )

    def _values(self, raw: Row) -> dict[str, Any]:
        task = _render(self.task, raw)
        return {
            "task": self.tasks.get(task, task),
            "instruction": None if self.instruction is None else _render(self.instruction, raw),
            "input": {name: _value(form, raw) for name, form in self.input.items()} or None,
            "response": _render(self.response, raw),
        }


def _render(template: str, row: Row) -> str:
    if "{" not in template:
        return template
    return templates.render(template, row, where="a column")


def _value(form: Any, row: Row) -> Any:
    if isinstance(form, Mapping):
        return row.get(str(form.get("column")))
    if isinstance(form, list | tuple):
        return [_render(item, row) for item in form]
    return _render(form, row)


def _key(name: str) -> str:
    return name.strip().casefold()


def _names(languages: Mapping[str, Language]) -> dict[str, str]:
    """Return the code of each language by all its names; of two that share a name, the first has it.

    A name without its script comes last, so that `zh` is simplified Chinese, as CLDR's
    likely subtags have it, and `zho_Hant` keeps what is its own.
    """
    found: dict[str, str] = {}
    for code, language in languages.items():
        iso = language.iso639_3
        for name in (code, iso, f"{iso}_{language.script}", language.bcp47, language.name, language.own_name):
            found.setdefault(_key(name), code)
    for code, language in languages.items():
        for name in (code.partition("_")[0], language.bcp47.partition("-")[0]):
            found.setdefault(_key(name), code)
    return found


def _read(path: Path, name: str) -> Iterator[tuple[int, object]]:
    """Yield (number of line or row, raw row) of a file; raises SeedError if it is no table."""
    kind = path.suffix.removeprefix(".").lower()
    try:
        if kind in ("jsonl", "ndjson", "json"):
            yield from _json_lines(path)
        elif kind in ("csv", "tsv"):
            yield from _separated(path, "\t" if kind == "tsv" else ",")
        elif kind == "parquet":
            yield from enumerate(pl.read_parquet(path).iter_rows(named=True), start=1)
        else:
            raise SeedError(f"{name}: .{kind} is no kind of table. Use .jsonl, .csv, .tsv or .parquet.")
    except (OSError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as err:
        raise SeedError(f"{name}: cannot be read ({str(err).splitlines()[0]}). Get the file again.") from err


def _json_lines(path: Path) -> Iterator[tuple[int, object]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, line.decode("utf-8", errors="replace").strip()


def _separated(path: Path, delimiter: str) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter)
        for row in reader:
            extra = row.pop(None, None)
            short = [name for name, value in row.items() if value is None]
            problem = extra is not None or short
            yield reader.line_num, [*row.values()] if problem else dict(row)
