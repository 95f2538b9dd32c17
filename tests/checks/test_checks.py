"""Checks: what holds and what does not, in several scripts, by hand."""

import inspect
from typing import Any

import pytest

from m2l import config, spec
from m2l.checks import answers, dialogues, evolutions
from m2l.checks.base import Case, Check
from m2l.spec import Language, Seed
from tests.conftest import ROOT

LANGUAGES: dict[str, Language] = {
    name: config.load_named(ROOT, "language", name, spec.Language)
    for name in ("eng_Latn", "hin_Deva", "arb_Arab", "zho_Hans", "swh_Latn", "spa_Latn")
}


def case(
    *turns: str,
    language: str = "eng_Latn",
    seed: str = "What is snow?",
    response: str = "Frozen water that falls from clouds in winter.",
    instruction: str | None = None,
    at: int = 0,
    **fields: Any,
) -> Case:
    """Return a case whose conversation has these turns; `instruction` is the first of them unless given."""
    return Case(
        language=LANGUAGES[language],
        others={name: LANGUAGES[name].facts for name in ("eng_Latn", "spa_Latn")},
        seed=Seed(
            seed_id="s", task="t", instruction=seed, input=None, fields=fields, response=response,
            source="", license="", origin="",
        ),
        instruction=turns[0] if instruction is None else instruction,
        turns=turns,
        at=at,
    )  # fmt: skip


def evolved(instruction: str, **rest: Any) -> Case:
    """Return a case that is about its instruction alone."""
    return case(instruction, "An answer.", **rest)


ANSWERS: list[tuple[Check, Case, bool]] = [
    (answers.HoldsLabel("labels"), case("?", "Yes, it does.", labels=("yes", "no")), True),
    (answers.HoldsLabel("labels"), case("?", "I cannot tell.", labels=("yes", "no way")), False),
    (answers.HoldsLabel("labels"), case("?", "हाँ।", language="hin_Deva", labels=("हाँ", "नहीं")), True),
    (answers.HoldsLabel("labels"), case("?", "शायद।", language="hin_Deva", labels=("हाँ", "नहीं")), False),
    (answers.HoldsLabel("labels"), case("?", "是的，可以。", language="zho_Hans", labels=("是", "不是")), True),
    (answers.HoldsLabel("labels"), case("?", "A seed that brings no labels apart."), True),
    (answers.HoldsOption("options"), case("?", "B. Bread", options=("Soup", "Bread")), True),
    (answers.HoldsOption("options"), case("?", "(A)", options=("Soup", "Bread")), True),
    (answers.HoldsOption("options"), case("?", "The right one is bread.", options=("Soup", "Bread")), True),
    (answers.HoldsOption("options"), case("?", "C. Neither", options=("Soup", "Bread")), False),
    (answers.HoldsOption("options"), case("?", "Alas, none of them.", options=("Soup", "Bread")), False),
    (answers.HoldsOption("options"), case("?", "أظنه الخبز.", language="arb_Arab", options=("الحساء", "الخبز")), True),
    (answers.FromText("passage", 0.5), case("?", "On Mondays.", passage="It is closed on Mondays."), True),
    (answers.FromText("passage", 0.5), case("?", "Never ever at all.", passage="It is closed on Mondays."), False),
    (answers.FromText("passage", 0.5), case("?", "周一休息。", language="zho_Hans", passage="本店周一休息。"), True),
    (answers.NamesFromText("text", 0.5), case("?", "Asha (mtu), Tanga (mji)", text="Asha alikwenda Tanga."), True),
    (answers.NamesFromText("text", 0.5), case("?", "Juma, Nairobi, Asha", text="Asha alikwenda Tanga."), False),
    (answers.NamesFromText("text", 0.5), case("?", "(nobody)", text="Asha alikwenda Tanga."), False),
    (answers.HoldsNumber(), case("?", "They pay 45 pounds."), True),
    (answers.HoldsNumber(), case("?", "उत्तर ४५ है।", language="hin_Deva"), True),
    (answers.HoldsNumber(), case("?", "They pay a lot."), False),
    (answers.InLanguageOf("target", 0.6), case("?", "El mercado abre a las siete.", target="spa_Latn"), True),
    (answers.InLanguageOf("target", 0.6), case("?", "The market opens at seven o'clock.", target="spa_Latn"), False),
    (answers.InLanguageOf("target", 0.6), case("?", "市场七点开门。", target="spa_Latn"), False),
    (answers.ShorterThan("text", 0.5), case("?", "Short.", text="A text of six words here."), True),
    (answers.ShorterThan("text", 0.5), case("?", "A text of six words here.", text="A text of six words here."), False),
    (answers.ChangesText("text"), case("?", "He does not.", text="He do not."), True),
    (answers.ChangesText("text"), case("?", "He do not!", text="he do not."), False),
    (answers.KeepsText("text", 0.5), case("?", "He does not like it.", text="He do not like it."), True),
    (
        answers.KeepsText("text", 0.5),
        case("?", "我昨天见了老师。", text="我昨天见面老师了。", language="zho_Hans"),
        True,
    ),
    (answers.KeepsText("text", 0.5), case("?", "Something else entirely, then.", text="He do not like it."), False),
]

