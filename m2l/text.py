"""Text in every script: words by ICU, scripts by Unicode, and one way of folding for comparison."""

import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache

import icu4py.breakers as breakers
import polars as pl
import regex

from m2l import ngrams

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
_MAY_CHANGE = (
    r"[^\x00-\x7F¡«»¿À-ÖØ-öø-ÿĀ-ıĴ-ľŁ-ňŊ-žƏƒƠơƯưƳƴǍ-ǜəɓɔɖɗɛɣɩɲʋΆΈ-ΊΌΎ-ΡΣ-ώЀ-҂Ҋ-ԯԱ-Ֆա-ֆ"
    r"\u0621-\u064A\u0660-\u0669\u0671-\u0674\u0679-\u06D3،؛؟۔\u06F0-\u06F9ሀ-ቈაა-ჺẠ-ỹ–—‘’“”、。々ぁ-ゖァ-ヺー一-鿏가-힣]"
)
"""A character that NFKC may change, or compose with the one before it: all but those that it certainly never does."""

_END = "\u2029"
"""The sign between texts that are read as one: to ICU a paragraph's end, over which no word goes."""

_LOWER, _FOLDED = ["ß", "ẞ", "ς", "և"], ["ss", "ss", "σ", "եւ"]
_CASED = r"[ßςև\p{Uppercase}\p{Lt}]"
_KEPT = 16384
_PAIRS = 128
"""Pairs whose trigrams are held at once: few enough for the processor's cache, which halves the time."""

_words: dict[tuple[str, str], tuple[str, ...]] = {}
_folds: dict[str, str] = {}
"""What has been made of a text: rules ask for the same words and folded forms again and again."""

_read: deque[tuple[str, dict[str, int], pl.Series]] = deque(maxlen=4)
"""The last batches of `read_all`: their locale, and where the words of each text stand; few are asked for."""


def words(text: str, locale: str = "en") -> tuple[str, ...]:
    """Return the words of `text`, case-folded, as ICU's dictionary-aware word breaker finds them."""
    found = _words.get((text, locale))
    if found is None:
        if len(_words) >= _KEPT:
            _words.clear()
        found = _words[text, locale] = _known(text, locale) or _broken(text, locale)
    return found


def _known(text: str, locale: str) -> tuple[str, ...]:
    for language, places, batch in reversed(_read):
        if language == locale and text in places:
            return tuple(batch[places[text]].to_list())
    return ()


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
    lower = _casefolded(text)
    normal = pl.coalesce(_casefolded(pl.when(text.str.contains(_MAY_CHANGE)).then(text).str.normalize("NFKC")), lower)
    table = texts.alias("text").to_frame().select(
        "text",
        words=pl.when(~text.str.contains(_NEEDS_ICU)).then(lower.str.extract_all(_WORD)),
        folded=normal.str.replace_all(_UNREAD.pattern, ""),
    )  # fmt: skip
    left = table.filter(pl.col("words").is_null())
    if left.height:
        by_icu = left.with_columns(words=_by_icu(left["text"].to_list(), locale))
        table = pl.concat([table.filter(pl.col("words").is_not_null()), by_icu])
    found, folded = table["text"].to_list(), table["folded"].to_list()
    if len(_folds) + len(found) > _KEPT:
        _folds.clear()
    _folds.update(zip(found, folded, strict=True))
    _read.append((locale, dict(zip(found, range(len(found)), strict=True)), table["words"]))
    return table


def _casefolded(text: pl.Expr) -> pl.Expr:
    """Return a text casefolded; one in a script without case is only looked through."""
    cased = text.str.contains(_CASED)
    some = pl.when(cased).then(text).otherwise(pl.lit(""))  # of null, polars would lower what was
    return pl.when(cased).then(some.str.to_lowercase().str.replace_many(_LOWER, _FOLDED)).otherwise(text)


def _by_icu(texts: list[str], locale: str) -> pl.Series:
    """Return what `_broken` does of each text, by one breaker for all of them: to open one costs as much as a text."""
    joined = _END.join([text.replace(_END, "\n") for text in texts] + [""])
    part, end = pl.col("part"), pl.col("part") == _END
    return (
        pl.DataFrame({"part": list(breakers.WordBreaker(joined, locale))})
        .select(_casefolded(part), at=end.cum_sum() - end, end=end, word=part.str.contains(_LETTER.pattern))
        .filter(pl.col("word") | pl.col("end"))
        .group_by("at", maintain_order=True)
        .agg(part.filter("word"))["part"]
    )


def clean(text: str) -> str:
    """Return `text` without control characters and with single spaces, for the detectors."""
    if text.isprintable() and "  " not in text:  # most are, and have no other space than that
        return text.strip()
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


def similarities(ones: Sequence[str], others: Sequence[str]) -> list[float]:
    """Return, for pairs of texts, their Jaccard similarity by character trigrams of the folded forms, 0 to 1.

    Two texts without a letter or digit are equal.
    """
    found: list[float] = []
    for start in range(0, len(ones), _PAIRS):
        parts = (list(map(fold, texts[start : start + _PAIRS])) for texts in (ones, others))
        one, other = (ngrams.of_characters(pl.Series(part, dtype=pl.String), 3) for part in parts)
        found += ngrams.similarities(one, other, len(ones[start : start + _PAIRS])).tolist()
    return found


def mentions(text: str, terms: Iterable[str]) -> bool:
    """Say whether every word of one of the terms stands in `text`, in whatever inflected form.

    A word counts if seven tenths of it, and three letters at least, are there from its
    beginning or up to its end: no list of forms exists for 73 languages, and most
    inflect at one side or the other.
    """
    folded = fold(text)
    return any(all(head in folded or tail in folded for head, tail in _stems(term)) for term in terms)


@lru_cache(maxsize=16384)
def _stems(term: str) -> tuple[tuple[str, str], ...]:
    """Return the first and the last seven tenths of each word of a term, three letters at least."""
    folded = [word for word in map(fold, _SPLIT.split(term)) if word]
    sizes = [max(3, round(len(word) * 0.7)) for word in folded]
    return tuple((word[:size], word[-size:]) for word, size in zip(folded, sizes, strict=True))


def content_words(texts: Iterable[str], locale: str) -> set[str]:
    """Return the words of some texts that are likely to carry content, and their numbers.

    A word is taken for one if it is of average length or longer among the distinct words
    of the texts, so that function words fall out without a list; among one-letter words
    all are taken.
    """
    found = {word for text in texts for word in words(text, locale)}
    mean = sum(map(len, found)) / len(found) if found else 0.0
    return {word for word in found if len(word) >= mean or word.isnumeric()}
