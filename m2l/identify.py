"""Which language a text is in, by the pair of detectors that is right most often over 73 languages."""

from functools import lru_cache

import pycld2

from m2l.spec import LanguageFacts
from m2l.text import clean, script_share

MIN_LETTERS = 24
"""Under so many letters no detector is asked: it would guess."""


@lru_cache(maxsize=16384)
def shares(text: str) -> tuple[tuple[str, int], ...]:
    """Return the languages that pycld2 finds in a text, each with its per cent of the bytes, largest first."""
    seen = clean(text)
    try:
        _, _, found = pycld2.detect(seen, isPlainText="<" not in seen and "&" not in seen, bestEffort=True)
    except pycld2.error:
        return ()
    return tuple([(code, percent) for _, code, percent, _ in found])  # a list is quicker than a generator


@lru_cache(maxsize=16384)
def second_opinion(text: str) -> str:
    """Return what py3langid takes a text for; it is six times slower, and asked only where pycld2 says no."""
    import py3langid

    return str(py3langid.classify(clean(text))[0])


def has_letters(text: str, least: int) -> bool:
    """Say whether a text has so many letters; mostly its beginning tells."""
    return sum(map(str.isalpha, text[: 2 * least])) >= least or sum(map(str.isalpha, text)) >= least


def in_script(text: str, language: LanguageFacts, min_share: float) -> bool:
    """Say whether at least `min_share` of a text's letters are of the language's script; one without letters is."""
    return not any(map(str.isalpha, text)) or script_share(text, language.script) >= min_share


def in_language(text: str, language: LanguageFacts, min_letters: int = MIN_LETTERS) -> bool:
    """Say whether either detector takes a text for the language.

    A text of fewer than `min_letters` letters, and a language that no detector knows,
    are given the benefit of the doubt.
    """
    if language.verify.method != "detectors":
        return True
    first = shares(text)
    return (
        bool(first and first[0][0] in language.verify.codes)
        or not has_letters(text, min_letters)
        or second_opinion(text) in language.verify.codes
    )
