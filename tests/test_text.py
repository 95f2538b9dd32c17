"""Words, scripts and folding, in scripts that differ most."""

import json
import sys
import unicodedata

import polars as pl
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker

from m2l import text
from tests.conftest import ROOT

ODD = "can't l’eau 3,000.50 a.b 1a.b x:y 12:30 snake_case e-mail x² ½ 5th STRASSE Straße ΟΔΟΣ İstanbul #tag a·b և"


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("It's 3 o'clock, Anna.", ("it's", "3", "o'clock", "anna")),
        ("今天天气很好。", ("今天", "天气", "很好")),
        ("ภาษาไทย", ("ภาษา", "ไทย")),
        ("कैसे हो, मित्र?", ("कैसे", "हो", "मित्र")),
        ("ሰላም ለዓለም።", ("ሰላም", "ለዓለም")),
        ("مرحبًا بالعالم!", ("مرحبًا", "بالعالم")),
        ("!!! — …", ()),
        ("", ()),
    ],
)
def test_words_are_those_of_the_script(sentence: str, words: tuple[str, ...]) -> None:
    """Words where there are no spaces, no punctuation, case folded."""
    assert text.words(sentence) == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is Rain?", "what is RAIN", True),
        ("ＡＢＣ １２", "abc12", True),
        ("Straße", "STRASSE", True),
        ("كِتاب", "كتاب", True),
        ("नमस्ते", "नमस्त", False),
        ("rain", "train", False),
    ],
)
def test_fold_finds_what_is_the_same_to_a_reader(one: str, other: str, same: bool) -> None:
    """Case, width, punctuation and marks above letters do not tell texts apart; vowel signs do."""
    assert (text.fold(one) == text.fold(other)) == same


@pytest.mark.parametrize(
    ("sentence", "script", "share"),
    [
        ("日本語です", "Jpan", 1.0),
        ("テレビ", "Hans", 0.0),
        ("한국어 漢字", "Hang", 1.0),
        ("abc абв", "Cyrl", 0.5),
        ("नमस्ते hi", "Deva", 4 / 6),
        ("123 !?", "Latn", 0.0),
        ("ሰላም", "Ethi", 1.0),
    ],
)
def test_script_share(sentence: str, script: str, share: float) -> None:
    """The share of letters in a script; Japanese is three scripts, Korean two."""
    assert text.script_share(sentence, script) == pytest.approx(share)


def test_clean_takes_out_what_detectors_choke_on() -> None:
    """Control characters go, spaces are single."""
    assert text.clean(" a\x00b\n\n c\x7f ") == "a b c"


def test_shingles_are_distinct_and_in_order() -> None:
    """Five characters each, of the folded text; a short text is one of its own."""
    assert text.shingles("Ab-cde fg") == ["abcde", "bcdef", "cdefg"]
    assert text.shingles("aaaaaaaa") == ["aaaaa"]
    assert text.shingles("ab") == ["ab"]
    assert text.shingles("!") == []


def icu_words(sentence: str) -> list[str]:
    """Return what ICU itself takes for words: parts with a letter or number."""
    parts = [part.casefold() for part in WordBreaker(sentence, "en")]
    return [part for part in parts if any(unicodedata.category(sign)[0] in "LN" for sign in part)]


def test_words_of_a_column_are_those_of_icu() -> None:
    """In the seeds of every language, and in what tokenizers differ over, columns give what ICU gives."""
    texts = {ODD}
    for path in (ROOT / "data/seeds/starter").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        texts |= {row[key] for row in rows for key in ("instruction", "response")}
    ordered = sorted(texts)
    read = text.read_all(pl.Series(ordered), "en")
    differing = [line for line, found in read.select("text", "words").rows() if found != icu_words(line)]
    assert len(ordered) > 4000
    assert differing == []


@given(st.text(alphabet="aAßςΣéçЖіक्ष ािअبَ٣ใน漢字 .,'’-_:;!123²\n\t", max_size=40))
@settings(deadline=None)
def test_a_column_is_folded_as_a_text_is(line: str) -> None:
    """The folded form of a column is letters, marks and digits of NFKC, case-folded, without Arabic vowel points."""
    normal = unicodedata.normalize("NFKC", line).casefold()
    kept = [sign for sign in normal if unicodedata.category(sign)[0] in "LMN" and not "\u064b" <= sign <= "\u065f"]
    assert text.read_all(pl.Series([line]), "en")["folded"].to_list() == ["".join(kept)] == [text.fold(line)]


@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [
        ("What is snow?", "what is SNOW", 1.0),
        ("abcd", "abce", 1 / 3),
        ("日本語です", "日本語だ", 1 / 4),
        ("ab", "abc", 0.0),
        ("!?", "...", 1.0),
        ("!?", "abc", 0.0),
    ],
)
def test_similarity_is_the_share_of_common_trigrams(one: str, other: str, similarity: float) -> None:
    """Counted by hand: folded texts, each trigram once; a shorter text is one of its own."""
    assert text.similarities([one], [other]) == [pytest.approx(similarity)]


def test_many_pairs_are_compared_as_each_by_itself() -> None:
    """More pairs than are held at once, of texts of every length."""
    ones = ["snow " * (number % 7) + str(number) for number in range(300)]
    others = ["snow " * (number % 5) + str(number % 9) for number in range(300)]
    alone = [text.similarities([one], [other])[0] for one, other in zip(ones, others, strict=True)]
    assert text.similarities(ones, others) == alone


def test_what_is_not_normalised_would_not_change() -> None:
    """Of the characters that are passed over none changes by itself, is reordered, or goes into the one before it."""
    seconds = {
        parts[1]
        for code in range(sys.maxunicode + 1)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and not parts[0].startswith("<")
    }
    passed = [chr(code) for code in range(sys.maxunicode + 1) if not regex.match(text._MAY_CHANGE, chr(code))]
    assert len(passed) > 30_000
    for character in passed:
        assert unicodedata.normalize("NFKC", character) == character
        assert not unicodedata.combining(character)
        assert f"{ord(character):04X}" not in seconds
