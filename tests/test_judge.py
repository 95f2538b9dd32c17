"""An LLM judge: off it costs and changes nothing, on it is one more round of calls, and its marks are a filter's."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import polars as pl
import pytest

from m2l import build, config, judging, plan, slices
from m2l.records import Completion, FinishReason, JsonSchema, Request, Turn
from m2l.store import Store
from tests.command import m2l
from tests.conftest import ROOT, Edit
from tests.filters.helpers import context, row, table
from tests.helpers import Counting, compose, piece, run, tree

JUDGE = "judge=quality"
TABLES = Path("data/tables/eng_Latn")
DRAFTS = 48
"""Evolved rows and conversations of the starter recipe in one language."""


def asked(requests: Sequence[Request]) -> list[Request]:
    """Return the requests that ask for marks."""
    return [request for request in requests if isinstance(request.grammar, JsonSchema)]


def marks(project: Path) -> pl.DataFrame:
    """Return the table of marks."""
    return pl.read_parquet(project / TABLES / "judged.parquet")


@pytest.mark.parametrize("name", config.options(ROOT, "judge"))
@pytest.mark.parametrize("model", ["gemma3_270m", "smollm2_135m"])
def test_a_shipped_judge_renders_for_both_kinds_of_model(name: str, model: str) -> None:
    """Composing renders a request of it in every language, or raises; its file bears its name."""
    found = slices.compose(ROOT, ["engine=fake", "language=[all]", f"judge={name}", f"model={model}", "recipe=starter"])
    assert len(found.slices) == len(config.options(ROOT, "language"))
    assert {made.judge.name for made in found.slices.values() if made.judge} == {name}


def test_without_one_no_slice_says_a_word_of_it(project: Path) -> None:
    """A slice is byte for byte as it was before there were judges."""
    assert b"judge" not in slices.content(piece(project))
    assert b"judge" in slices.content(piece(project, JUDGE))


def test_it_adds_its_own_calls_and_no_other(project: Path) -> None:
    """Chosen after a build, every finished row is one call, and no text is written again; then nothing is left."""
    first = run(project)
    assert asked(first) == []
    added = run(project, JUDGE)
    assert len(added) == len(asked(added)) == DRAFTS
    assert run(project, JUDGE) == []


def test_a_plan_says_how_many(project: Path) -> None:
    """Before the texts are there its calls hang on them, afterwards they are counted; none can be asked for again."""
    before = plan.plan(project, compose(project)).plans[0].total
    hanging = plan.plan(project, compose(project, JUDGE)).plans[0].total
    assert hanging.hanging - before.hanging == DRAFTS
    run(project)
    total = plan.plan(project, compose(project, JUDGE)).plans[0].total
    assert (total.made, total.hanging, total.repairs) == (DRAFTS, 0, 0)


def test_marks_are_kept_with_what_was_asked(project: Path) -> None:
    """A row for each: the prompt with the conversation in it, the answer as it is in the store, its marks and mean."""
    run(project, JUDGE, "recipe.repairs=0")
    judged = marks(project)
    assert judged["row_id"].is_unique().all()
    rows = pl.concat(
        pl.read_parquet(project / TABLES / f"{name}.parquet").select("row_id", "kind", "conversation")
        for name in ("evolved", "conversation", "rejected")
    ).filter(pl.col("kind") != "seed")
    assert set(judged["row_id"]) == set(rows["row_id"])
    talks = dict(rows.select("row_id", "conversation").iter_rows())
    with Store(project / build.STORE, readonly=True) as store:
        kept = store.requests(judged["request_key"])
    for one in judged.iter_rows(named=True):
        request, completion = kept[one["request_key"]]
        assert (one["prompt"], one["answer"]) == (request.prompt, completion.text)
        assert all(turn["content"] in one["prompt"] for turn in talks[one["row_id"]])
        given = json.loads(completion.text)
        assert {mark["criterion"]: mark["mark"] for mark in one["marks"]} == given
        assert list(given) == ["language", "relevance", "correctness"]
        assert one["score"] == pytest.approx(mean(given.values()))
    counts = json.loads((project / TABLES / "counts.json").read_text())["judged"]
    assert counts == {"asked": DRAFTS, "without_score": 0, "mean_score": round(mean(judged["score"]), 3)}


def test_editing_the_least_mark_asks_nothing(project: Path) -> None:
    """With the filter, what is below the mark is rejected by name; another mark moves rows and makes no call."""
    chosen = [JUDGE, "filter=[judge]"]
    run(project, *chosen)
    scores = dict(marks(project).select("row_id", "score").iter_rows())
    for least in (2.5, 3.5):
        assert run(project, *chosen, f"filter.judge.min_score={least}") == []
        rejected = pl.read_parquet(project / TABLES / "rejected.parquet")
        assert set(rejected["reason"]) == {"judged_low"}
        assert set(rejected["row_id"]) == {row_id for row_id, score in scores.items() if score < least}


def test_turned_off_again_everything_is_as_before(project: Path) -> None:
    """Tables are byte for byte those without a judge, and its own table is gone."""
    run(project)
    before = tree(project / TABLES)
    run(project, JUDGE)
    assert (project / TABLES / "judged.parquet").is_file()
    assert run(project) == []
    assert tree(project / TABLES) == before


def test_editing_the_rubric_asks_the_judge_alone(project: Path, edit: Edit) -> None:
    """All marks are asked for anew, and no text."""
    run(project, JUDGE)
    edit("conf/judge/quality.yaml", "Be strict: most", "Be very strict: most")
    again = run(project, JUDGE)
    assert len(again) == len(asked(again)) == DRAFTS


def test_each_language_is_judged_in_its_own_words(project: Path) -> None:
    """French has a rubric of its own, Hindi gets the English one; a base model is shown examples, a chat model none."""
    pieces = compose(project, JUDGE, "language=[fra_Latn,hin_Deva]").slices
    rubrics = {name: piece_.judge.rubric for name, piece_ in pieces.items() if piece_.judge}
    assert rubrics["fra_Latn"].startswith("Lis la conversation")
    assert rubrics["hin_Deva"].startswith("Read the conversation")
    assert all(len(piece_.judge.shots) == 3 for piece_ in pieces.values() if piece_.judge)
    chat = piece(project, JUDGE, "model=smollm2_135m").judge
    assert chat is not None
    assert (chat.chat, chat.shots) == (True, ())


def test_another_model_can_judge(project: Path) -> None:
    """The judge's requests name its weights and its form; the texts' requests are as without a judge."""
    plain = {request.key for request in run(project)}
    added = run(project, JUDGE, "judge.model=smollm2_135m")
    assert {request.model for request in added} == {"fake:smollm2_135m"}
    assert all(isinstance(request.prompt, tuple) for request in added)
    assert not plain & {request.key for request in added}
    assert set(marks(project)["model"]) == {"smollm2_135m"}


def test_the_engine_is_exchanged_for_another_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's engine is closed before the judge's opens, as memory may hold one of them alone."""
    events: list[str] = []

    class Opened(Counting):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            events.append(f"open {name}")

        def close(self) -> None:
            events.append(f"close {self.name}")

    monkeypatch.setattr(build, "open_engine", lambda _root, piece_: Opened(piece_.identity.name))
    report = build.build(project, piece(project, JUDGE, "judge.model=smollm2_135m"))
    assert report.made > DRAFTS
    assert events == ["open gemma3_270m", "close gemma3_270m", "open smollm2_135m", "close smollm2_135m"]


