"""What can be counted of each attempted row, once and next to its writing: words, turns, cuts, languages."""

from collections import Counter
from collections.abc import Iterable

import polars as pl

from m2l import schema
from m2l.draft import Draft, with_input
from m2l.filters.base import Context
from m2l.identify import MIN_LETTERS, has_letters, in_language, in_script
from m2l.pipeline import Drafts
from m2l.records import FinishReason
from m2l.repair import MIN_SCRIPT_SHARE
from m2l.spec import LanguageFacts, Seed, Slice
from m2l.text import words

INHERITED = 2
"""Turns of a conversation that the evolved instruction above it has already brought."""


def measures(piece: Slice, drafts: Drafts, context: Context) -> pl.DataFrame:
    """Return the table of measures of a slice: a row for each seed and draft, in the order of `row_id`."""
    ruler = _Ruler(piece, context)
    again: dict[str, Counter[str]] = {}
    for draft in drafts.replaced:
        again.setdefault(draft.row_id, Counter()).update(ruler.text(draft, _last(draft)) | {"texts": 1})
    rows = [
        *(ruler.seed(seed) for seed in piece.seeds),
        *(ruler.draft(draft, again.get(draft.row_id, Counter())) for draft in (*drafts.evolved, *drafts.conversations)),
    ]
    rows.sort(key=lambda row: str(row["row_id"]))
    numbers: dict[str, int] = {}
    for row in rows:
        row["words"] = [numbers.setdefault(word, len(numbers)) for word in row["words"]]  # type: ignore[attr-defined]
    return schema.frame(rows, schema.MEASURES)


def _last(draft: Draft) -> int:
    """Return the position of the text that the draft took last."""
    return len(draft.request_keys) - 1


class _Ruler:
    """Measures the rows of one slice."""

    def __init__(self, piece: Slice, context: Context) -> None:
        self.context, self._locale = context, piece.language.bcp47
        self._languages, self._targets = context.languages, context.targets

    def seed(self, seed: Seed) -> dict[str, object]:
        contents = [with_input(seed.instruction, seed.input), seed.response]
        none = dict.fromkeys(name for name, kind in schema.MEASURES.items() if kind == pl.Int32)
        return (
            {"row_id": seed.seed_id, "kind": "seed", "task": seed.task, "task_evol_type": "", "multiturn_evol_type": ""}
            | {name: 0 for name in none}
            | self._lengths(contents)
        )

    def draft(self, draft: Draft, again: Counter[str]) -> dict[str, object]:
        own = range(INHERITED if draft.variation else 0, len(draft.request_keys))
        found = Counter[str]()
        for position in own:
            found.update(self.text(draft, position))
        return {
            "row_id": draft.row_id,
            "kind": "conversation" if draft.variation else "evolved",
            "task": draft.seed.task,
            "task_evol_type": draft.operator,
            "multiturn_evol_type": draft.variation,
            "texts": len(own),
            "truncated": found["truncated"],
            "verified": found["verified"],
            "expected": found["expected"],
            "replaced": again["texts"],
            "replaced_truncated": again["truncated"],
            "replaced_verified": again["verified"],
            "replaced_expected": again["expected"],
        } | self._lengths([turn.content for turn in draft.turns])

    def text(self, draft: Draft, position: int) -> dict[str, int]:
        """Return of one text whether it was cut off, its language could be verified, and was one that it may be in."""
        if position >= len(draft.turns):  # the model wrote nothing
            return {}
        text = draft.turns[position].content if position else draft.instruction
        known = [language for language in self._expected(draft, position) if _verifiable(text, language)]
        return {
            "truncated": int(draft.finish_reasons[position] is FinishReason.LENGTH),
            "verified": int(bool(known)),
            "expected": int(any(_holds(text, language) for language in known)),
        }

    def _expected(self, draft: Draft, position: int) -> list[LanguageFacts]:
        """Return the languages that a text may be in: `filters.base.expected` of one text."""
        own, target = self.context.language_code, self._targets.get(draft.seed.seed_id)
        codes: tuple[str, ...] = (own,)
        if position == 1 and target:
            codes = (target,)
        elif position > 1 and position % 2:
            turn = self.context.variation[draft.variation].turns[position // 2 - 1]
            neighbour = turn.answer_in == "neighbour"
            codes = (self.context.language.neighbour.code,) if neighbour else (own, target) if target else (own,)
        return [self._languages[code] for code in codes]

    def _lengths(self, contents: list[str]) -> dict[str, object]:
        counted = [words(content, self._locale) for content in contents]
        return {
            "no_of_turns": len(contents[::2]),
            "user_words": sum(map(len, counted[::2])),
            "assistant_words": sum(map(len, counted[1::2])),
            "words": _joined(counted),
        }


def _joined(parts: Iterable[tuple[str, ...]]) -> list[str]:
    return [word for part in parts for word in part]


def _verifiable(text: str, language: LanguageFacts) -> bool:
    """Say whether anything can tell the language of a text: no detector is asked about a few letters."""
    return language.verify.method != "not_verifiable" and has_letters(text, MIN_LETTERS)


def _holds(text: str, language: LanguageFacts) -> bool:
    if language.verify.method == "script_only":
        return in_script(text, language, MIN_SCRIPT_SHARE)
    return in_language(text, language)
