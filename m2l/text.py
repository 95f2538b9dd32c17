"""Text in every script: words by ICU, scripts by Unicode, and one way of folding for comparison."""

import unicodedata
from functools import lru_cache

import icu4py.breakers as breakers
import numpy as np
import numpy.typing as npt
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
_END = "\u2029"
"""The sign between texts that are read as one: to ICU a paragraph's end, over which no word goes."""

_LOWER, _FOLDED = ["ß", "ẞ", "ς", "և"], ["ss", "ss", "σ", "եւ"]
_KEPT = 16384
_WIDE = np.uint64(21)
"""Bits of a code point."""

_words: dict[tuple[str, str], tuple[str, ...]] = {}
_folds: dict[str, str] = {}
"""What has been made of a text: rules ask for the same words and folded forms again and again."""

_read: dict[tuple[str, str], tuple[pl.Series, int]] = {}
"""Where the words of a text stand in what `read_all` made of its batch; few of them are ever looked at one by one."""


def words(text: str, locale: str = "en") -> tuple[str, ...]:
    """Return the words of `text`, case-folded, as ICU's dictionary-aware word breaker finds them."""
    found = _words.get((text, locale))
    if found is None:
        if len(_words) >= _KEPT:
            _words.clear()
        batch, at = _read.get((text, locale), (None, 0))
        found = _words[text, locale] = _broken(text, locale) if batch is None else tuple(batch[at].to_list())
    return found


def _broken(text: str, locale: str) -> tuple[str, ...]:
    return tuple(
        part.casefold()
        for part in breakers.WordBreaker(text, locale)
        if part[0].isalnum() or (not part.isspace() and _LETTER.search(part))
    )


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
    left = table.filter(pl.col("words").is_null())
    if left.height:
        by_icu = left.with_columns(words=_by_icu(left["text"].to_list(), locale))
        table = pl.concat([table.filter(pl.col("words").is_not_null()), by_icu])
    for known in (_read, _folds):
        if len(known) + table.height > _KEPT:
            known.clear()
    found = table["text"].to_list()
    _read.update(((text, locale), (table["words"], at)) for at, text in enumerate(found))
    _folds.update(zip(found, table["folded"].to_list(), strict=True))
    return table


def _by_icu(texts: list[str], locale: str) -> pl.Series:
    """Return what `_broken` does of each text, by one breaker for all of them: to open one costs as much as a text."""
    joined = _END.join([text.replace(_END, "\n") for text in texts] + [""])
    part, end = pl.col("part"), pl.col("part") == _END
    lower = part.str.to_lowercase().str.replace_many(_LOWER, _FOLDED)
    return (
        pl.DataFrame({"part": list(breakers.WordBreaker(joined, locale))})
        .select(lower, at=end.cum_sum() - end, end=end, word=part.str.contains(_LETTER.pattern))
        .filter(pl.col("word") | pl.col("end"))
        .group_by("at", maintain_order=True)
        .agg(part.filter("word"))["part"]
    )


def clean(text: str) -> str:
    """Return `text` without control characters and with single spaces, for the detectors."""
    single = " ".join(text.split())
    return single if single.isprintable() else str(_SPACE.sub(" ", _CONTROL.sub(" ", text))).strip()


def script_share(text: str, script: str) -> float:
    """Return the share of letters of `text` that belong to an ISO 15924 script; 0 where there is no letter."""
    letters = sum(map(str.isalpha, text))
    return letters_in(text, script) / letters if letters else 0.0


def letters_in(text: str, script: str) -> int:
    """Return how many letters of `text` belong to an ISO 15924 script."""
    return sum(map(len, _script_pattern(script).findall(text)))


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
def _trigrams(text: str) -> npt.NDArray[np.uint64]:
    """Return the distinct trigrams of the folded text, each the code points of its characters in one number."""
    folded = fold(text)
    codes = np.frombuffer(folded.ljust(3, "\0").encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    wide = codes.astype(np.uint64)
    return _distinct((wide[:-2] << _WIDE << _WIDE) | (wide[1:-1] << _WIDE) | wide[2:]) if folded else wide[:0]


def _distinct(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    ordered = np.sort(numbers)
    return np.concatenate([ordered[:1], ordered[1:][ordered[1:] != ordered[:-1]]])


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two texts by character trigrams of their folded forms, 0 to 1."""
    first, second = _trigrams(one), _trigrams(other)
    union = len(_distinct(np.concatenate([first, second])))
    return (len(first) + len(second) - union) / union if union else 1.0


def mentions(text: str, term: str) -> bool:
    """Say whether every word of `term` stands in `text`, in whatever inflected form.

    A word counts if seven tenths of it, and three letters at least, are there from its
    beginning or up to its end: no list of forms exists for 73 languages, and most
    inflect at one side or the other.
    """
    folded = fold(text)
    return all(head in folded or tail in folded for head, tail in _stems(term))


@lru_cache(maxsize=16384)
def _stems(term: str) -> tuple[tuple[str, str], ...]:
    """Return the first and the last seven tenths of each word of a term, three letters at least."""
    folded = [word for word in map(fold, _SPLIT.split(term)) if word]
    sizes = [max(3, round(len(word) * 0.7)) for word in folded]
    return tuple((word[:size], word[-size:]) for word, size in zip(folded, sizes, strict=True))


def content_words(text: str, locale: str) -> set[str]:
    """Return the words of a text that are likely to carry content, and its numbers.

    A word is taken for one if it is of average length or longer among the distinct words
    of the text, so that function words fall out without a list; in a text of one-letter
    words all are taken.
    """
    found = set(words(text, locale))
    mean = sum(map(len, found)) / len(found) if found else 0.0
    return {word for word in found if len(word) >= mean or word.isnumeric()}
