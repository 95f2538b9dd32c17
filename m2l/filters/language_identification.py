"""Every turn in its language, by the pair of detectors that is right most often over 73 languages."""

from functools import partial
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each, enough_of_script, expected
from m2l.identify import in_language
from m2l.spec import LanguageFacts, Positive, Share


class LanguageIdentification(Filter):
    """Reject a turn that neither detector takes for its language, or that is in another script.

    A turn with fewer than `min_letters` letters is checked by its script alone, as is
    one of a language that no detector knows; `min_script_share` is the least share of
    its letters in the language's script. An answer that a task or a variation wants in
    another language is expected in that one.
    """

    sentences: ClassVar[dict[str, str]] = {
        "wrong_script": "A turn is not in the script of its language.",
        "wrong_language": "A turn is not in its language: neither detector takes it for that.",
    }

    def __init__(self, min_letters: Positive, min_script_share: Share) -> None:
        self.min_letters = min_letters
        self.min_script_share = min_script_share

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        known, codes = context.languages, expected(context)
        trusted = [code for code, language in known.items() if language.verify.method == "not_verifiable"]
        written_in = {
            script: [code for code in known if known[code].script == script and code not in trusted]
            for script in sorted({language.script for language in known.values()})
        }

        def among(some: list[str]) -> pl.Expr:
            return pl.any_horizontal(pl.lit(value=False), *(codes.str.contains(code, literal=True) for code in some))

        return {
            "wrong_script": among(trusted)
            | pl.any_horizontal(
                among(some) & enough_of_script(script, self.min_script_share, among(some))
                for script, some in written_in.items()
            ),
            "wrong_language": pl.any_horizontal(
                among([code]) & each(partial(self._holds, language), "content", where=among([code]))
                for code, language in known.items()
            ),
        }

    def _holds(self, language: LanguageFacts, text: str) -> bool:
        return in_language(text, language, self.min_letters)
