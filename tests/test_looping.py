"""A text that was ended because it went round in circles: asked for again, and rejected if it stands in the end."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from m2l import assemble, build, config
from m2l.filters.base import apply
from m2l.filters.length import Length
from m2l.records import Completion, FinishReason, LoopRule, Request
from tests.conftest import ROOT
from tests.filters.helpers import context, row, shipped, table
from tests.helpers import compose, piece
from tests.test_repair import SMALL, Scripted, sound, step


class Looping(Scripted):
    """Its answers to evolved instructions end in a loop until they are asked for the second time more."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, completion in super().generate(requests):
            loops = step(requests[index]) == "respond" and requests[index].attempt < 2
            reason = FinishReason.LOOP if loops else completion.finish_reason
            yield index, Completion(text=completion.text, finish_reason=reason)


def built(project: Path, repairs: int) -> tuple[list[Request], pl.DataFrame]:
    """Build one conversation with so many repairs; return the requests and the rejected rows."""
    engine = Looping(sound)
    composed = compose(project, *SMALL, f"recipe.repairs={repairs}")
    assemble.run_all(project, composed, tables=build.TABLES, dist=build.DIST, engine=engine)
    return engine.requests, pl.read_parquet(project / "data/tables/eng_Latn/rejected.parquet")


def test_it_is_asked_for_again(project: Path) -> None:
    """The text of a loop fails, however good it reads; the third one stands."""
    requests, rejected = built(project, repairs=3)
    assert [step(request) for request in requests] == ["evolve", *["respond"] * 3, "user", "assistant"]
    assert "looped" not in rejected["reasons"].explode().to_list()


def test_what_stands_in_the_end_is_rejected_by_name(project: Path) -> None:
    """With one repair the loop stays, and its rows say why they were rejected."""
    _, rejected = built(project, repairs=1)
    assert {name for names in rejected["reasons"] for name in names} >= {"looped"}


def test_the_rule_by_its_table() -> None:
    """In three scripts: a turn that ended in a loop is rejected by that name, one that was cut by its own."""
    rows = table(
        row("What is a mill?", "A house that grinds grain.", reasons=("stop", "loop")),
        row("चक्की क्या है?", "वह घर जो अनाज पीसता है।", reasons=("stop", "length")),
        row("磨坊是什么东西？", "磨粮食的房子，靠水转动。", reasons=("stop", "stop")),
    )
    length = shipped("length")
    assert isinstance(length, Length)
    kept, rejected = apply(rows, {"length": length, "truncation": shipped("truncation")}, context())
    assert kept["row_id"].to_list() == ["2"]
    assert rejected.select("row_id", "reasons").rows() == [("0", ["looped"]), ("1", ["truncated"])]


def test_the_rule_is_part_of_what_is_asked(project: Path) -> None:
    """Turned on it is in every request, and so are the keys; the bundled models have it off, the others on."""
    on = "+model.sampling.loop={max_period: 64, repeats: 4, min_tokens: 48}"
    assert piece(project, on).sampling.loop == LoopRule(max_period=64, repeats=4, min_tokens=48)
    ruled = {name for name in config.options(ROOT, "model") if config.load_model(ROOT, name).model.sampling.loop}
    assert set(config.options(ROOT, "model")) - ruled == {"gemma3_270m", "smollm2_135m"}
