"""Rendered prompts, one of each kind, as a person has read and approved them.

After a deliberate change of a frame or a directive: `pytest tests/test_prompts.py --approve`,
then read the difference.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from m2l import evolve, slices
from m2l.draft import Draft
from m2l.prompts import Prompts, directives
from m2l.records import Request, Turn
from m2l.spec import Slice
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden" / "prompts"
FAMILIES = ("depth", "constraint", "concretizing")
LANGUAGES = ("eng_Latn", "hin_Deva", "zho_Hans")


def composed(frame: str) -> slices.Composed:
    """The shipped slices with a frame, without a model."""
    return slices.compose(ROOT, ["engine=fake", f"frame={frame}", f"language=[{','.join(LANGUAGES)}]"])


def talk(piece: Slice, variation: str) -> Draft:
    """A conversation after its first exchange, as the variation goes on with it."""
    draft = evolve.drafts(piece)[0]
    chosen = piece.variation[variation]
    return replace(
        draft,
        variation=variation,
        variation_family=chosen.family,
        variation_prompts=directives(piece, variation, draft.evolved_id),
        instruction="[instruction]",
        turns=(Turn("user", "[instruction]"), Turn("assistant", "[first line]\n[second line]")),
    )


def text_of(request: Request) -> str:
    """The prompt as a model sees it, with what ends the answer."""
    if isinstance(request.prompt, str):
        body = request.prompt
    else:
        body = "\n".join(f"[{turn.role}]\n{turn.content}" for turn in request.prompt)
    return f"{body}\n--- max_tokens {request.max_tokens}, stop {list(request.stop)}\n"


def rendered(frame: str, language: str) -> dict[str, str]:
    """One prompt of each operator family, and of each step of a conversation."""
    piece = composed(frame).slices[language]
    writer = Prompts(piece)
    prompts = {}
    for family in FAMILIES:
        draft = next(draft for draft in evolve.drafts(piece) if draft.operator_family == family)
        prompts[f"evolve_{family}"] = text_of(writer.evolve(draft))
    first = talk(piece, "refinement")
    prompts["respond"] = text_of(writer.respond(replace(first, turns=first.turns[:1])))
    prompts["user_turn"] = text_of(writer.user_turn(first))
    going = replace(first, turns=(*first.turns, Turn("user", "[next]")))
    prompts["assistant_turn"] = text_of(writer.assistant_turn(going))
    return prompts


@pytest.mark.parametrize(("frame", "language"), [("completion", name) for name in LANGUAGES] + [("chat", "eng_Latn")])
def test_prompts_are_those_that_were_approved(frame: str, language: str, request: pytest.FixtureRequest) -> None:
    """Every kind of prompt, in three scripts and both frames."""
    for name, text in rendered(frame, language).items():
        path = GOLDEN / f"{frame}_{language}_{name}.txt"
        if request.config.getoption("--approve"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path.name} differs; see the top of this file"


def test_a_conversation_prompt_begins_with_the_one_before() -> None:
    """In the completion frame a round's prompt goes on from the last round's, so that its KV is reused."""
    piece = composed("completion").slices["eng_Latn"]
    writer = Prompts(piece)
    draft = talk(piece, "recollection")
    user = writer.user_turn(draft).prompt
    draft = replace(draft, turns=(*draft.turns, Turn("user", "[next]")))
    answer = writer.assistant_turn(draft).prompt
    assert isinstance(user, str)
    assert isinstance(answer, str)
    directive = f"({draft.variation_prompts[0]})\nUser:"
    assert user.endswith(directive)
    assert answer.startswith(user.removesuffix(directive))


def test_examples_of_an_answer_are_never_the_seed_itself() -> None:
    """A seed is not shown its own answer, and appending a seed changes no one's examples."""
    piece = composed("completion").slices["eng_Latn"]
    writer = Prompts(piece)
    for seed in piece.examples:
        shown = writer.answered(seed)
        assert len(shown) == piece.frame.shots
        assert seed not in shown
        assert {other.task for other in shown} == {seed.task}
