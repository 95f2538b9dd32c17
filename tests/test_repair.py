"""Repair: what cannot stand is asked for again, only that, at most so often; and what a plan says of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from m2l import assemble, build, plan
from m2l.engine.base import Engine
from m2l.records import Completion, FinishReason, Request
from tests.conftest import Edit
from tests.helpers import NO_MODEL, compose

GOOD = "Tell me in three short sentences why the old mill on the river stopped working last winter."
SMALL = ("task=[general]", "operator=[general_deepening]", "variation=[refinement]", "recipe.seeds_per_task=1")


class Scripted(Engine):
    """Answers by a function of the request and of how often its prompt has been asked."""

    local = False

    def __init__(self, answer: Callable[[Request, int], str]) -> None:
        super().__init__(NO_MODEL)
        self.answer = answer
        self.requests: list[Request] = []

    @classmethod
    def backend(cls) -> str:
        return "scripted 1"

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            self.requests.append(request)
            text = self.answer(request, request.attempt)
            reason = FinishReason.LENGTH if text.endswith("-") else FinishReason.STOP
            yield index, Completion(text=text, finish_reason=reason)


def step(request: Request) -> str:
    """Say what a prompt of the completion frame asks for, by the label that it ends with."""
    assert isinstance(request.prompt, str)
    labels = {"Harder instruction:": "evolve", "Answer:": "respond", "User:": "user", "Assistant:": "assistant"}
    return next(name for label, name in labels.items() if request.prompt.endswith(label))


def sound(request: Request, attempt: int) -> str:
    """Answer every step as it should be."""
    return {
        "evolve": GOOD,
        "respond": "The ice broke the wheel. The miller was too old to mend it. So the mill stands still.",
        "user": "Please say that again in fewer and simpler words.",
        "assistant": "Ice broke the wheel and nobody mended it.",
    }[step(request)]


def run(project: Path, answer: Callable[[Request, int], str], *overrides: str) -> tuple[list[Request], pl.DataFrame]:
    """Build one conversation and return the requests and all its rows."""
    engine = Scripted(answer)
    composed = compose(project, *SMALL, *overrides)
    assemble.run_all(project, composed, tables=build.TABLES, dist=build.DIST, engine=engine)
    folder = project / "data/tables/eng_Latn"
    rows = [pl.read_parquet(folder / f"{name}.parquet") for name in ("evolved", "conversation", "rejected")]
    return engine.requests, pl.concat(rows, how="diagonal").filter(pl.col("kind") == "conversation")


def test_what_stands_is_asked_once(project: Path) -> None:
    """Four texts of one conversation, four calls, no repair."""
    requests, rows = run(project, sound, "recipe.repairs=2")
    assert [step(request) for request in requests] == ["evolve", "respond", "user", "assistant"]
    assert rows["attempts"].to_list() == [[0, 0, 0, 0]]


def test_a_failing_text_is_asked_again_until_it_stands(project: Path) -> None:
    """The seed copied, then an answer in French, then an evolution: three calls, and the third goes on."""
    first = ["Explain why bread dough has to rest before it goes into the oven.", "Il faut que la pâte repose, voilà !"]

    def answer(request: Request, attempt: int) -> str:
        return first[attempt] if step(request) == "evolve" and attempt < 2 else sound(request, attempt)

    requests, rows = run(project, answer, "recipe.repairs=2")
    assert [(step(request), request.attempt) for request in requests] == [
        ("evolve", 0), ("evolve", 1), ("evolve", 2), ("respond", 0), ("user", 0), ("assistant", 0),
    ]  # fmt: skip
    assert len({request.rng_seed for request in requests[:3]}) == 3
    assert len({request.prompt for request in requests[:3]}) == 1
    assert rows["evolved_user_prompt"].to_list() == [GOOD]
    assert rows["attempts"].to_list() == [[2, 0, 0, 0]]


def test_repairs_end_where_the_recipe_says_and_the_filters_judge_the_last(project: Path) -> None:
    """A text that never stands costs as many calls more as declared, and its row is rejected with its reason."""

    def answer(request: Request, attempt: int) -> str:
        return (
            f"This answer is longer, not shorter, try {attempt}. " * 3
            if step(request) == "assistant"
            else sound(request, 0)
        )

    requests, rows = run(project, answer, "recipe.repairs=3")
    assert [step(request) for request in requests].count("assistant") == 4
    assert len(requests) == 3 + 4
    assert "answer_not_shorter" in rows["reasons"].to_list()[0]
    assert "try 3" in rows["output_assistant_reply"].to_list()[0]


def test_a_cut_and_an_empty_text_are_repaired(project: Path) -> None:
    """Hitting the token budget and saying nothing are reasons to ask again."""

    def answer(request: Request, attempt: int) -> str:
        bad = {"respond": "The ice broke the wheel and then the miller -", "user": ""}
        return bad.get(step(request), sound(request, 0)) if attempt == 0 else sound(request, 0)

    requests, rows = run(project, answer, "recipe.repairs=1")
    assert [(step(request), request.attempt) for request in requests] == [
        ("evolve", 0), ("respond", 0), ("respond", 1), ("user", 0), ("user", 1), ("assistant", 0),
    ]  # fmt: skip
    assert rows["attempts"].to_list() == [[0, 1, 1, 0]]


def test_an_error_is_not_asked_again(project: Path) -> None:
    """What overflowed the context would overflow it again: one call, one row with its reason, at any step."""
    for failing in ("evolve", "respond", "user", "assistant"):

        class Failing(Scripted):
            def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
                for index, completion in super().generate(requests):
                    if step(requests[index]) == failing:  # noqa: B023
                        error = Completion(
                            text="", finish_reason=FinishReason.ERROR, prompt_tokens=9999, error="too long"
                        )
                        yield index, error
                    else:
                        yield index, completion

        engine = Failing(sound)
        overrides = ("task=[summarization]", "operator=[summarization_constraint]", *SMALL[2:], "recipe.repairs=2")
        composed = compose(project, *overrides)
        (project / build.STORE).unlink(missing_ok=True)
        assemble.run_all(project, composed, tables=build.TABLES, dist=build.DIST, engine=engine)
        assert [step(request) for request in engine.requests].count(failing) == 1
        rejected = pl.read_parquet(project / "data/tables/eng_Latn/rejected.parquet")
        assert "too long" in rejected["error"].to_list()


def test_greedy_sampling_is_not_repaired(project: Path) -> None:
    """At temperature 0 the same would come out again, so it is not asked for."""
    requests, _ = run(project, lambda request, _: "Nope.", "recipe.repairs=3", "model.sampling.temperature=0.0")
    assert [request.attempt for request in requests] == [0] * len(requests)


def test_a_second_run_repairs_nothing_again(project: Path) -> None:
    """Failed attempts are in the store too: a rebuild makes no call."""

    def answer(request: Request, attempt: int) -> str:
        return "Non, pas du tout, je ne veux pas le faire aujourd'hui." if attempt == 0 else sound(request, attempt)

    first, _ = run(project, answer, "recipe.repairs=2")
    assert len(first) == 8
    again, _ = run(project, answer, "recipe.repairs=2")
    assert again == []


def test_editing_a_filter_makes_no_call(project: Path, edit: Edit) -> None:
    """What a filter rejects is not repaired, however strict it becomes."""
    run(project, sound, "recipe.repairs=2")
    edit("conf/filter/length.yaml", "max_words: 400", "max_words: 3")
    again, rows = run(project, sound, "recipe.repairs=2")
    assert again == []
    assert "too_long" in rows["reasons"].to_list()[0]


def test_a_plan_bounds_the_repairs(project: Path) -> None:
    """Made and hanging are the least that a build without failures makes; with repairs it is never more than said."""
    composed = compose(project, *SMALL, "recipe.repairs=2")
    planned = plan.plan(project, composed).plans[0].total
    assert (planned.made, planned.hanging, planned.repairs) == (1, 3, 8)
    requests, _ = run(project, lambda request, attempt: sound(request, 0) if attempt else "Non !", "recipe.repairs=2")
    assert planned.made + planned.hanging <= len(requests) <= planned.made + planned.hanging + planned.repairs
    assert plan.plan(project, composed).plans[0].total == plan.Count(reused=len(requests))
