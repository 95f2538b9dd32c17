"""The protocol of an engine: one method."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from m2l.records import Completion, Request


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """The model that an engine is to use: where its file lies (None: the engine has none) and its name."""

    name: str
    path: Path | None


class Engine(ABC):
    """Turns requests into completions.

    A subclass takes a `ModelFile` first and the keys of its YAML as keyword arguments.
    `local` says whether it needs the model's file; `backend` names what decodes, with
    its version, and becomes part of every key.
    """

    local: bool = True
    going_on: bool = False
    """Set by the caller: later requests will begin with the prompts and answers of those that come next."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model

    @classmethod
    @abstractmethod
    def backend(cls) -> str:
        """Return the name and version of what decodes, without loading it."""

    @classmethod
    def content(cls, model: str, target: dict[str, object]) -> str:
        """Return what stands for the weights in a key when there is no file to digest."""
        return f"{cls.__name__.lower()}:{target.get('model', model)}"

    @classmethod
    def backend_of(cls, target: dict[str, object]) -> str:
        """Return the backend of an engine so declared, where the declaration has a say in what decodes."""
        return cls.backend()

    @classmethod
    def resolved(cls, target: dict[str, object], n_ctx_train: int) -> dict[str, object]:
        """Return its declaration with what follows from the model filled in; a slice holds this one."""
        return target

    @classmethod
    def for_one(cls, target: dict[str, object]) -> dict[str, object]:
        """Return its declaration as it answers a lone request soonest, though perhaps by another text."""
        return target

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Yield (index into `requests`, completion) for each request once, in the order in which they end.

        A request that cannot be answered, such as one that exceeds the context, is a
        completion with `finish_reason` error. Raises EngineError if the engine itself fails.
        """

    def describe(self) -> str:
        """Return one line on how the engine is set, to be printed once."""
        return self.backend()

    def rendered(self, request: Request) -> str | None:
        """Return the text that the model is given for a request; None where a server applies the chat template."""
        return request.prompt if isinstance(request.prompt, str) else None

    def close(self) -> None:
        """Free what the engine holds."""
        return None
