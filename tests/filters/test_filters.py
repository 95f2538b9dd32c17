"""Each shipped filter with its shipped thresholds: what it keeps, what it rejects, and why."""

import gc

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l.filters.base import Context, Filter, apply, lists
from m2l.repetition import duplicate_share
from m2l.spec import Seed
from tests.conftest import ROOT
from tests.filters.helpers import OWN as SEED
from tests.filters.helpers import context, reasons, row, shipped, table

FRENCH = "Il faut ranger la vaisselle avant de partir, sinon personne ne la trouvera demain."
HINDI = "हमें जाने से पहले बर्तन धो लेने चाहिए, नहीं तो कल किसी को कुछ नहीं मिलेगा।"
ARABIC = "يجب أن نغسل الصحون قبل أن نغادر، وإلا فلن يجد أحد شيئًا في الغد."
CHINESE = "我们走之前应该把碗洗干净，不然明天谁也找不到干净的碗。"
SWAHILI = "Lazima tuoshe vyombo kabla ya kuondoka, la sivyo kesho hakuna atakayepata sahani safi."
ENGLISH = "We have to wash the dishes before we leave, or nobody will find a clean plate tomorrow."
BY_LANGUAGE = {"fra_Latn": FRENCH, "hin_Deva": HINDI, "arb_Arab": ARABIC, "zho_Hans": CHINESE, "swh_Latn": SWAHILI}


@pytest.mark.parametrize("language", BY_LANGUAGE)
def test_language_keeps_its_own_and_rejects_the_others(language: str) -> None:
    """A sentence of each language passes in its own and is rejected by name in every other."""
    rows = table(*(row(text, text + " ?") for text in [*BY_LANGUAGE.values(), ENGLISH]))
    found = reasons(rows, "language_identification", context(language))
    for other, why in zip([*BY_LANGUAGE, "eng_Latn"], found, strict=True):
        assert (why == []) == (other == language), (other, why)
        assert set(why) <= {"wrong_language", "wrong_script"}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", "Yes.", []),
        ("eng_Latn", "Oui.", []),
        ("eng_Latn", "当然可以。", ["wrong_script"]),
        ("zho_Hans", "当然可以。", []),
        ("zho_Hans", "OK, of course you can do it today.", ["wrong_script", "wrong_language"]),
        ("hin_Deva", "ठीक है।", []),
        ("hin_Deva", "\x00ठीक है, मैं अभी आता हूँ और सब कुछ देखता हूँ।\x07", []),
        ("arb_Arab", "12345", []),
    ],
)
def test_language_of_short_and_odd_turns(language: str, text: str, expected: list[str]) -> None:
    """A short turn is judged by its script alone; control characters harm nobody."""
    good = BY_LANGUAGE.get(language, ENGLISH)
    assert reasons(table(row(good, text)), "language_identification", context(language)) == [expected]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", ENGLISH, []),
        ("eng_Latn", "Take the red bus to the harbour, or walk there if the red bus to town is late again.", []),
        ("eng_Latn", "I like the sea and I like the sea and I like the sea and I like the sea.", ["repetition"]),
        ("eng_Latn", "no no no no no no no no no no no", []),
        ("eng_Latn", "no no no no no no no no no no no no", ["repetition"]),
        ("hin_Deva", HINDI, []),
        ("hin_Deva", "मुझे यह पसंद है। " * 5, ["repetition"]),
        ("zho_Hans", CHINESE, []),
        ("zho_Hans", "我喜欢大海，" * 6, ["repetition"]),
        ("arb_Arab", "أحب البحر كثيرًا جدًا. " * 4, ["repetition"]),
        ("eng_Latn", "Two pens cost 2 x 9 = 18, three pads 3 x 6 = 18, so 18 + 18 = 36 is the sum of all.", []),
    ],
)
def test_repetition_counts_words_in_every_script(language: str, text: str, expected: list[str]) -> None:
    """Loops are found where words have no spaces between them, too; under twelve words nothing is judged."""
    assert reasons(table(row("Question?", text)), "repetition", context(language)) == [expected]


def test_a_passage_that_repeats_itself_is_no_repetition() -> None:
    """Of a first turn the instruction is judged; the two sentences below it are alike on purpose."""
    below = "The old dog of the farmer sleeps in the sun. The old dog of the farmer sleeps in the shade."
    good = row(f"Are these the same?\n\n{below}", "No.") | {"instruction": "Are these the same?"}
    looped = row("Say it.", "No.") | {"instruction": "Say it and " * 8}
    assert reasons(table(good, looped), "repetition", context()) == [[], ["repetition"]]


