"""What a check is, and what it is shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from m2l.spec import Language, LanguageFacts, Seed, Share
from m2l.text import similarities


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

    def all_hold(self, cases: Sequence[Case]) -> list[bool]:
        """Say of many cases what `holds` says of each; a check that is cheaper so overrides this as well."""
        return [self.holds(case) for case in cases]


class AtMostSimilar(Check):
    """Two texts of a case are at most `max_similarity` similar, by character trigrams."""

    def __init__(self, max_similarity: Share) -> None:
        self.max_similarity = max_similarity

    @abstractmethod
    def texts(self, case: Case) -> tuple[str, str]:
        """Return the two texts."""

    def holds(self, case: Case) -> bool:
        return self.all_hold([case])[0]

    def all_hold(self, cases: Sequence[Case]) -> list[bool]:
        pairs = [self.texts(case) for case in cases]
        found = similarities([one for one, _ in pairs], [other for _, other in pairs])
        return [similarity <= self.max_similarity for similarity in found]
