"""Which language a text is in, by the pair of detectors that is right most often over 73 languages."""

from functools import lru_cache

import pycld2

from m2l.spec import LanguageFacts
from m2l.text import clean, script_share

MIN_LETTERS = 24
"""Under so many letters no detector is asked: it would guess."""


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


def in_script(text: str, language: LanguageFacts, min_share: float) -> bool:
    """Say whether at least `min_share` of a text's letters are of the language's script; one without letters is."""
    return not any(map(str.isalpha, text)) or script_share(text, language.script) >= min_share


def in_language(text: str, language: LanguageFacts, min_letters: int = MIN_LETTERS) -> bool:
    """Say whether either detector takes a text for the language.

    A text of fewer than `min_letters` letters, and a language that no detector knows,
    are given the benefit of the doubt.
    """
    if language.verify.method != "detectors" or sum(map(str.isalpha, text)) < min_letters:
        return True
    return bool(detected(text) & set(language.verify.codes))
