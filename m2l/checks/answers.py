"""Answers that have the form of their task."""

from difflib import SequenceMatcher
from typing import ClassVar

import regex

from m2l.checks.base import Case, Check
from m2l.identify import in_language, in_script
from m2l.spec import Share
from m2l.text import fold, words

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PARENTHESES = regex.compile(r"[(（][^()（）]*[)）]")
_SEPARATORS = regex.compile(r"[,،、;；\n·•]|，")


class HoldsLabel(Check):
    """One of the labels that the seed names stands in the answer."""

    reason: ClassVar[str] = "no_label"
    sentence: ClassVar[str] = "No label of the task stands in the answer."

    def __init__(self, field: str) -> None:
        self.field = field

    def holds(self, case: Case) -> bool:
        labels = case.items(self.field)
        answer = fold(case.answer)
        return not labels or any(fold(label) in answer for label in labels)


class HoldsOption(Check):
    """The answer begins with the letter of an option, or holds the text of one."""

    reason: ClassVar[str] = "no_option"
    sentence: ClassVar[str] = "The answer names none of the options."

    def __init__(self, field: str) -> None:
        self.field = field

    def holds(self, case: Case) -> bool:
        options = case.items(self.field)
        answer = fold(case.answer)
        letter = regex.match(r"[\s(（]*([A-Z])(?![\p{L}\p{N}])", case.answer)
        lettered = letter is not None and letter[1] in LETTERS[: len(options)]
        return not options or lettered or any(fold(option) in answer for option in options)


class FromText(Check):
    """At least `min_share` of the answer's words stand in a text of the seed."""

    reason: ClassVar[str] = "not_from_text"
    sentence: ClassVar[str] = "Too few words of the answer stand in the text that it is about."

    def __init__(self, field: str, min_share: Share) -> None:
        self.field, self.min_share = field, min_share

    def holds(self, case: Case) -> bool:
        known = set(words(case.text(self.field), case.locale))
        said = words(case.answer, case.locale)
        return not known or not said or sum(word in known for word in said) >= self.min_share * len(said)


class NamesFromText(Check):
    """At least `min_share` of the names that the answer lists stand in a text of the seed.

    What stands in parentheses says what a name is, and counts for none.
    """

    reason: ClassVar[str] = "names_not_in_text"
    sentence: ClassVar[str] = "The answer lists names that the text does not have."

    def __init__(self, field: str, min_share: Share) -> None:
        self.field, self.min_share = field, min_share

    def holds(self, case: Case) -> bool:
        text = fold(case.text(self.field))
        parts = [fold(part) for part in _SEPARATORS.split(_PARENTHESES.sub("", case.answer))]
        names = [part for part in parts if part]
        return not text or (bool(names) and sum(name in text for name in names) >= self.min_share * len(names))


class HoldsNumber(Check):
    """A number in digits, of any script, stands in the answer."""

    reason: ClassVar[str] = "no_number"
    sentence: ClassVar[str] = "The answer has no number."

    def holds(self, case: Case) -> bool:
        return regex.search(r"\p{Nd}", case.answer) is not None


class InLanguageOf(Check):
    """The answer is in the language whose code a field of the seed gives."""

    reason: ClassVar[str] = "not_translated"
    sentence: ClassVar[str] = "The answer is not in the language asked for."

    def __init__(self, field: str, min_script_share: Share) -> None:
        self.field, self.min_script_share = field, min_script_share

    def holds(self, case: Case) -> bool:
        target = case.others.get(case.text(self.field))
        return target is None or (
            in_script(case.answer, target, self.min_script_share) and in_language(case.answer, target)
        )


class ShorterThan(Check):
    """The answer has at most `max_share` times the words of a text of the seed."""

    reason: ClassVar[str] = "not_shorter"
    sentence: ClassVar[str] = "The answer is not shorter than the text."

    def __init__(self, field: str, max_share: Share) -> None:
        self.field, self.max_share = field, max_share

    def holds(self, case: Case) -> bool:
        text = words(case.text(self.field), case.locale)
        return not text or len(words(case.answer, case.locale)) <= self.max_share * len(text)


class ChangesText(Check):
    """The answer is no copy of a text of the seed."""

    reason: ClassVar[str] = "text_unchanged"
    sentence: ClassVar[str] = "The answer is the text, unchanged."

    def __init__(self, field: str) -> None:
        self.field = field

    def holds(self, case: Case) -> bool:
        return fold(case.answer) != fold(case.text(self.field))


class KeepsText(Check):
    """At least `min_share` of the characters of answer and text stand in the same order in both.

    That is twice what matches over the length of both (Ratcliff and Obershelp 1988), for
    which a script needs neither words nor long runs of letters.
    """

    reason: ClassVar[str] = "text_not_kept"
    sentence: ClassVar[str] = "The answer kept too little of the text."

    def __init__(self, field: str, min_share: Share) -> None:
        self.field, self.min_share = field, min_share

    def holds(self, case: Case) -> bool:
        text = fold(case.text(self.field))
        return not text or SequenceMatcher(None, fold(case.answer), text, autojunk=False).ratio() >= self.min_share
