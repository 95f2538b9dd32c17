"""Every turn in its language, by the pair of detectors that is right most often over 73 languages."""

from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Filter, each, enough_of_script, expected
from m2l.identify import in_language


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

    def __init__(self, min_letters: int, min_script_share: float) -> None:
        self.min_letters = min_letters
        self.min_script_share = min_script_share

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        known, codes = context.languages, expected(context)
        scripts = {language.script for language in known.values()}
        right_script = {script: enough_of_script(script, self.min_script_share) for script in scripts}

        def right_language(text: str, expected: str) -> bool:
            return any(in_language(text, known[code], self.min_letters) for code in expected.split())

        return {
            "wrong_script": pl.any_horizontal(
                codes.str.contains(code, literal=True)
                & (pl.lit(value=language.verify.method == "not_verifiable") | right_script[language.script])
                for code, language in known.items()
            ),
            "wrong_language": each(right_language, "content", codes),
        }
