"""What a seed source is: it yields raw rows, and the base makes seeds of them or says why not."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from m2l import templates
from m2l.digest import digest
from m2l.errors import TemplateError
from m2l.spec import ENGLISH, Field, Language, Quarantined, Seed, Task
from m2l.text import fold

MAX_CHARACTERS = 20_000
FOLDER = "data/seeds"

Values = Mapping[str, Any]


class MalformedRowError(Exception):
    """A row that cannot be used; the message is the reason."""


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a source: `values` has task, instruction, input and response, or `problem` says what is wrong.

    `language` is the code of a language of `conf/`, or None if the row names none that is there.
    `where` is for a person to find the row, `origin` for the dataset, so that it does not move with
    others. The instruction of a `self_contained` row holds what its task would bring in fields.
    """

    where: str
    origin: str
    language: str | None
    values: Values
    text: str
    problem: str | None = None
    self_contained: bool = False


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipe asks a source for: languages and tasks, and the names of all that `conf/` has.

    `all_languages` has what a language may be called by, where a source tells by a column.
    """

    languages: dict[str, Language]
    tasks: dict[str, Task]
    all_languages: dict[str, Language]
    all_codes: frozenset[str]
    all_tasks: frozenset[str]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has: seeds and quarantined rows by language; rows of no known language under ""."""

    seeds: dict[str, list[Seed]]
    quarantined: dict[str, list[Quarantined]]


class SeedSource(ABC):
    """A place that seeds come from; it states its `source` and `license`, and as BibTeX whom to cite for it."""

    source: str
    license: str
    citation: str = ""

    @abstractmethod
    def rows(self, root: Path, wanted: Wanted) -> Iterator[Raw]:
        """Yield the rows of the wanted languages, and those of no known language.

        Raises SeedError if there is nothing to read.
        """

    def read(self, root: Path, wanted: Wanted) -> Found:
        """Return the usable seeds by language, and the other rows with the reason.

        Rows of tasks and languages that `conf/` has but the recipe does not ask for are
        passed over; every other row is in one of the two.
        """
        seeds: dict[str, dict[str, Seed]] = {name: {} for name in wanted.languages}
        aside: dict[str, list[Quarantined]] = {name: [] for name in ("", *wanted.languages)}
        other_tasks = wanted.all_tasks - wanted.tasks.keys()
        for raw in self.rows(root, wanted):
            code = raw.language or ""
            if code and code not in wanted.languages:
                continue
            if raw.problem is None and raw.values.get("task") in other_tasks:
                continue
            try:
                if raw.problem is not None:
                    raise MalformedRowError(raw.problem)
                seed = self._seed(raw, code, wanted)
                if seed.seed_id in seeds[code]:
                    raise MalformedRowError("the same instruction stands above")
                seeds[code][seed.seed_id] = seed
            except MalformedRowError as err:
                aside[code].append(Quarantined(where=raw.where, reason=str(err), text=raw.text[:500]))
        return Found(seeds={name: list(found.values()) for name, found in seeds.items()}, quarantined=aside)

    def _seed(self, raw: Raw, language: str, wanted: Wanted) -> Seed:
        values = raw.values
        task_name = values.get("task")
        if not isinstance(task_name, str) or not task_name.strip():
            raise MalformedRowError("task is missing, empty or no text")
        if task_name not in wanted.tasks:
            raise MalformedRowError(f"unknown task {task_name!r}")
        task = wanted.tasks[task_name]
        given = values.get("input")
        fields = {} if raw.self_contained and given is None else _fields(given, task, task_name)
        for key, field in task.fields.items():
            if field.kind == "language" and fields.get(key, "") not in {"", *wanted.all_codes}:
                raise MalformedRowError(f"input {key!r} is no language of conf/language: {fields[key]!r}")
        if values.get("instruction") is None and task.prompt:
            instruction = _prompted(task, language, fields, f"conf/task/{task_name}.yaml")
        else:
            instruction = _text(values, "instruction")
        response = _text(values, "response")
        shown = render(fields, task.fields)
        for part in (instruction, shown, response):
            if len(part) > MAX_CHARACTERS:
                raise MalformedRowError(f"longer than {MAX_CHARACTERS} characters")
            if "\0" in part or "\ufffd" in part:
                raise MalformedRowError("broken characters")
        if fold(instruction) == fold(response):
            raise MalformedRowError("the response repeats the instruction")
        return Seed(
            seed_id=digest([language, task_name, instruction, shown])[:16],
            task=task_name,
            instruction=instruction,
            input=shown or None,
            fields=fields,
            response=response,
            source=self.source,
            license=self.license,
            origin=raw.origin,
        )


def render(fields: Mapping[str, str | tuple[str, ...]], declared: Mapping[str, Field]) -> str:
    """Return what is shown below an instruction: texts as they are, options with letters, a line each."""
    lines: list[str] = []
    for name, field in declared.items():
        value = fields.get(name)
        if field.kind == "text" and isinstance(value, str):
            lines.append(value)
        elif field.kind == "options" and isinstance(value, tuple):
            lines += [f"{chr(ord('A') + number)}. {option}" for number, option in enumerate(value)]
    return "\n".join(lines)


def described(raw: object) -> str:
    """Return a raw row as text, for the quarantine."""
    return raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)


def _text(values: Values, name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise MalformedRowError(f"{name} is missing, empty or no text")
    return value.strip()


def _fields(given: object, task: Task, name: str) -> dict[str, str | tuple[str, ...]]:
    """Return a row's fields as its task declares them; a text alone is the one text of a task that has one."""
    texts = [key for key, field in task.fields.items() if field.kind == "text"]
    if isinstance(given, str) and len(texts) == 1:
        given = {texts[0]: given}
    if given is None:
        given = {}
    elif not task.fields:
        raise MalformedRowError(f"task {name!r} takes no input")
    if not isinstance(given, dict):
        raise MalformedRowError("input has no fields")
    for key in sorted(given.keys() - task.fields.keys()):
        raise MalformedRowError(f"unknown input {key!r}")
    fields: dict[str, str | tuple[str, ...]] = {}
    for key, field in task.fields.items():
        value = given.get(key)
        if value is None and field.kind == "note":
            continue
        if value is None:
            raise MalformedRowError("input is missing" if not given else f"input {key!r} is missing")
        fields[key] = _field(key, value, field)
    return fields


def _field(key: str, value: object, field: Field) -> str | tuple[str, ...]:
    if field.kind in ("options", "labels"):
        items = value if isinstance(value, list | tuple) else ()
        texts = tuple(item.strip() for item in items if isinstance(item, str) and item.strip())
        if len(texts) < 2 or len(texts) != len(items) or len(set(texts)) != len(texts):
            raise MalformedRowError(f"input {key!r} is no list of two or more different texts")
        return texts
    if not isinstance(value, str) or not value.strip():
        raise MalformedRowError(f"input {key!r} is empty or no text")
    return value.strip()


def _prompted(task: Task, language: str, fields: Mapping[str, object], where: str) -> str:
    form = language if language in task.prompt else ENGLISH
    notes = {name: "" for name, field in task.fields.items() if field.kind == "note"}
    try:
        return templates.render(task.prompt[form], notes | dict(fields), where=f"{where}: prompt.{form}")
    except TemplateError as err:
        raise MalformedRowError(str(err)) from err
