"""Text in every script: words by ICU, scripts by Unicode, and one way of folding for comparison."""

import unicodedata
from functools import lru_cache

import icu4py.breakers as breakers
import polars as pl
import regex

_LETTER = regex.compile(r"[\p{L}\p{N}]")
_UNREAD = regex.compile(r"(?:[^\p{L}\p{M}\p{N}]|[\u0610-\u061A\u064B-\u065F\u0670\u06D6-\u06ED])+")
_CONTROL = regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}]")
_SPACE = regex.compile(r"\s+")
_SPLIT = regex.compile(r"[\s(),/]+")

SCRIPTS = {"Hans": ("Han",), "Hant": ("Han",), "Jpan": ("Han", "Hiragana", "Katakana"), "Hang": ("Hangul", "Han")}
"""ISO 15924 codes that stand for more, or other, than one Unicode script."""

NO_SPACES = ("Hans", "Hant", "Jpan", "Mymr", "Thai")
"""Scripts that set no space between words."""

_UNICODE_NAMES = {
    "Latn": "Latin", "Deva": "Devanagari", "Arab": "Arabic", "Cyrl": "Cyrillic", "Beng": "Bengali",
    "Ethi": "Ethiopic", "Grek": "Greek", "Gujr": "Gujarati", "Guru": "Gurmukhi", "Knda": "Kannada",
    "Mlym": "Malayalam", "Mymr": "Myanmar", "Sinh": "Sinhala", "Taml": "Tamil", "Telu": "Telugu", "Thai": "Thai",
}  # fmt: skip


_A, _N = r"[\p{L}\p{Nl}][\p{M}\p{Cf}]*", r"\p{Nd}[\p{M}\p{Cf}]*"
_WORD = rf"(?:(?:{_A})+(?:['’‘.·‧․:](?:{_A})+)*|(?:{_N})+(?:[.,;'’‘](?:{_N})+)*|_[\p{{M}}\p{{Cf}}]*)+|\p{{No}}"
"""A word by the rules of UAX #29 for scripts with spaces between words, without a dictionary."""

_NEEDS_ICU = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{So}]"
_LOWER, _FOLDED = ["ß", "ẞ", "ς", "և"], ["ss", "ss", "σ", "եւ"]
_KEPT = 16384

_words: dict[tuple[str, str], tuple[str, ...]] = {}
_folds: dict[str, str] = {}
"""What has been made of a text: rules ask for the same words and folded forms again and again."""


def words(text: str, locale: str = "en") -> tuple[str, ...]:
    """Return the words of `text`, case-folded, as ICU's dictionary-aware word breaker finds them."""
    found = _words.get((text, locale))
    if found is None:
        if len(_words) >= _KEPT:
            _words.clear()
        found = _words[text, locale] = tuple(
            part.casefold()
            for part in breakers.WordBreaker(text, locale)
            if part[0].isalnum() or (not part.isspace() and _LETTER.search(part))
        )
    return found


def fold(text: str) -> str:
    """Return `text` in NFKC, case-folded, without punctuation and spaces: the form in which copies are compared.

    Vowel signs stay, for they are letters to a reader of an Indic script; the optional
    vowel points of Arabic go.
    """
    found = _folds.get(text)
    if found is None:
        if len(_folds) >= _KEPT:
            _folds.clear()
        found = _folds[text] = str(_UNREAD.sub("", unicodedata.normalize("NFKC", text).casefold()))
    return found


def read_all(texts: pl.Series, locale: str) -> pl.DataFrame:
    """Return the columns `words` and `folded` of distinct texts: what `words` and `fold` return, at half the cost.

    Both then know these texts. Words are found by the rules that ICU follows as well;
    scripts for which it needs a dictionary are left to it.
    """
    text = pl.col("text")
    lower = text.str.to_lowercase().str.replace_many(_LOWER, _FOLDED)
    normal = text.str.normalize("NFKC").str.to_lowercase().str.replace_many(_LOWER, _FOLDED)
    table = texts.alias("text").to_frame().select(
        "text",
        words=pl.when(~text.str.contains(_NEEDS_ICU)).then(lower.str.extract_all(_WORD)),
        folded=normal.str.replace_all(_UNREAD.pattern, ""),
    )  # fmt: skip
    known = [found if found is not None else list(words(text, locale)) for text, found in table["text", "words"].rows()]
    if len(_words) + len(known) > _KEPT:
        _words.clear()
    if len(_folds) + len(known) > _KEPT:
        _folds.clear()
    _words.update(zip(((text, locale) for text in texts), map(tuple, known), strict=True))
    _folds.update(zip(texts, table["folded"], strict=True))
    return table.with_columns(words=pl.Series(known, dtype=pl.List(pl.String)))


def clean(text: str) -> str:
    """Return `text` without control characters and with single spaces, for the detectors."""
    single = " ".join(text.split())
    return single if single.isprintable() else str(_SPACE.sub(" ", _CONTROL.sub(" ", text))).strip()


def script_share(text: str, script: str) -> float:
    """Return the share of letters of `text` that belong to an ISO 15924 script; 0 where there is no letter."""
    letters = sum(map(str.isalpha, text))
    return sum(map(len, _script_pattern(script).findall(text))) / letters if letters else 0.0


def letters_of(script: str) -> str:
    """Return what matches a letter of an ISO 15924 script in a regular expression, of polars too."""
    names = SCRIPTS.get(script, (_UNICODE_NAMES.get(script, script),))
    return r"[\p{L}&&[" + "".join(rf"\p{{Script={name}}}" for name in names) + "]]"


@lru_cache(maxsize=128)
def _script_pattern(script: str) -> "regex.Pattern[str]":
    return regex.compile(letters_of(script) + "+", regex.VERSION1)


def knows_script(script: str) -> bool:
    """Say whether an ISO 15924 code is one of a script that texts can be checked for."""
    try:
        _script_pattern(script)
    except regex.error:
        return False
    return True


def shingles(text: str, size: int = 5) -> list[str]:
    """Return the distinct character n-grams of the folded text, in order of first appearance."""
    folded = fold(text)
    if len(folded) <= size:
        return [folded] if folded else []
    return list(dict.fromkeys(folded[start : start + size] for start in range(len(folded) - size + 1)))


@lru_cache(maxsize=16384)
def _trigrams(text: str) -> frozenset[str]:
    return frozenset(shingles(text, 3))


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two texts by character trigrams of their folded forms, 0 to 1."""
    first, second = _trigrams(one), _trigrams(other)
    union = len(first | second)
    return len(first & second) / union if union else 1.0


def mentions(text: str, term: str) -> bool:
    """Say whether every word of `term` stands in `text`, in whatever inflected form.

    A word counts if seven tenths of it, and three letters at least, are there from its
    beginning or up to its end: no list of forms exists for 73 languages, and most
    inflect at one side or the other.
    """
    folded = fold(text)
    for word in filter(None, map(fold, _SPLIT.split(term))):
        size = max(3, round(len(word) * 0.7))
        if word[:size] not in folded and word[-size:] not in folded:
            return False
    return True


def content_words(text: str, locale: str) -> set[str]:
    """Return the words of a text that are likely to carry content, and its numbers.

    A word is taken for one if it is of average length or longer among the distinct words
    of the text, so that function words fall out without a list; in a text of one-letter
    words all are taken.
    """
    found = set(words(text, locale))
    mean = sum(map(len, found)) / len(found) if found else 0.0
    return {word for word in found if len(word) >= mean or word.isnumeric()}
