"""Seeds: where they are read from, how a row is checked, and what is put aside with its reason."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m2l.digest import digest
from m2l.errors import SeedError
from m2l.spec import Quarantined, Seed, Task
from m2l.text import fold

MAX_CHARACTERS = 20_000


class SeedSource(ABC):
    """A place that seeds come from; a subclass yields raw rows, the base checks them."""

    source: str
    license: str

    @abstractmethod
    def rows(self, root: Path, language: str) -> Iterator[tuple[str, Any]]:
        """Yield (where it stands, the raw row) for one language; a row that is no mapping is malformed.

        Raises SeedError if there is nothing to read.
        """

    def read(self, root: Path, language: str, tasks: dict[str, Task]) -> tuple[list[Seed], list[Quarantined]]:
        """Return the usable seeds of a language, and the rows that are not usable with the reason.

        Rows of tasks that are not asked for are passed over. Raises SeedError if no row is usable.
        """
        seeds: dict[str, Seed] = {}
        aside: list[Quarantined] = []
        where = str(language)
        total = 0
        other = {path.stem for path in (root / "conf" / "task").glob("*.yaml")} - tasks.keys()
        for where, raw in self.rows(root, language):
            total += 1
            if isinstance(raw, dict) and raw.get("task") in other:
                continue
            seed, reason = self._seed(raw, language, tasks)
            if seed is not None and seed.seed_id in seeds:
                seed, reason = None, "the same instruction stands above"
            if seed is None:
                text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
                aside.append(Quarantined(where=where, reason=reason, text=text[:500]))
            else:
                seeds[seed.seed_id] = seed
        if not seeds:
            first = f"; the first: {aside[0].where}: {aside[0].reason}" if aside else ""
            raise SeedError(f"{where}: no usable seed for {language} among {total} rows{first}. Add seeds for it.")
        return list(seeds.values()), aside

    def _seed(self, raw: Any, language: str, tasks: dict[str, Task]) -> tuple[Seed | None, str]:
        if not isinstance(raw, dict):
            return None, "not a JSON object" if not isinstance(raw, str) else "not JSON"
        for key in sorted(raw.keys() - {"task", "instruction", "input", "response"}):
            return None, f"unknown key {key!r}"
        for key in ("task", "instruction", "response"):
            if not isinstance(raw.get(key), str) or not raw[key].strip():
                return None, f"{key} is missing, empty or no text"
        text = raw.get("input")
        if text is not None and (not isinstance(text, str) or not text.strip()):
            return None, "input is empty or no text"
        if raw["task"] not in tasks:
            return None, f"unknown task {raw['task']!r}"
        if tasks[raw["task"]].input != (text is not None):
            return None, "input is missing" if text is None else f"task {raw['task']!r} takes no input"
        parts = [part.strip() for part in (raw["instruction"], text or "", raw["response"])]
        if max(map(len, parts)) > MAX_CHARACTERS:
            return None, f"longer than {MAX_CHARACTERS} characters"
        if any("\0" in part or "�" in part for part in parts):
            return None, "broken characters"
        if fold(parts[0]) == fold(parts[2]):
            return None, "the response repeats the instruction"
        return (
            Seed(
                seed_id=digest([language, raw["task"], parts[0], parts[1]])[:16],
                task=raw["task"],
                instruction=parts[0],
                input=parts[1] or None,
                response=parts[2],
                source=self.source,
                license=self.license,
            ),
            "",
        )


class JsonLines(SeedSource):
    """One JSON object a line: task, instruction, response and, where the task has one, input.

    `path` is relative to the project, below `data/seeds`, where DVC watches it;
    `{language}` in it stands for the language's code.
    """

    def __init__(self, path: str, source: str, license: str) -> None:
        if not path.startswith("data/seeds/") or ".." in Path(path).parts:
            raise ValueError(f"path {path!r} is not below data/seeds, where edits are noticed")
        self.path, self.source, self.license = path, source, license

    def rows(self, root: Path, language: str) -> Iterator[tuple[str, Any]]:
        name = self.path.replace("{language}", language)
        try:
            content = (root / name).read_bytes()
        except OSError as err:
            raise SeedError(f"{name}: {err.strerror}. Write it, one JSON object a line, or drop {language}.") from err
        if not content.strip():
            raise SeedError(f"{name}: empty. Write seeds, one JSON object a line, or drop {language}.")
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                yield where, json.loads(line)
            except ValueError:
                yield where, line.decode("utf-8", errors="replace")
