"""Turns of a conversation that did what their variation says."""

from typing import ClassVar

from m2l.checks.base import AtMostSimilar, Case, Check
from m2l.identify import in_language, in_script
from m2l.spec import Share
from m2l.text import content_words, words


class Shorter(Check):
    """The answer has at most `max_share` times the words of the one before."""

    reason: ClassVar[str] = "answer_not_shorter"
    sentence: ClassVar[str] = "The user wanted it shorter, and the answer is not."

    def __init__(self, max_share: Share) -> None:
        self.max_share = max_share

    def holds(self, case: Case) -> bool:
        return len(words(case.answer, case.locale)) <= self.max_share * len(words(case.previous, case.locale))


class Longer(Check):
    """The answer has at least `min_share` times the words of the one before."""

    reason: ClassVar[str] = "answer_not_longer"
    sentence: ClassVar[str] = "The user wanted more, and the answer is no longer."

    def __init__(self, min_share: Share) -> None:
        self.min_share = min_share

    def holds(self, case: Case) -> bool:
        return len(words(case.answer, case.locale)) >= self.min_share * len(words(case.previous, case.locale))


class NewAnswer(AtMostSimilar):
    """The answer is at most `max_similarity` similar to the one before, by character trigrams."""

    reason: ClassVar[str] = "answer_unchanged"
    sentence: ClassVar[str] = "The answer is nearly the one before."

    def texts(self, case: Case) -> tuple[str, str]:
        return case.answer, case.previous


class Recalls(Check):
    """The answer has a word of the first message that the question about it does not give away."""

    reason: ClassVar[str] = "nothing_recalled"
    sentence: ClassVar[str] = "The answer recalls nothing of the first message."

    def holds(self, case: Case) -> bool:
        first = content_words(case.turns[:1], case.locale)
        said = content_words([case.answer], case.locale)
        given = content_words([case.question], case.locale)
        return not first or bool((first - given) & said)


class Returns(Check):
    """The user's turn, or the answer to it, has a word of the first exchange: the topic is back."""

    reason: ClassVar[str] = "topic_not_back"
    sentence: ClassVar[str] = "The conversation does not come back to its topic."

    def holds(self, case: Case) -> bool:
        first = content_words(case.turns[:2], case.locale)
        now = content_words([case.question, case.answer], case.locale)
        return not first or bool(first & now)


class InNeighbour(Check):
    """The answer is in the neighbour language."""

    reason: ClassVar[str] = "language_not_changed"
    sentence: ClassVar[str] = "The answer is not in the language that it was to change to."

    def __init__(self, min_script_share: Share) -> None:
        self.min_script_share = min_script_share

    def holds(self, case: Case) -> bool:
        neighbour = case.others.get(case.language.neighbour.code)
        return neighbour is None or (
            in_script(case.answer, neighbour, self.min_script_share) and in_language(case.answer, neighbour)
        )
