"""Every turn in its language, by the pair of detectors that is right most often over 73 languages."""

from functools import lru_cache

import polars as pl
import pycld2

from m2l.filters.base import Context, Filter
from m2l.text import clean, script_share

BOOL = pl.Boolean()


class LanguageIdentification(Filter):
    """Reject a turn that neither detector takes for its language, or that is in another script.

    A turn with fewer than `min_letters` letters is checked by its script alone, as is
    one of a language that no detector knows; `min_script_share` is the least share of
    its letters in the language's script.
    """

    def __init__(self, min_letters: int, min_script_share: float) -> None:
        self.min_letters = min_letters
        self.min_script_share = min_script_share

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        script, verify = context.language.script, context.language.verify
        content = pl.col("content")

        def in_script(text: str) -> bool:
            return script_share(text, script) >= self.min_script_share

        def in_language(text: str) -> bool:
            if sum(map(str.isalpha, text)) < self.min_letters:
                return True
            return bool(detected(text) & set(verify.codes))

        rules = {}
        if verify.method != "not_verifiable":
            rules["wrong_script"] = content.map_elements(in_script, return_dtype=BOOL)
        if verify.method == "detectors":
            rules["wrong_language"] = content.map_elements(in_language, return_dtype=BOOL)
        return rules


@lru_cache(maxsize=65536)
def detected(text: str) -> frozenset[str]:
    """Return what pycld2 and py3langid each take a text for; the second is asked for its one answer."""
    import py3langid

    cleaned = clean(text)
    codes = {py3langid.classify(cleaned)[0]}
    try:
        _, _, found = pycld2.detect(cleaned, bestEffort=True)
    except pycld2.error:
        return frozenset(codes)
    return frozenset(codes | {found[0][1]})
