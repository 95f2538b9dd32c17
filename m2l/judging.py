"""A model's marks for finished rows: what it is asked, and how its answer is read. `pipeline` asks."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from m2l import templates
from m2l.draft import Draft
from m2l.records import Completion, FinishReason, JsonSchema, Request, Turn
from m2l.spec import JudgeForm, Slice

VARIABLES = frozenset({"rubric", "criteria", "shots", "conversation", "labels", "language", "form"})
"""The variables that a judge's template may use; `form` shows an answer with every mark at its worst."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was asked about a row, and what came; None as the completion means that it is not known yet."""

    row_id: str
    kind: str
    request: Request
    completion: Completion | None


def judged(piece: Slice, evolved: Iterable[Draft], talks: Iterable[Draft]) -> list[Draft]:
    """Return the drafts that the judge is asked about: the finished ones, or those that still may be, of its kinds."""
    if piece.judge is None:
        return []
    by_kind = {"evolved": evolved, "conversation": talks}
    return [draft for kind in piece.judge.kinds for draft in by_kind[kind] if draft.state != "failed"]


def request(piece: Slice, form: JudgeForm, draft: Draft) -> Request:
    """Ask for the marks of a draft; raises TemplateError if the template cannot be rendered."""
    labels = piece.language.labels
    values = {
        "rubric": form.rubric,
        "criteria": [{"name": criterion.name, "text": criterion.text} for criterion in form.criteria],
        "shots": [{"conversation": _turns(shot.turns), "answer": _answer(form, shot.marks)} for shot in form.shots],
        "conversation": draft.turns,
        "labels": {name: getattr(labels, name) for name in labels.__struct_fields__},
        "language": {"name": piece.language.name, "own_name": piece.language.own_name},
        "form": _answer(form, dict.fromkeys((criterion.name for criterion in form.criteria), form.scale[0])),
    }
    text = templates.render(form.template, values, where=f"conf/judge/{form.name}.yaml")
    identity = form.identity
    return Request(
        prompt=(Turn("user", text),) if form.chat else text,
        model=identity.content,
        chat_template=identity.chat_template if form.chat else None,
        backend=identity.backend,
        sampling=form.sampling,
        max_tokens=form.max_tokens,
        grammar=schema(form),
    )


def schema(form: JudgeForm) -> JsonSchema:
    """Return the grammar of an answer: one mark of the scale for each criterion, in their order."""
    names = [criterion.name for criterion in form.criteria]
    marks = {"type": "object", "properties": {name: {"enum": list(form.scale)} for name in names}}
    return JsonSchema(json.dumps(marks | {"required": names, "additionalProperties": False}))


def marks(form: JudgeForm, completion: Completion | None) -> dict[str, int] | None:
    """Return the marks by criterion, or None if the answer holds no mark of the scale for every one."""
    if completion is None or completion.finish_reason is FinishReason.ERROR:
        return None
    try:
        found = msgspec.json.decode(completion.text.strip(), type=dict[str, int])
    except msgspec.MsgspecError:
        return None
    names = [criterion.name for criterion in form.criteria]
    return {name: found[name] for name in names} if all(found.get(name) in form.scale for name in names) else None


def score(form: JudgeForm, completion: Completion | None) -> float | None:
    """Return the mean mark, or None if there are none."""
    found = marks(form, completion)
    return sum(found.values()) / len(found) if found else None


def _turns(contents: Sequence[str]) -> list[Turn]:
    return [Turn("assistant" if place % 2 else "user", content) for place, content in enumerate(contents)]


def _answer(form: JudgeForm, given: dict[str, int]) -> str:
    return json.dumps({criterion.name: given[criterion.name] for criterion in form.criteria})
