"""What a check is, and what it is shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from m2l.spec import Language, LanguageFacts, Seed


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange of a row: everything that a check may look at.

    `instruction` is the first one without what stands below it; `turns` are the contents
    of user and assistant in alternation; `at` is the place of the user turn in question.
    """

    language: Language
    others: Mapping[str, LanguageFacts]
    seed: Seed
    instruction: str
    turns: tuple[str, ...]
    at: int = 0

    @property
    def locale(self) -> str:
        """The language as ICU names it."""
        return self.language.bcp47

    @property
    def question(self) -> str:
        """What the user says."""
        return self.turns[self.at]

    @property
    def answer(self) -> str:
        """What the assistant answers."""
        return self.turns[self.at + 1]

    @property
    def previous(self) -> str:
        """What the assistant answered before."""
        return self.turns[self.at - 1]

    def text(self, field: str) -> str:
        """Return a field of the seed as text; empty where the seed brings none."""
        value = self.seed.fields.get(field, "")
        return value if isinstance(value, str) else "\n".join(value)

    def items(self, field: str) -> tuple[str, ...]:
        """Return a field of the seed as a list; empty where the seed brings none."""
        value = self.seed.fields.get(field, ())
        return (value,) if isinstance(value, str) else value


class Check(ABC):
    """A rule about one exchange; `reason` names it where a row is rejected, and `sentence` says it to a reader.

    A subclass takes the keys of its declaration as keyword arguments. What cannot be
    decided, such as a span of a passage that the seed does not bring apart, holds.
    """

    reason: ClassVar[str]
    sentence: ClassVar[str] = ""

    @abstractmethod
    def holds(self, case: Case) -> bool:
        """Say whether the case is as it should be."""
