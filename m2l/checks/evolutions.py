"""Evolutions that are one: not a copy, not an answer, and the operator's aim visible where it can be seen."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from m2l.checks.base import AtMostSimilar, Case, Check
from m2l.spec import NotNegative, Positive, Share
from m2l.text import fold, mentions, words


class Changed(AtMostSimilar):
    """The instruction is at most `max_similarity` similar to its seed's, by character trigrams."""

    reason: ClassVar[str] = "evolution_unchanged"
    sentence: ClassVar[str] = "The evolved instruction is nearly its seed."

    def texts(self, case: Case) -> tuple[str, str]:
        return case.instruction, case.seed.instruction


class NoAnswer(AtMostSimilar):
    """The instruction is not the seed's answer: at most `max_similarity` similar to it, and not holding it.

    An answer of under `min_letters` letters and digits may stand in an instruction, as a label does.
    """

    reason: ClassVar[str] = "evolution_is_answer"
    sentence: ClassVar[str] = "The evolved instruction is an answer to its seed."

    def __init__(self, max_similarity: Share, min_letters: Positive) -> None:
        super().__init__(max_similarity)
        self.min_letters = min_letters

    def texts(self, case: Case) -> tuple[str, str]:
        return case.instruction, case.seed.response

    def all_hold(self, cases: Sequence[Case]) -> list[bool]:
        return [
            self._is_label(case) or (unlike and fold(case.seed.response) not in fold(case.instruction))
            for case, unlike in zip(cases, super().all_hold(cases), strict=True)
        ]

    def _is_label(self, case: Case) -> bool:
        return len(fold(case.seed.response)) < self.min_letters


class AddsWords(Check):
    """The instruction has at least `at_least` distinct words that its seed's does not have."""

    reason: ClassVar[str] = "nothing_added"
    sentence: ClassVar[str] = "The evolved instruction adds next to nothing."

    def __init__(self, at_least: NotNegative) -> None:
        self.at_least = at_least

    def holds(self, case: Case) -> bool:
        new = set(words(case.instruction, case.locale)) - set(words(case.seed.instruction, case.locale))
        return len(new) >= self.at_least


class Mentions(Check):
    """The instruction names one of the language's varieties, anchors or formats, or its neighbour."""

    reason: ClassVar[str] = "aim_not_visible"
    sentence: ClassVar[str] = "What the operator was to bring in is not there."

    def __init__(self, what: Literal["variety", "anchor", "format", "neighbour"]) -> None:
        if what not in ("variety", "anchor", "format", "neighbour"):
            raise ValueError(f"what {what!r} is none of variety, anchor, format, neighbour")
        self.what = what

    def holds(self, case: Case) -> bool:
        language = case.language
        terms = {
            "variety": language.varieties,
            "anchor": language.anchors.all,
            "format": language.formats,
            "neighbour": (language.neighbour.name,),
        }[self.what]
        return mentions(case.instruction, terms)
