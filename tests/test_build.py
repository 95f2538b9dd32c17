"""What a rebuild costs, and that nothing is lost, doubled or changed on the way."""

import sqlite3
from pathlib import Path

import msgspec
import polars as pl
import pytest

from m2l import build, config, rows, slices
from m2l.errors import BuildError, StoreError
from m2l.records import Completion, FinishReason, Request
from m2l.store import Store
from tests.conftest import Edit
from tests.helpers import Counting, PowerCutError, compose, piece, run, tree

OPERATOR = "conf/operator/general_deepening.yaml"


def test_a_second_run_makes_no_call_and_the_same_bytes(project: Path) -> None:
    """Building twice asks the engine nothing the second time and rewrites identical files."""
    assert run(project)
    before = tree(project / "data" / "dist") | tree(project / "data" / "tables")
    assert run(project) == []
    assert tree(project / "data" / "dist") | tree(project / "data" / "tables") == before


def test_the_tables_hold_every_draft_once(project: Path) -> None:
    """Seeds x operators x turns come out as rows, each kept or rejected, none lost or doubled."""
    run(project)
    folder = project / "data" / "tables" / "eng_Latn"
    rejected = pl.read_parquet(folder / "rejected.parquet")
    for kind, expected in (("seed", 8), ("evolved", 24), ("conversation", 24)):
        kept = pl.read_parquet(folder / f"{kind}.parquet")
        ids = kept["row_id"].to_list() + rejected.filter(pl.col("kind") == kind)["row_id"].to_list()
        assert len(ids) == len(set(ids)) == expected
    turns = {"follow_up": 3, "refinement": 2, "expansion": 3, "recollection": 4}
    talks = pl.read_parquet(folder / "conversation.parquet")
    for row in talks.iter_rows(named=True):
        assert row["no_of_turns"] == turns[row["multiturn_evol_type"]] == len(row["conversation"]) / 2
        assert [turn["role"] for turn in row["conversation"]] == ["user", "assistant"] * row["no_of_turns"]
        assert len(row["request_keys"]) == len(row["conversation"])


def test_editing_an_operator_makes_exactly_what_its_text_reaches(project: Path, edit: Edit) -> None:
    """The oracle: requests of the fresh build of the edited project that a build of the old one did not make."""
    first = {request.key for request in run(project)}
    edit(OPERATOR, "one more step of reasoning", "two more steps of reasoning")
    made = [request.key for request in run(project)]
    (project / "cache" / "store.sqlite").unlink()
    fresh = {request.key for request in run(project)}
    assert len(made) == len(set(made))
    assert set(made) == fresh - first
    assert 0 < len(made) < len(fresh)


def test_reverting_an_edit_costs_nothing_and_gives_the_old_bytes(project: Path, edit: Edit) -> None:
    """An edit and its revert end in the first dataset, without a call for the revert."""
    run(project)
    before = tree(project / "data" / "dist")
    edit(OPERATOR, "one more step", "two more steps")
    assert run(project)
    assert tree(project / "data" / "dist") != before
    edit(OPERATOR, "two more steps", "one more step")
    assert run(project) == []
    assert tree(project / "data" / "dist") == before


def test_a_later_turn_leaves_the_turns_before_it_alone(project: Path, edit: Edit) -> None:
    """Editing the last turn of a variation asks again for that turn and its answer only."""
    run(project)
    edit("conf/variation/recollection.yaml", "in the very first message", "at the very beginning")
    made = run(project)
    talks = [draft for draft in _conversations(project) if draft["multiturn_evol_type"] == "recollection"]
    assert len(made) == 2 * len(talks)


def _conversations(project: Path) -> list[dict[str, object]]:
    folder = project / "data" / "tables" / "eng_Latn"
    kept = pl.read_parquet(folder / "conversation.parquet").to_dicts()
    rejected = pl.read_parquet(folder / "rejected.parquet").filter(pl.col("kind") == "conversation").to_dicts()
    return kept + rejected


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (OPERATOR, "family: depth\napplies_to: [general]", "applies_to: [general]\nfamily: depth"),
        (OPERATOR, "family: depth", "family: depth # a comment"),
        ("conf/filter/length.yaml", "max_words: 400", "max_words: 9"),
        ("conf/filter/foreign_share.yaml", "max_english: 0.15", "max_english: 0.01"),
        ("conf/filter/repetition.yaml", "min_count: 3", "min_count: 2"),
        ("conf/config.yaml", "      - refusals\n", ""),
        ("conf/recipe/starter.yaml", "conversation: 20", "conversation: 3"),
        ("conf/engine/fake.yaml", "# No model", "# There is no model"),
    ],
)
def test_what_renders_to_the_same_requests_costs_nothing(
    project: Path, edit: Edit, file: str, old: str, new: str
) -> None:
    """Order of keys, comments, filters and quotas make no call."""
    run(project)
    edit(file, old, new)
    assert run(project) == []


