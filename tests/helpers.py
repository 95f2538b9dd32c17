"""What several tests need: building a project and looking at what came out."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from m2l import assemble, build, config, slices
from m2l.engine.base import Engine, ModelFile
from m2l.engine.fake import sample_words
from m2l.records import Completion, Request
from m2l.spec import Slice

NO_MODEL = ModelFile(name="counting", path=None)


class Counting(Engine):
    """The fake engine, remembering every request, and failing after `limit` completions."""

    local = False

    def __init__(self, model: ModelFile = NO_MODEL, limit: int | None = None) -> None:
        super().__init__(model)
        self.requests: list[Request] = []
        self.limit = limit

    @classmethod
    def backend(cls) -> str:
        return "counting 1"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            if self.limit is not None and len(self.requests) >= self.limit:
                raise PowerCutError
            self.requests.append(request)
            yield index, sample_words(request)


class PowerCutError(Exception):
    """The process ends here."""


def compose(root: Path, *overrides: str) -> slices.Composed:
    """Compose a project with the overrides of its params.yaml and more."""
    return slices.compose(root, config.effective_overrides(config.read_params(root), overrides))


def piece(root: Path, *overrides: str, language: str = "eng_Latn") -> Slice:
    """Return the slice of a language."""
    return compose(root, *overrides).slices[language]


def run(root: Path, *overrides: str, limit: int | None = None) -> list[Request]:
    """Build everything and return the requests that reached the engine."""
    engine = Counting(limit=limit)
    assemble.run_all(root, compose(root, *overrides), tables=build.TABLES, dist=build.DIST, engine=engine)
    return engine.requests


def tree(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Slow(Counting):
    """The counting engine, 20 ms a call, so that a test can come in between; it notes each call in a file."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, completion in super().generate(requests):
            time.sleep(0.02)
            with Path("calls.txt").open("a", encoding="ascii") as file:
                file.write(requests[index].key + "\n")
            yield index, completion


class Stuck(Slow):
    """The slow engine, whose sixth call takes a minute inside one step that no signal handler comes into."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, completion in super().generate(requests):
            if len(self.requests) == 6:
                hashlib.pbkdf2_hmac("sha512", b"a", b"b", 100_000_000)
            yield index, completion


class Brief(Counting):
    """The counting engine, 2 ms a call, which notes each call in a file."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, completion in super().generate(requests):
            time.sleep(0.002)
            with Path("calls.txt").open("a", encoding="ascii") as file:
                file.write(requests[index].key + "\n")
            yield index, completion
