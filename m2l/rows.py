"""From drafts to tables: a row for each, judged by the filters, kept or rejected with its reasons."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from m2l import config, judging, schema
from m2l.draft import Draft, with_input
from m2l.filters.base import Context, Filter, apply
from m2l.pipeline import Drafts
from m2l.spec import Slice


def judge(root: Path, piece: Slice, drafts: Drafts) -> tuple[dict[str, pl.DataFrame], dict[str, object]]:
    """Return the kept rows by kind with `rejected` and `quarantined`, and the counts of all of them."""
    known = msgspec.structs.replace(context(root, piece), scores=_scores(piece, drafts))
    chosen = filters(piece)
    raw: dict[str, list[dict[str, Any]]] = {
        "seed": [_seed_row(piece, index) for index in range(len(piece.seeds))],
        "evolved": [_row(piece, draft) for draft in drafts.evolved],
        "conversation": [_row(piece, draft) for draft in drafts.conversations],
    }
    result: dict[str, pl.DataFrame] = {}
    rejected = []
    counts: dict[str, object] = {}
    for kind, rows in raw.items():
        kept, failed = _judge_kind(rows, chosen, known)
        result[kind] = kept
        rejected.append(failed)
        counts[kind] = {
            "attempted": len(rows),
            "kept": kept.height,
            "rejected": _by_reason(failed),
            "repaired": sum(any(row["attempts"]) for row in rows),
        }
    result["rejected"] = pl.concat(rejected)
    aside = [msgspec.to_builtins(row) | {"language": piece.language_code} for row in piece.quarantined]
    result["quarantined"] = schema.frame(aside, schema.QUARANTINED)
    if piece.judge is not None:
        result["judged"] = schema.frame(_judged(piece, drafts), schema.JUDGED)
        counts["judged"] = _judged_counts(result["judged"])
    counts["quarantined"] = dict(sorted(Counter(row.reason for row in piece.quarantined).items()))
    return result, counts


def filters(piece: Slice) -> dict[str, Filter]:
    """Return the filters of a slice in the order in which they were declared: the file of a slice sorts its keys."""
    return {
        name: config.instantiate(piece.filter[name], Filter, where=f"conf/filter/{name}.yaml")
        for name in piece.filter_order
        if name in piece.filter
    }


def context(root: Path, piece: Slice) -> Context:
    """Return what a filter may know of a slice."""
    return Context(
        root=root,
        language_code=piece.language_code,
        language=piece.language,
        others=piece.others,
        task=piece.task,
        operator=piece.operator,
        variation=piece.variation,
        seeds={seed.seed_id: seed for seed in piece.seeds},
        examples=piece.examples,
    )


def _judge_kind(
    rows: list[dict[str, object]], filters: dict[str, Filter], context: Context
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows.sort(key=lambda row: str(row["row_id"]))
    written = [row for row in rows if row["error"] is None]
    silent = [
        {name: value for name, value in row.items() if name != "instruction"}
        | {"reason": "no_answer", "reasons": ["no_answer"]}
        for row in rows
        if row["error"] is not None
    ]
    table = schema.frame(written, schema.ROWS | {"error": pl.String, "instruction": pl.String})
    kept, failed = apply(table, filters, context)
    both = pl.concat([failed.select(list(schema.REJECTED)), schema.frame(silent, schema.REJECTED)])
    return schema.check(kept.drop("error", "instruction"), schema.ROWS, where="kept"), both.sort("row_id")


def _scores(piece: Slice, drafts: Drafts) -> dict[str, float | None]:
    form = piece.judge
    return {} if form is None else {j.row_id: judging.score(form, j.completion) for j in drafts.judgements}


def _judged(piece: Slice, drafts: Drafts) -> list[dict[str, object]]:
    """Return a row for each judgement, by row id."""
    form = piece.judge
    assert form is not None
    rows: list[dict[str, object]] = []
    for judgement in sorted(drafts.judgements, key=lambda judgement: judgement.row_id):
        request, completion = judgement.request, judgement.completion
        assert completion is not None
        marks = judging.marks(form, completion) or {}
        rows.append(
            {
                "row_id": judgement.row_id,
                "kind": judgement.kind,
                "judge": form.name,
                "model": form.identity.name,
                "model_content": form.identity.content,
                "prompt": request.prompt if isinstance(request.prompt, str) else request.prompt[0].content,
                "answer": completion.text,
                "marks": [{"criterion": name, "mark": mark} for name, mark in marks.items()],
                "score": judging.score(form, completion),
                "request_key": request.key,
                "finish_reason": completion.finish_reason.value,
                "error": completion.error,
            }
        )
    return rows


def _judged_counts(judged: pl.DataFrame) -> dict[str, object]:
    scores = [score for score in judged["score"].to_list() if score is not None]
    mean = round(sum(scores) / len(scores), 3) if scores else None
    return {"asked": judged.height, "without_score": judged.height - len(scores), "mean_score": mean}


def _by_reason(rejected: pl.DataFrame) -> dict[str, int]:
    return dict(sorted(Counter(rejected["reason"].to_list()).items()))


def _row(piece: Slice, draft: Draft) -> dict[str, object]:
    turns = [{"role": turn.role, "content": turn.content} for turn in draft.turns]
    later = [turn.content for turn in draft.turns[2::2]]
    talk = bool(draft.variation)
    return _common(piece, draft.seed.seed_id, draft.seed.task) | {
        "task_evol_type": draft.operator,
        "task_evol_prompt": draft.evolve_prompt,
        "seed_prompt": with_input(draft.seed.instruction, draft.seed.input),
        "output_assistant_reply": _last_answer(turns),
        "evolved_user_prompt": turns[0]["content"] if turns else "",
        "multiturn_evol_type": draft.variation,
        "multiturn_evol_prompt": "\n".join(draft.variation_prompts),
        "evolved_multiturn_prompt": "\n".join(later),
        "no_of_turns": sum(turn["role"] == "user" for turn in turns),
        "conversation": turns,
        "row_id": draft.row_id,
        "parent_id": draft.evolved_id if talk else draft.seed.seed_id,
        "kind": "conversation" if talk else "evolved",
        "operator_family": draft.operator_family,
        "variation_family": draft.variation_family,
        "request_keys": list(draft.request_keys),
        "finish_reasons": [reason.value for reason in draft.finish_reasons],
        "attempts": list(draft.attempts),
        "model": piece.identity.name,
        "model_content": piece.identity.content,
        "source": draft.seed.source,
        "license": draft.seed.license,
        "origin": draft.seed.origin,
        "instruction": draft.instruction,
        "error": draft.error,
    }


def _seed_row(piece: Slice, index: int) -> dict[str, object]:
    seed = piece.seeds[index]
    prompt = with_input(seed.instruction, seed.input)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": seed.response}]
    empty = dict.fromkeys(name for name, kind in schema.ROWS.items() if kind == pl.String)
    return (
        {name: "" for name in empty}
        | _common(piece, seed.seed_id, seed.task)
        | {
            "seed_prompt": prompt,
            "output_assistant_reply": seed.response,
            "no_of_turns": 1,
            "conversation": turns,
            "row_id": seed.seed_id,
            "kind": "seed",
            "request_keys": [],
            "finish_reasons": [],
            "attempts": [],
            "source": seed.source,
            "license": seed.license,
            "origin": seed.origin,
            "instruction": seed.instruction,
            "error": None,
        }
    )


def _common(piece: Slice, seed_id: str, task: str) -> dict[str, object]:
    return {"id": 0, "language": piece.language_code, "task": task, "seed_id": seed_id}


def _last_answer(turns: Sequence[dict[str, str]]) -> str:
    return next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), "")