def test_duplicate_share_counts_each_character_once() -> None:
    """The share of characters in repeated n-grams, by hand: `ab ab x` has 4 of 5 in repeated words."""
    assert duplicate_share(("ab", "ab", "x"), 1) == 4 / 5
    assert duplicate_share(("ab", "x", "ab", "x", "y"), 2) == 6 / 7
    assert duplicate_share(("a", "b", "c"), 1) == 0
    assert duplicate_share((), 2) == 0


@pytest.mark.parametrize(
    ("contents", "finish", "expected"),
    [
        (("Say hello there.", "Good morning to you."), ("stop", "stop"), []),
        (("Say hello there.", "Good morning, you."), ("stop", "stop"), ["too_short"]),
        (("Hello", "Good morning to you."), ("stop", "stop"), ["too_short"]),
        (("Say hello there.", "word " * 401), ("stop", "stop"), ["too_long"]),
        (("Say hello there.", "word " * 400), ("stop", "stop"), []),
        (("Say hello there.", "!!! ... ???"), ("stop", "stop"), ["too_short"]),
        (("Say hello there.", "从前有一座山，" * 120), (), ["too_long"]),
        (("请说你好。", "早上好，朋友们。"), ("stop", "stop"), []),
        (("नमस्ते कहिए।", "आपको सुबह की शुभकामनाएँ।"), (), []),
    ],
)
def test_length_counts_words(contents: tuple[str, ...], finish: tuple[str, ...], expected: list[str]) -> None:
    """Bounds in words, with the task's own minimum for the first answer."""
    assert reasons(table(row(*contents, reasons=finish)), "length", context()) == [expected]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (row("What is rain?", "Water that falls.", seed="What is snow?"), []),
        (row("What is RAIN??", "Water that falls.", seed="what is rain"), ["copied_seed"]),
        (row("What is rain?", "Water that falls.", seed="What is rain?", kind="seed"), []),
        (row("Tell me about rain", "Tell me about rain, please."), ["echo"]),
        (row("बारिश के बारे में बताइए।", "बारिश के बारे में बताइए"), ["echo", "repeated_turn"]),
        (row("为什么会下雨呢？", "因为水汽遇冷。", "为什么？", "因为水汽遇冷"), ["repeated_turn"]),
        (row("Why?", "Why not, I say."), []),
    ],
)
def test_copies_of_seed_question_and_turns(rows: dict[str, object], expected: list[str]) -> None:
    """Case, width and punctuation hide no copy; a seed is no copy of itself."""
    seed = msgspec.structs.replace(SEED, instruction=str(rows["seed_prompt"]))
    assert reasons(table(rows), "copies", context(seeds=(seed,))) == [expected]


OWN = "The library on Hill Road stays closed until its roof has been mended in March."
EXAMPLES = (
    Seed(
        seed_id="own", task="general", instruction=OWN, input=None, fields={}, source="", license="", origin="",
        response="ok",
    ),
    Seed(
        seed_id="other", task="general", instruction="Say it.", input=None, fields={}, source="", license="", origin="",
        response="Blot the stain with a clean cloth and never rub it while it is wet.",
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("eng_Latn", ENGLISH, []),
        ("eng_Latn", "It is open.\nInstruction: say more", ["leaked_label"]),
        ("eng_Latn", "The harder instruction: that is a phrase inside.", []),
        ("eng_Latn", "ANSWER: forty-two", ["leaked_label"]),
        ("fra_Latn", "Il est ouvert.\nConsigne : dis-en plus", ["leaked_label"]),
        ("zho_Hans", "开着。\n回答：是的", ["leaked_label"]),
        ("arb_Arab", "نعم.\nالجواب: لا", ["leaked_label"]),
        ("eng_Latn", "Fine.<|im_end|>", ["leaked_mark"]),
        ("eng_Latn", "Dear {{ name }}, hello.", ["leaked_mark"]),
        ("eng_Latn", "(The user asks for more.)", ["leaked_mark"]),
        ("eng_Latn", "It rained (hard) and then it stopped.", []),
        ("zho_Hans", "（用户继续提问。）", ["leaked_mark"]),
        ("eng_Latn", "First blot the stain with a clean cloth and never rub it.", ["leaked_example"]),
        ("eng_Latn", "Blot the stain, then use a clean cloth.", []),
        ("eng_Latn", OWN, []),
        (
            "eng_Latn",
            "At least thirty centimetres, because tomato roots grow downwards and dry out.",
            ["leaked_example"],
        ),
        ("zho_Hans", "用没有上漆的松木，又轻又便宜，兔子咬了也不要紧。", ["leaked_example"]),
    ],
)
def test_leaks_of_labels_marks_and_examples(language: str, text: str, expected: list[str]) -> None:
    """A label at the head of a line, a template's mark, seven words of an example that is not the row's own seed."""
    where = context(language, examples=EXAMPLES)
    assert reasons(table(row("A question?", text)), "leaks", where) == [expected]