EVOLUTIONS: list[tuple[Check, Case, bool]] = [
    (evolutions.Changed(0.85), evolved("What is snow, and why is it white?"), True),
    (evolutions.Changed(0.85), evolved("what is Snow ?"), False),
    (evolutions.Changed(0.85), evolved("बर्फ़ क्या है?", language="hin_Deva", seed="बर्फ़ क्या है"), False),
    (evolutions.NoAnswer(0.6, 12), evolved("Why does snow melt so slowly in the shade?"), True),
    (evolutions.NoAnswer(0.6, 12), evolved("Frozen water that falls from clouds in the winter."), False),
    (evolutions.NoAnswer(0.6, 12), evolved("Say yes or no: is snow cold?", response="Yes"), True),
    (evolutions.AddsWords(3), evolved("What is snow made of in cold mountains?"), True),
    (evolutions.AddsWords(3), evolved("What is snow really?"), False),
    (
        evolutions.AddsWords(3),
        evolved("雪是怎么形成的，为什么是白色的？", language="zho_Hans", seed="雪是什么？"),
        True,
    ),
    (evolutions.Mentions("variety"), evolved("Say it in Nigerian English, please."), True),
    (evolutions.Mentions("variety"), evolved("Say it in plain English, please."), False),
    (evolutions.Mentions("neighbour"), evolved("Give the word in Spanish as well."), True),
    (evolutions.Mentions("format"), evolved("Answer by numbered steps."), True),
    (evolutions.Mentions("anchor"), evolved("What is served at Thanksgiving?"), True),
    (evolutions.Mentions("anchor"), evolved("What is served at a wedding?"), False),
]

DIALOGUES: list[tuple[Check, Case, bool]] = [
    (dialogues.Shorter(0.8), case("?", "One two three four five.", "Shorter!", "One two.", at=2), True),
    (dialogues.Shorter(0.8), case("?", "One two three.", "Shorter!", "One two three four.", at=2), False),
    (
        dialogues.Shorter(0.8),
        case("?", "我们明天去市场买菜。", "短一点。", "明天买菜。", language="zho_Hans", at=2),
        True,
    ),
    (dialogues.Longer(1.0), case("?", "One two.", "More!", "One two three.", at=2), True),
    (dialogues.Longer(1.0), case("?", "One two three.", "More!", "One.", at=2), False),
    (dialogues.NewAnswer(0.8), case("?", "It is white.", "Why?", "Because of the light in it.", at=2), True),
    (dialogues.NewAnswer(0.8), case("?", "It is white, all of it.", "Why?", "It is white - all of it!", at=2), False),
    (dialogues.Recalls(), case("I have two rabbits.", "Nice.", "What do I have?", "Two rabbits.", at=2), True),
    (dialogues.Recalls(), case("I have two rabbits.", "Nice.", "What do I have?", "I forgot it.", at=2), False),
    (dialogues.Recalls(), case("I have rabbits.", "Nice.", "How many rabbits?", "Your rabbits are here.", at=2), False),
    (
        dialogues.Recalls(),
        case("मेरे पास दो खरगोश हैं।", "अच्छा।", "मेरे पास क्या है?", "आपके पास खरगोश हैं।", language="hin_Deva", at=2),
        True,
    ),
    (
        dialogues.Returns(),
        case("Basil dies.", "Water it.", "Soap?", "Yes.", "Back to the basil!", "Cut it.", at=4),
        True,
    ),
    (dialogues.Returns(), case("Basil dies.", "Water it.", "Soap?", "Yes.", "And cats?", "They purr.", at=4), False),
    (dialogues.InNeighbour(0.6), case("?", "No.", "In Spanish!", "Lleva agua y una chaqueta caliente.", at=2), True),
    (
        dialogues.InNeighbour(0.6),
        case("?", "No.", "In Spanish!", "Take water and a warm jacket with you.", at=2),
        False,
    ),
]


@pytest.mark.parametrize(("check", "one", "holds"), [*ANSWERS, *EVOLUTIONS, *DIALOGUES])
def test_a_check_holds_where_a_reader_would_say_so(check: Check, one: Case, holds: bool) -> None:
    """Each check, on cases that a reader can decide at a glance."""
    assert check.holds(one) == holds


def test_a_check_says_of_many_cases_what_it_says_of_each() -> None:
    """Those that look at all cases at once, and those that do not."""
    for check, _, _ in (*ANSWERS, *EVOLUTIONS, *DIALOGUES):
        told = [
            (one, holds)
            for other, one, holds in (*ANSWERS, *EVOLUTIONS, *DIALOGUES)
            if vars(other) == vars(check) and type(other) is type(check)
        ]
        assert check.all_hold([one for one, _ in told]) == [holds for _, holds in told]
        assert check.all_hold([]) == []


def test_every_check_has_a_reason_of_its_own() -> None:
    """No two classes reject for the same reason, so that counts by reason tell them apart."""
    found = [
        kind
        for module in (answers, evolutions, dialogues)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Check) and not inspect.isabstract(kind)
    ]
    assert len({kind.reason for kind in found}) == len(found) == 19
    assert {type(check) for check, _, _ in (*ANSWERS, *EVOLUTIONS, *DIALOGUES)} == set(found)


def test_an_unknown_aim_is_refused() -> None:
    """A declaration that names no aim stops before anything runs."""
    with pytest.raises(ValueError, match="is none of variety, anchor, format, neighbour"):
        evolutions.Mentions("flavour")  # type: ignore[arg-type]