def test_reordering_and_comments_change_no_slice(project: Path, edit: Edit) -> None:
    """A slice is rewritten only when its content changed, so that DVC visits nothing."""
    slices.write(compose(project), project / slices.FOLDER)
    edit(OPERATOR, "family: depth\napplies_to: [general]", "applies_to: [general] # why not\nfamily: depth")
    assert slices.write(compose(project), project / slices.FOLDER) == []
    edit("params.yaml", "[eng_Latn]", "[eng_Latn, fra_Latn]")
    assert slices.write(compose(project), project / slices.FOLDER) == ["fra_Latn", "dataset"]


def test_adding_a_seed_makes_only_its_own_rows(project: Path, edit: Edit) -> None:
    """One more seed of a task, at the end of the file, leaves every other row as it was."""
    run(project, "recipe.seeds_per_task=99")
    before = {row["row_id"]: row for row in _conversations(project)}
    path = project / "data" / "seeds" / "starter" / "eng_Latn.jsonl"
    row = '{"task": "general", "instruction": "How do I sharpen a knife?", "response": "Use a wet stone, slowly."}\n'
    path.write_text(path.read_text(encoding="utf-8") + row, encoding="utf-8")
    made = run(project, "recipe.seeds_per_task=99")
    after = {row["row_id"]: row for row in _conversations(project)}
    assert {key: after[key]["conversation"] for key in before} == {k: v["conversation"] for k, v in before.items()}
    assert len(after) == len(before) + 3
    assert all("sharpen a knife" in str(request.prompt) for request in made[:3])


@pytest.mark.parametrize("limit", [1, 23, 24, 25, 77, 120])
def test_a_crash_after_k_completions_costs_the_rest_and_no_more(project: Path, limit: int) -> None:
    """A build that dies after k calls and runs again makes n - k calls and the same dataset."""
    whole = run(project)
    expected = tree(project / "data" / "tables")
    (project / "cache" / "store.sqlite").unlink()
    with pytest.raises(PowerCutError):
        run(project, limit=limit)
    assert len(run(project)) == len(whole) - limit
    assert tree(project / "data" / "tables") == expected


def test_a_damaged_entry_is_made_again_and_no_other(project: Path) -> None:
    """A flipped byte in one completion loses that entry; the dataset comes out as before."""
    run(project)
    expected = tree(project / "data" / "tables")
    with sqlite3.connect(project / "cache" / "store.sqlite") as connection:
        key, value = connection.execute("SELECT key, completion FROM completions LIMIT 1").fetchone()
        damaged = bytes(value[:12]) + bytes([value[12] ^ 1]) + bytes(value[13:])
        connection.execute("UPDATE completions SET completion = ? WHERE key = ?", (damaged, key))
    connection.close()
    assert [request.key for request in run(project)] == [key]
    assert tree(project / "data" / "tables") == expected


def test_a_full_disk_is_one_line_and_loses_nothing(project: Path) -> None:
    """When the store cannot grow, the build stops by name, and goes on once there is room."""
    whole = len(run(project))
    (project / "cache" / "store.sqlite").unlink()
    composed = compose(project)
    engine = Counting()
    store = Store(project / build.STORE)
    pages = 40
    original = Store.__init__

    def small(self: Store, path: Path, *, readonly: bool = False) -> None:
        original(self, path, readonly=readonly)
        if self._connection is not None:
            self._connection.execute(f"PRAGMA max_page_count={pages}")

    store.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "__init__", small)
        with pytest.raises(StoreError, match=r"disk is full; all completions up to here are kept\. Free some space"):
            build.build(project, composed.slices["eng_Latn"], engine=engine)
    with Store(project / build.STORE, readonly=True) as kept:
        there = len(kept)
    assert 0 < there < whole
    assert len(run(project)) == whole - there


