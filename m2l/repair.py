"""Which of a draft's new texts are asked for again: those that fail what can be decided at once.

A text is repaired, by the same request with another rng_seed, if it was cut off or went
round in circles, is empty or
too short for its task, is not in its language, says what was said before or repeats itself,
or fails a check that its task, operator or variation declares. What a filter says is no
reason, so that editing one makes no call.
"""

from m2l.checks.base import Case
from m2l.checks.declared import Declared
from m2l.draft import Draft
from m2l.identify import in_language, in_script
from m2l.records import FinishReason
from m2l.repetition import GOPHER, repeats
from m2l.spec import LanguageFacts, Slice
from m2l.text import fold, words

MIN_SCRIPT_SHARE = 0.6


class Judge:
    """Says of a draft whether the text that it has just taken can stand; one method for each step."""

    def __init__(self, piece: Slice) -> None:
        self.piece = piece
        self._declared = Declared(piece.task, piece.operator, piece.variation)

    def instruction(self, draft: Draft) -> bool:
        """Judge an evolved instruction."""
        if draft.state == "failed":
            return _in_vain(draft)
        return self._sound(draft, draft.instruction, self.piece.language) and not self._declared.instruction(
            self._case(draft), draft.operator
        )

    def answer(self, draft: Draft) -> bool:
        """Judge the answer to an evolved instruction."""
        if draft.state == "failed":
            return _in_vain(draft)
        answer = draft.turns[-1].content
        enough = len(words(answer, self.piece.language.bcp47)) >= self.piece.task[draft.seed.task].min_words
        return (
            enough
            and self._sound(draft, answer, self._target(draft) or self.piece.language)
            and not self._declared.answer(self._case(draft), draft.operator)
        )

    def user_turn(self, draft: Draft) -> bool:
        """Judge what the user says next."""
        if draft.state == "failed":
            return _in_vain(draft)
        return self._sound(draft, draft.turns[-1].content, self.piece.language)

    def assistant_turn(self, draft: Draft) -> bool:
        """Judge the answer to that."""
        if draft.state == "failed":
            return _in_vain(draft)
        number = len(draft.turns) // 2 - 2
        form = self.piece.variation[draft.variation].turns[number]
        language: LanguageFacts | None = self.piece.language
        if form.answer_in == "neighbour":
            language = self.piece.others[self.piece.language.neighbour.code]
        elif self._target(draft) is not None:
            language = None  # in its own language or in the one that it translates into
        return self._sound(draft, draft.turns[-1].content, language) and not self._declared.turn(
            self._case(draft), draft.variation, number
        )

    def _sound(self, draft: Draft, text: str, language: LanguageFacts | None) -> bool:
        if draft.finish_reasons[-1] in (FinishReason.LENGTH, FinishReason.LOOP):
            return False
        if any(fold(text) == fold(turn.content) for turn in draft.turns[:-1]):
            return False
        if repeats(words(text, self.piece.language.bcp47), GOPHER):
            return False
        return language is None or (in_script(text, language, MIN_SCRIPT_SHARE) and in_language(text, language))

    def _target(self, draft: Draft) -> LanguageFacts | None:
        code = self.piece.task[draft.seed.task].target(draft.seed)
        return None if code is None else self.piece.others.get(code)

    def _case(self, draft: Draft) -> Case:
        return Case(
            language=self.piece.language,
            others=self.piece.others,
            seed=draft.seed,
            instruction=draft.instruction,
            turns=tuple(turn.content for turn in draft.turns),
        )


def _in_vain(draft: Draft) -> bool:
    """Say of a draft without a text whether asking again is in vain: an error would be the same again."""
    return draft.finish_reasons[-1] is FinishReason.ERROR
