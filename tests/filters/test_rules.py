"""The rules that look into a turn, one table each: what they keep, what they reject, and why."""

import json
from pathlib import Path

import msgspec
import polars as pl
import pytest

from tests.filters.helpers import OWN, context, reasons, row, table

GERMAN = "Wir müssen das Geschirr spülen, bevor wir gehen."
SWAHILI = "Lazima tuoshe vyombo kabla ya kuondoka nyumbani leo."
HINDI = "हमें जाने से पहले बर्तन धो लेने चाहिए।"
CHINESE = "我们走之前应该把碗洗干净。"
ENGLISH = "Then we should wash all of the dishes because they are still dirty."


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", "4", []),
        ("eng_Latn", "2 + 2 = 4", []),
        ("eng_Latn", "... !?", ["empty"]),
        ("zho_Hans", "。。。！", ["empty"]),
        ("zho_Hans", "好。", []),
        ("arb_Arab", "؟؟ !! نعم ؟؟؟ !!!", ["mostly_punctuation"]),
        ("hin_Deva", "की !!! ??? ...", ["mostly_punctuation"]),
        ("hin_Deva", HINDI, []),
        ("eng_Latn", "🎉🎉🎉", ["empty"]),
    ],
)
def test_blank_turns(language: str, text: str, expected: list[str]) -> None:
    """A digit is a text; punctuation and emoji are none; vowel signs count as what they are."""
    assert reasons(table(row("Question?", text)), "blank", context(language)) == [expected]


LONG = "Wash the dishes at once, and put them on the shelf by the door before the guests come in"


@pytest.mark.parametrize(
    ("language", "text", "finish", "expected"),
    [
        ("eng_Latn", f"{LONG}.", "stop", []),
        ("eng_Latn", f"{LONG}.", "length", ["truncated"]),
        ("eng_Latn", f"{LONG}. Then you can", "stop", ["unfinished"]),
        ("eng_Latn", f"{LONG}. Then you can,", "length", ["truncated", "unfinished"]),
        ("eng_Latn", LONG, "stop", []),
        ("eng_Latn", "Wash them. Then dry them", "stop", []),
        ("eng_Latn", f"1. {LONG}\n2. {LONG}", "stop", []),
        ("eng_Latn", f"{LONG} for approx. 5 minutes", "stop", []),
        ("hin_Deva", f"{HINDI} {HINDI} फिर हम उन्हें अलमारी में", "stop", ["unfinished"]),
        ("hin_Deva", f"{HINDI} {HINDI}", "stop", []),
        ("zho_Hans", f"{CHINESE}{CHINESE}然后把它们放到", "stop", ["unfinished"]),
        ("zho_Hans", f"{CHINESE}{CHINESE}", "stop", []),
        ("tha_Thai", "เราควรล้างจานก่อนออกจากบ้าน แล้วค่อยเก็บเข้าตู้ ไม่อย่างนั้นพรุ่งนี้จะหาไม่เจอ", "stop", []),
    ],
)
def test_answers_that_were_cut_off(language: str, text: str, finish: str, expected: list[str]) -> None:
    """Cut by the budget, or in a sentence after one that ended; lists, abbreviations and Thai are let be."""
    rows = table(row("Question?", text, reasons=("stop", finish)))
    assert reasons(rows, "truncation", context(language)) == [expected]