def test_another_build_of_the_same_slice_is_refused(project: Path) -> None:
    """Two processes never write the same tables; the second one says who is at it."""
    from m2l.process import exclusive

    holder = exclusive(build.lock_path(project, build.TABLES, "eng_Latn"), "build of eng_Latn")
    with holder, pytest.raises(BuildError, match=r"^build of eng_Latn: process \d+ is at it already\. Wait"):
        build.build(project, piece(project), engine=Counting())


def test_a_silent_model_is_a_row_with_a_reason(project: Path) -> None:
    """An engine that answers nothing gives rejected rows, not an exception."""

    class Mute(Counting):
        def generate(self, requests):  # type: ignore[no-untyped-def]
            for index, _ in enumerate(requests):
                yield index, Completion(text=" \n", finish_reason=FinishReason.STOP)

    report = build.build(project, piece(project), engine=Mute())
    assert report.counts["evolved"] == {"attempted": 24, "kept": 0, "rejected": {"no_answer": 24}, "repaired": 0}
    assert report.counts["conversation"] == {"attempted": 0, "kept": 0, "rejected": {}, "repaired": 0}


def test_an_overflow_holds_only_while_the_context_is_no_larger(project: Path) -> None:
    """A stored overflow is a hit at the same n_ctx and is asked again once n_ctx has grown."""
    request = Request(
        prompt="x", model="m", chat_template=None, backend="b",
        sampling=piece(project).model.sampling, max_tokens=10,
    )  # fmt: skip
    failed = Completion(text="", finish_reason=FinishReason.ERROR, prompt_tokens=95, error="context overflow")
    with Store(project / "other.sqlite") as store:
        store.put(request, failed)
        small, large = (msgspec.structs.replace(piece(project), engine={"n_ctx": size}) for size in (100, 200))
        assert request.key in build.standing(store, [request], small)
        assert build.standing(store, [request], large) == {}
        good = Completion(text="now it fits", finish_reason=FinishReason.STOP)
        assert store.put(request, good) == good
        assert store.get([request]) == {request.key: good}


def test_languages_are_built_apart_and_shared_by_name(project: Path) -> None:
    """One more language makes its own calls and leaves the bytes of the others."""
    run(project)
    before = tree(project / "data" / "tables" / "eng_Latn")
    made = run(project, "language=[eng_Latn,hin_Deva]")
    assert len(made) > 100
    assert tree(project / "data" / "tables" / "eng_Latn") == before
    full = pl.read_parquet(project / "data" / "dist" / "full_data" / "train.parquet")
    assert set(full["language"]) == {"eng_Latn", "hin_Deva"}
    assert full["id"].to_list() == list(range(full.height))


def test_params_yaml_gives_way_to_the_command_line(project: Path) -> None:
    """A recipe or language on the command line replaces the languages of params.yaml, anything else adds to them."""
    params = config.Params(languages=("eng_Latn",), overrides=("recipe=starter",))
    assert config.effective_overrides(params, ["model.sampling.top_k=5"]) == [
        "recipe=starter",
        "language=[eng_Latn]",
        "model.sampling.top_k=5",
    ]
    assert config.effective_overrides(params, ["recipe=other"]) == ["recipe=starter", "recipe=other"]
    assert config.effective_overrides(params, ["language=[fra_Latn]"]) == ["recipe=starter", "language=[fra_Latn]"]


def test_filters_are_tried_in_the_declared_order(project: Path) -> None:
    """A sweep, which composes, and `dvc repro`, which reads the file of a slice, give a row the same first reason."""
    declared = "refusals", "length", "blank"
    composed = compose(
        project, f"filter=[{','.join(declared)}]", "filter.blank.min_share=1", "filter.length.max_words=1"
    )
    slices.write(composed, project / slices.FOLDER)
    found = []
    for read in (composed.slices["eng_Latn"], slices.read(project / slices.FOLDER, "eng_Latn")):
        assert tuple(rows.filters(read)) == declared
        build.build(project, read, engine=Counting())
        rejected = pl.read_parquet(project / "data" / "tables" / "eng_Latn" / "rejected.parquet")
        found.append(rejected["reason"].to_list())
    assert set(found[0]) == {"too_long"}
    assert found[0] == found[1]
