"""m2l's own seed files: one JSON object a line, one file a language, the first line about the file itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m2l.errors import SeedError
from m2l.seed_sources.base import FOLDER, Raw, SeedSource, Wanted, described
from m2l.spec import Language

_KEYS = {"task", "instruction", "input", "response"}


class JsonLines(SeedSource):
    """One JSON object a line: task, instruction, response and, where the task has fields, input.

    `path` is relative to the project, below `data/seeds`, where DVC watches it;
    `{language}` in it stands for the language's code. A first line with the key
    `collection` is about the file: its license, its origin, who has reviewed it.
    """

    def __init__(self, path: str, source: str, license: str, citation: str = "") -> None:
        if not path.startswith(f"{FOLDER}/") or ".." in Path(path).parts:
            raise ValueError(f"path {path!r} is not below {FOLDER}, where edits are noticed")
        if "{language}" not in path:
            raise ValueError(f"path {path!r} has no {{language}}; for one table of many languages there is Table")
        self.path, self.source, self.license, self.citation = path, source, license, citation

    def rows(self, root: Path, wanted: Wanted) -> Iterator[Raw]:
        for code, language in wanted.languages.items():
            yield from self._file(root, self.path.replace("{language}", code), code, language)

    def _file(self, root: Path, name: str, code: str, language: Language) -> Iterator[Raw]:
        try:
            content = (root / name).read_bytes()
        except OSError as err:
            raise SeedError(f"{name}: {err.strerror}. Write it, one JSON object a line, or drop {code}.") from err
        if not content.strip():
            raise SeedError(f"{name}: empty. Write seeds, one JSON object a line, or drop {code}.")
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                raw = _parsed(line)
                if number == 1 and isinstance(raw, dict) and "collection" in raw:
                    self._check_header(raw, name, code)
                    continue
                yield Raw(
                    where=f"{name}:{number}",
                    origin=name,
                    language=code,
                    values=raw if isinstance(raw, dict) else {},
                    text=described(raw),
                    problem=_problem(raw),
                )

    def _check_header(self, header: dict[str, Any], name: str, code: str) -> None:
        for key, value in (("language", code), ("license", self.license), ("collection", self.source)):
            if header.get(key) != value:
                raise SeedError(f"{name}:1: {key} is {header.get(key)!r}, expected {value!r}. Correct the first line.")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return line.decode("utf-8", errors="replace")


def _problem(raw: object) -> str | None:
    if not isinstance(raw, dict):
        return "not a JSON object" if not isinstance(raw, str) else "not JSON"
    unknown = sorted(raw.keys() - _KEYS)
    return f"unknown key {unknown[0]!r}" if unknown else None