def test_a_question_may_end_as_it_likes() -> None:
    """Only answers are judged as unfinished."""
    rows = table(row(f"{LONG}. Then you can", "Yes."))
    assert reasons(rows, "truncation", context()) == [[]]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("deu_Latn", GERMAN, []),
        ("deu_Latn", f"{GERMAN} {ENGLISH}", ["english_inside"]),
        ("deu_Latn", "Am Abend lief wieder eine Folge von Game of Thrones, die wir schon kannten.", []),
        ("swh_Latn", SWAHILI, []),
        ("swh_Latn", f"{SWAHILI} {ENGLISH}", ["english_inside"]),
        ("hin_Deva", f"{HINDI} {ENGLISH}", ["foreign_script", "english_inside"]),
        ("hin_Deva", "मेरे फ़ोन में WhatsApp नहीं खुल रहा है, इसे ठीक कैसे करूँ?", []),
        ("zho_Hans", f"{CHINESE}{ENGLISH}", ["foreign_script", "english_inside"]),
        ("zho_Hans", "你会用Python吗？我想学。", []),
        ("eng_Latn", ENGLISH, []),
        ("eng_Latn", f"Yes. {CHINESE}", []),
    ],
)
def test_foreign_share(language: str, text: str, expected: list[str]) -> None:
    """Half a turn in English is found in every script; a title or a name is none."""
    assert reasons(table(row("?", text)), "foreign_share", context(language)) == [expected]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", "roses are red\nviolets are blue\nsugar is sweet\nand so are you", []),
        ("eng_Latn", "\n".join(["Add the salt.", "Stir it well."] * 3), ["repeated_lines"]),
        ("hin_Deva", "\n".join(["नमक डालें।"] * 4), ["repeated_lines"]),
        ("zho_Hans", "\n".join(["加盐。"] * 4), ["repeated_lines"]),
        ("eng_Latn", f"Well {'ha' * 20}", ["repeated_characters"]),
        ("eng_Latn", "Hahaha, that is a good one!", []),
        ("arb_Arab", "ه" * 40, ["repeated_characters"]),
        ("zho_Hans", "哈" * 40, ["repeated_characters"]),
        ("eng_Latn", "-" * 60 + "\nA table\n" + "-" * 60, []),
    ],
)
def test_lines_and_characters_that_come_again(language: str, text: str, expected: list[str]) -> None:
    """Lines said again and characters in a circle; a rule of dashes is neither."""
    assert reasons(table(row("?", text)), "repeated_lines", context(language)) == [expected]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", "I’m sorry, but I can’t help with that.", ["refusal"]),
        ("eng_Latn", "Dear Sam, I'm sorry, but I can't come on Friday.", []),
        ("eng_Latn", "As an AI, I have no hands.", ["speaks_as_machine"]),
        ("eng_Latn", "It came as an aid to all of us.", []),
        ("swh_Latn", "I cannot assist with this request.", ["refusal"]),
        ("deu_Latn", "Als KI habe ich keine Hände.", ["speaks_as_machine"]),
        ("deu_Latn", "Als Kind hatte ich einen Hund.", []),
        ("hin_Deva", "क्षमा करें, मैं मदद नहीं कर सकता।", ["refusal"]),
        ("hin_Deva", HINDI, []),
        ("kor_Hang", "저는 인공지능이라서 감정이 없습니다.", ["speaks_as_machine"]),
        ("zho_Hans", "作为一个AI，我没有感情。", ["speaks_as_machine"]),
        ("zho_Hans", "他研究人工智能。", []),
        ("tha_Thai", "ขอโทษ ฉันไม่สามารถตอบคำถามนี้ได้", ["refusal"]),
    ],
)
def test_refusals(language: str, text: str, expected: list[str]) -> None:
    """A refusal in the language or in English, and what a machine says of itself, word by word."""
    assert reasons(table(row("?", text)), "refusals", context(language)) == [expected]
    assert reasons(table(row(text, "?")), "refusals", context(language)) == [[]]


@pytest.mark.parametrize("text", [GERMAN, SWAHILI, HINDI])
def test_answers_where_a_user_should_speak(text: str) -> None:
    """The seed's answer as an instruction, and the answer before as a user turn; a seed is let be."""
    seed = msgspec.structs.replace(OWN, response=text)
    where = context(seeds=(seed,))
    rows = table(
        row(f"{text} !", "Yes."),
        row("A question?", text, f"{text}!", "Yes."),
        row("A question?", text, "Why is that?", text),
        row(text, "Yes.", kind="seed"),
    )
    assert reasons(rows, "answers_as_instructions", where) == [
        ["answer_as_instruction"], ["answer_as_user_turn"], [], [],
    ]  # fmt: skip