class Mumbling(Counting):
    """Gives marks that are none, in every way that there is."""

    answers = ('{"language": 9, "relevance": 1, "correctness": 1}', '{"language": 3}', "fine", "", "[]")

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, completion in super().generate(requests):
            if isinstance(requests[index].grammar, JsonSchema):
                text = self.answers[index % len(self.answers)]
                yield index, Completion(text=text, finish_reason=FinishReason.STOP)
            else:
                yield index, completion


def test_an_answer_without_marks_is_a_reason(project: Path) -> None:
    """Such rows have no score; with the filter they are rejected as `not_judged`, and stop nothing."""
    build.build(project, piece(project, JUDGE, "filter=[judge]"), engine=Mumbling())
    assert marks(project)["score"].null_count() == DRAFTS
    rejected = pl.read_parquet(project / TABLES / "rejected.parquet")
    assert rejected.height == DRAFTS
    assert set(rejected["reason"]) == {"not_judged"}


def test_the_filter_by_its_table() -> None:
    """A row with a high mean is kept, one with a low mean or none rejected, a seed and one not asked about kept."""
    import msgspec

    from m2l.filters.base import apply
    from m2l.filters.judge import Judge

    rows = table(row("a", "b"), row("क", "ख"), row("你", "好"), row("s", "t", kind="seed"))
    where = msgspec.structs.replace(context(), scores={"0": 3.0, "1": 2.99, "2": None})
    kept, rejected = apply(rows, {"judge": Judge(min_score=3.0)}, where)
    assert kept["row_id"].to_list() == ["0", "3"]
    assert rejected.select("row_id", "reason").rows() == [("1", "judged_low"), ("2", "not_judged")]
    assert apply(rows, {"judge": Judge(min_score=3.0)}, context())[0].height == 4