def test_a_seed_may_be_an_example() -> None:
    """A seed row that serves as a worked example is no leak of itself."""
    rows = table(row("Say it.", EXAMPLES[1].response, kind="seed"))
    assert reasons(rows, "leaks", context(examples=EXAMPLES)) == [[]]


@pytest.mark.parametrize("text", [FRENCH, HINDI, ARABIC, CHINESE, SWAHILI])
def test_near_duplicates_keep_the_first(text: str) -> None:
    """An answer that differs by a word from an earlier one is rejected; one about something else is not."""
    longer = f"{text} {text[::-1]}"
    rows = table(row("A?", longer), row("B?", longer + "!"), row("C?", longer[:-3]), row("D?", text[::-1][:30]))
    assert reasons(rows, "near_duplicates", context()) == [[], ["near_duplicate"], ["near_duplicate"], []]


def test_near_duplicates_look_at_answers_not_at_the_question() -> None:
    """The same long text in two questions is no duplicate when the answers differ."""
    rows = table(row(f"Shorten: {OWN}", "It is shut."), row(f"Sum up: {OWN}", "A roof needs mending soon."))
    assert reasons(rows, "near_duplicates", context()) == [[], []]


class Even(Filter):
    """Keeps turns of an even number of characters."""

    def rules(self, context: object) -> dict[str, pl.Expr]:
        return {"odd": pl.col("content").str.len_chars() % 2 == 0, "empty": pl.col("content") != ""}


class Named(Filter):
    """Keeps rows whose first turn is no shout."""

    level = "row"

    def rules(self, context: object) -> dict[str, pl.Expr]:
        first = pl.col("conversation").list.first().struct.field("content")
        return {"shout": ~first.str.ends_with("!").fill_null(value=False)}


@given(st.lists(st.lists(st.text(alphabet="ab!", max_size=3), min_size=1, max_size=4), max_size=12))
@settings(deadline=None)
def test_kept_and_rejected_are_the_table(contents: list[list[str]]) -> None:
    """Each row is kept or rejected, in order, with every reason in the order of the filters."""
    rows = table(*(row(*turns) for turns in contents))
    kept, rejected = apply(rows, {"even": Even(), "named": Named()}, context())
    expected = []
    for turns in contents:
        why = ["odd"] * any(len(turn) % 2 for turn in turns) + ["empty"] * ("" in turns)
        expected.append(why + ["shout"] * turns[0].endswith("!"))
    assert kept["row_id"].to_list() == [str(n) for n, why in enumerate(expected) if not why]
    assert rejected["row_id"].to_list() == [str(n) for n, why in enumerate(expected) if why]
    assert rejected["reasons"].to_list() == [why for why in expected if why]
    assert rejected["reason"].to_list() == [why[0] for why in expected if why]


def test_a_row_without_turns_is_no_good_row() -> None:
    """Where no turn can be judged, the rule is not met."""
    kept, rejected = apply(table(row()), {"even": Even()}, context())
    assert kept.is_empty()
    assert rejected["reasons"].to_list() == [["odd", "empty"]]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf/filter").glob("*.yaml")))
@pytest.mark.parametrize("text", ["", " ", "🎉🎉", "\u200f\u200e", "a" * 5000, "\ud7ff\ufdd0", "नि\u0000नि", "1\n2\n3"])
def test_odd_text_breaks_no_filter(name: str, text: str) -> None:
    """Empty, emoji, marks of direction, very long words, odd code points: a verdict, never an exception."""
    assert len(reasons(table(row(text, text), row(ENGLISH, text)), name, context())) == 2
    assert shipped(name)


class _Broken(Filter):
    """A filter whose rule fails."""

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        return {"broken": pl.col("content").map_batches(_fail, return_dtype=pl.Boolean())}


def _fail(_: pl.Series) -> pl.Series:
    raise ValueError(f"collecting: {gc.isenabled()}")


def test_garbage_is_collected_after_filters_as_before() -> None:
    """While rows are judged no cycles are looked for; whatever happens, they are again after that."""
    apply(table(row(ENGLISH, ENGLISH)), {}, context("eng_Latn"))
    assert gc.isenabled()
    with pytest.raises(ValueError, match="collecting: False"):
        apply(table(row(ENGLISH, ENGLISH)), {"broken": _Broken()}, context("eng_Latn"))
    assert gc.isenabled()


@given(st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=5))
def test_lists_are_those_of_the_series(drawn: list[list[str]]) -> None:
    """Empty lists and empty texts among them."""
    assert lists(pl.Series(drawn, dtype=pl.List(pl.String))) == drawn