def test_near_duplicates_of_seeds() -> None:
    """A first exchange that is nearly a seed's is rejected, whatever is said after it; the seed itself is not."""
    seed = msgspec.structs.replace(OWN, instruction="How is rice cooked?", response=f"{SWAHILI} {GERMAN}")
    near = ("How is rice cooked?", f"{SWAHILI} {GERMAN}!!", "And then?", ENGLISH)
    rows = table(row(*near), row(*near[:2], kind="seed"), row("How is rice cooked?", ENGLISH))
    assert reasons(rows, "near_duplicates", context(seeds=(seed,))) == [["seed_duplicate"], [], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to anna.meier@example.org today.", ["email"]),
        ("पता: सीता@उदाहरण.भारत", ["email"]),
        ("Call +49 30 1234567 or come by.", ["phone"]),
        ("ফোন: +৮৮০ ১৭১২ ৩৪৫৬৭৮", ["phone"]),
        ("Das kostet 1.000.000.000 Euro, also 1 000 000 000.", []),
        ("Konto GB29 NWBK 6016 1331 9268 19", ["iban"]),
        ("Konto GB28 NWBK 6016 1331 9268 19", []),
        ("卡号 4111 1111 1111 1111", ["card"]),
        ("卡号 4111 1111 1111 1112", []),
        ("The server is 8.8.8.8.", ["ip_address"]),
        ("The router is 192.168.0.1, at 10:30:45.", []),
    ],
)
def test_personal_data(text: str, expected: list[str]) -> None:
    """Numbers count with the right check digits, in the digits of any script."""
    assert reasons(table(row("?", text)), "personal_data", context()) == [expected]


BENCHMARK = "A train leaves the station at noon and travels east for three hours."


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv", "txt"])
def test_contamination(tmp_path: Path, suffix: str) -> None:
    """Eight words in a row of any text of a file, however deep it lies, or a short text whole."""
    path = tmp_path / f"bench.{suffix}"
    rows = pl.DataFrame({"question": [BENCHMARK, "天空为什么是蓝色的？"], "n": [1, 2]})
    if suffix == "jsonl":
        path.write_text("".join(json.dumps({"turns": [{"text": text}]}) + "\n" for text in rows["question"]))
    elif suffix == "txt":
        path.write_text("\n".join(rows["question"]), encoding="utf-8")
    else:
        getattr(rows, f"write_{suffix}")(path)
    found = reasons(
        table(
            row("?", f"So: the train leaves the station at noon and travels west. {GERMAN}"),
            row("?", "The train leaves at noon."),
            row("天空为什么是蓝色的?", HINDI),
        ),
        "contamination",
        context(root=tmp_path),
        {path.name: ""},
    )
    assert found == [["contaminated"], [], ["contaminated"]]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("deu_Latn", "So ein Mist!", ["profanity"]),
        ("deu_Latn", "Der Mistkäfer krabbelt.", []),
        ("eng_Latn", "Mist lies over the lake.", []),
        ("zho_Hans", "这个笨蛋。", ["profanity"]),
        ("hin_Deva", HINDI, []),
    ],
)
def test_profanity_by_the_list_of_the_language(tmp_path: Path, language: str, text: str, expected: list[str]) -> None:
    """Whole words of the language's own list; a language without one is let be."""
    (tmp_path / "deu_Latn.txt").write_text("# mild ones\nMist # as a curse\n", encoding="utf-8")
    (tmp_path / "zho_Hans.txt").write_text("笨蛋\n", encoding="utf-8")
    files = {"deu_Latn.txt": "", "zho_Hans.txt": ""}
    assert reasons(table(row("?", text)), "profanity", context(language, root=tmp_path), files) == [expected]
