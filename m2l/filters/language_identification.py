"""Every turn in its language, by the pair of detectors that is right most often over 73 languages."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from m2l.filters.base import Context, Filter
from m2l.identify import in_language, in_script
from m2l.spec import LanguageFacts

BOOL = pl.Boolean()


class LanguageIdentification(Filter):
    """Reject a turn that neither detector takes for its language, or that is in another script.

    A turn with fewer than `min_letters` letters is checked by its script alone, as is
    one of a language that no detector knows; `min_script_share` is the least share of
    its letters in the language's script. An answer that a task or a variation wants in
    another language is expected in that one.
    """

    def __init__(self, min_letters: int, min_script_share: float) -> None:
        self.min_letters = min_letters
        self.min_script_share = min_script_share

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        turn = pl.struct("kind", "seed_id", "multiturn_evol_type", "position", "content")

        def right_script(row: Mapping[str, Any]) -> bool:
            return any(
                language.verify.method == "not_verifiable" or in_script(row["content"], language, self.min_script_share)
                for language in expected(row, context)
            )

        def right_language(row: Mapping[str, Any]) -> bool:
            return any(in_language(row["content"], language, self.min_letters) for language in expected(row, context))

        return {
            "wrong_script": turn.map_elements(right_script, return_dtype=BOOL),
            "wrong_language": turn.map_elements(right_language, return_dtype=BOOL),
        }


def expected(turn: Mapping[str, Any], context: Context) -> tuple[LanguageFacts, ...]:
    """Return the languages that a turn may be in, mostly the one of its slice.

    The first answer of a task that has a target language is in that one, later ones may
    be; what a variation wants answered in the neighbour language is in that one.
    """
    own, position = context.language, turn["position"]
    if position % 2 == 0:
        return (own,)
    target = context.target(turn["seed_id"])
    if position == 1:
        return (target or own,)
    form = context.variation.get(turn["multiturn_evol_type"])
    if form is not None and form.turns[position // 2 - 1].answer_in == "neighbour":
        return (context.others[own.neighbour.code],)
    return (own, target) if target is not None else (own,)