def test_a_row_shows_its_marks(project: Path) -> None:
    """`m2l show` says who judged it and how."""
    run(project, JUDGE)
    one = marks(project).row(0, named=True)
    lines = m2l(project, "show", one["row_id"]).stdout.splitlines()
    [line] = [line for line in lines if line.startswith("judge ")]
    first = one["marks"][0]
    assert f"quality (gemma3_270m): {first['criterion']} {first['mark']}, " in line
    assert line.endswith(f"mean {one['score']:.2f}; call {one['request_key']}")


ERRORS = {
    "a filter without a judge": (
        None,
        ["filter=[judge]"],
        "ConfigError: conf/filter/judge.yaml: no judge gives marks. Choose one, such as judge=quality.",
    ),
    "an unknown judge": (
        None,
        ["judge=qualty"],
        "ConfigError: override 'judge=qualty': unknown judge 'qualty'. Did you mean 'quality'? Available: quality.",
    ),
    "a scale upside down": (
        ("scale: [1, 2, 3, 4, 5]", "scale: [5, 1]"),
        [JUDGE],
        "ConfigError: conf/judge/quality.yaml: scale is no list of two marks or more, the worst first. Correct it.",
    ),
    "an example without a mark": (
        ("marks: {language: 5, relevance: 5, correctness: 4}", "marks: {language: 5, relevance: 5}"),
        [JUDGE],
        "ConfigError: conf/judge/quality.yaml: shots.eng_Latn.0.marks are not one mark of the scale for each criterion "
        "(language, relevance, correctness). Correct them.",
    ),
    "an unknown variable": (
        ("  Marks: {{ shot.answer }}", "  Marks: {{ mark }}"),
        [JUDGE],
        "TemplateError: conf/judge/quality.yaml: completion: unknown template variable 'mark'. Available: "
        "conversation, criteria, form, labels, language, rubric, shots.",
    ),
    "a criterion twice": (
        ("- name: relevance", "- name: language"),
        [JUDGE],
        "ConfigError: conf/judge/quality.yaml: criteria are none, or one stands twice. Name each once.",
    ),
    "an unknown model": (
        None,
        [JUDGE, "judge.model=gemma"],
        "ConfigError: conf: unknown model 'gemma'. ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_judge_is_one_line(project: Path, edit: Edit, name: str) -> None:
    """Each stops `m2l plan` before anything is made, and says what to do."""
    change, arguments, expected = ERRORS[name]
    if change is not None:
        edit("conf/judge/quality.yaml", *change)
    done = m2l(project, "plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_the_grammar_keeps_the_order_of_the_criteria(project: Path) -> None:
    """A slice that was written and read asks for the same as one that was just composed."""
    composed = compose(project, JUDGE)
    slices.write(composed, project / slices.FOLDER)
    read = slices.read(project / slices.FOLDER, "eng_Latn")
    form = composed.slices["eng_Latn"].judge
    assert form is not None
    assert read.judge is not None
    assert judging.schema(read.judge) == judging.schema(form)
    assert list(json.loads(judging.schema(form).json_schema)["properties"]) == ["language", "relevance", "correctness"]


@pytest.mark.model
def test_the_default_model_judges_in_form(project: Path) -> None:
    """A base model that is shown examples gives marks to every row, greedily and by its grammar.

    What they are worth is another question: a model of this size knows nothing of quality.
    """
    name = "gemma-3-270m-q4_k_m.gguf"
    (project / "cache/models" / name).symlink_to(ROOT / "cache/models" / name)
    if (ROOT / "cache/model_lock.json").is_file():
        shutil.copy(ROOT / "cache/model_lock.json", project / "cache/model_lock.json")
    made = piece(
        project, JUDGE, "engine=llama", "engine.n_slots=8", "engine.n_ctx=1536", "engine.n_threads=1", "task=[general]",
        "recipe.seeds_per_task=1",
    )  # fmt: skip
    report = build.build(project, made)
    judged = marks(project)
    assert judged.height == report.counts["judged"]["asked"] == 6  # type: ignore[index]
    assert judged["score"].null_count() == 0
    assert judged["score"].is_between(1, 5).all()
    assert judged["finish_reason"].to_list() == ["stop"] * 6
    assert judged["prompt"].str.ends_with("Marks:").all()


def test_a_chat_judge_sees_the_conversation_in_one_message(project: Path) -> None:
    """A chat model is asked in one user message that ends with the form of the answer."""
    requests = asked(run(project, JUDGE, "model=smollm2_135m"))
    assert len(requests) == DRAFTS
    for request in requests:
        assert isinstance(request.prompt, tuple)
        [turn] = request.prompt
        assert isinstance(turn, Turn)
        assert turn.content.endswith('as JSON: {"language": 1, "relevance": 1, "correctness": 1}')
