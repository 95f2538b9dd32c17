"""A few records of one language, for somebody who writes a prompt: what the model saw, what it wrote, what filters say.

A session keeps the store and the model open, so that the next look costs what its edit
changed and nothing else.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace as with_values
from pathlib import Path
from types import TracebackType

import msgspec

from m2l import build as builds
from m2l import config, rows, slices
from m2l.draft import Draft
from m2l.engine.base import Engine
from m2l.errors import BuildError, unknown
from m2l.pipeline import Drafts, Round
from m2l.progress import Bar
from m2l.records import Completion, Request
from m2l.spec import Config, Operator, Seed, Slice, Target
from m2l.store import Store
from m2l.terminal import visible

_ID_DIGITS = 4
"""From so many digits on, what names a seed is the beginning of its id and not its number."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to look at; None leaves the choice to the recipe."""

    language: str
    task: str | None = None
    operator: str | None = None
    variation: str | None = None
    seed: str | None = None
    records: int = 1
    repairs: int = 0
    overrides: tuple[str, ...] = ()


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """One call: `messages` for a chat model, `seen` the text that the model was given, None where a server makes it.

    `built` says that it is the text of a build, and not one that a build may write otherwise.
    """

    step: str
    messages: tuple[dict[str, str], ...]
    seen: str | None
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    error: str | None
    built: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record, and for each filter the reasons for which it rejects it: none, if it passes."""

    row_id: str
    language: str
    task: str
    operator: str
    variation: str
    seed_id: str
    seed: str
    origin: str
    texts: tuple[Text, ...]
    filters: dict[str, list[str]]
    error: str | None


class _Runner(builds.Runner):
    """A runner that can say what its engine's model sees, and goes on with the next slice.

    Its engine is set for lone requests. What that writes has keys of its own, so that no
    build reads it; a text that a build has written is taken as it is.
    """

    PREVIEWED = ", previewed"
    """Stands behind the backend in the keys of what only a preview has written."""

    def __init__(self, piece: Slice, root: Path, store: Store, progress: builds.Progress, *, alike: bool) -> None:
        super().__init__(piece, root, store, progress, None)
        self._alike = alike
        self._asked: dict[str, Request] = {}
        self._stands: dict[str, str] = {}

    def complete(self, asked: Round) -> list[Completion | None]:
        """Take what a build has written, and ask for the rest as a preview does.

        Every look asks nearly the same again, so sequences go on in that sense, too.
        """
        requests = {call.request.key: call.request for call in asked.calls if call.request is not None}
        built = builds.standing(self.store, list(requests.values()), self.piece)
        own = {key: request if key in built else self._own(request) for key, request in requests.items()}
        self._stands |= {key: request.key for key, request in own.items()}
        calls = [with_values(call, request=call.request and own[call.request.key]) for call in asked.calls]
        return super().complete(with_values(asked, calls=tuple(calls), going_on=True))

    def stands(self, keys: Sequence[str]) -> list[str]:
        """Return the keys under which the store has what was written for these."""
        return [self._stands[key] for key in keys]

    def seen(self, request: Request) -> str | None:
        """Return the text that the model is given for a request; None where a server makes it."""
        return request.prompt if isinstance(request.prompt, str) else self._engine(request).rendered(request)

    def serves(self, piece: Slice) -> bool:
        """Say whether the engine that this runner holds is the one of a slice."""
        mine = self.piece
        return (mine.identity, mine.engine, mine.judge) == (piece.identity, piece.engine, piece.judge)

    def _own(self, request: Request) -> Request:
        if self._alike:
            return request
        own = msgspec.structs.replace(request, backend=request.backend + self.PREVIEWED)
        self._asked[own.key] = request
        return own

    def _as_asked(self, missing: Sequence[Request]) -> Sequence[Request]:
        """Give the engine what a build would, so that tokens are drawn by the same rng_seed."""
        return [self._asked.get(request.key, request) for request in missing]


class Session:
    """Looks at what was asked for, once or again after each edit."""

    def __init__(self, root: Path, asked: Asked) -> None:
        _check_names(root, asked)
        self.root, self.asked = root, asked
        self._store = Store(root / builds.STORE)
        self._runner: _Runner | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model and close the store."""
        if self._runner is not None:
            self._runner.close()
        self._store.close()

    def look(self) -> list[Record]:
        """Compose anew, write what the store lacks, and return the records; raises M2LError."""
        piece = self._piece(msgspec.structs.replace(self.asked, task=_task_of(self.root, self.asked)))
        quick = _for_one(piece, self.asked.overrides)
        runner = self._runner
        if runner is None or not runner.serves(quick):
            if runner is not None:
                runner.close()
            bar = Bar(self.asked.language)
            runner = self._runner = _Runner(quick, self.root, self._store, bar, alike=quick == piece)
        runner.piece = quick
        drafts = builds.write_drafts(piece, runner)
        shown = (drafts.conversations or drafts.evolved)[: self.asked.records]
        verdicts = _verdicts(self.root, piece, shown, drafts)
        return [self._record(piece, runner, draft, verdicts[draft.row_id]) for draft in shown]

    def _piece(self, asked: Asked) -> Slice:
        conf = _composed(self.root, asked)
        recipe = msgspec.structs.replace(conf.recipe, repairs=asked.repairs)
        if asked.seed is not None:
            recipe = msgspec.structs.replace(recipe, seeds_per_task=sys.maxsize, seeds_of_task={})
        composed = slices.resolve(self.root, msgspec.structs.replace(conf, recipe=recipe))
        return _narrow(composed.slices[asked.language], asked)

    def _record(self, piece: Slice, runner: _Runner, draft: Draft, filters: dict[str, list[str]]) -> Record:
        keys = runner.stands(draft.request_keys)
        calls = self._store.requests(keys)
        return Record(
            row_id=draft.row_id,
            language=piece.language_code,
            task=draft.seed.task,
            operator=draft.operator,
            variation=draft.variation,
            seed_id=draft.seed.seed_id,
            seed=draft.seed.instruction,
            origin=draft.seed.origin,
            texts=tuple(_text(n, *calls[key], runner) for n, key in enumerate(keys) if key in calls),
            filters=filters,
            error=draft.error,
        )


def lines(records: Sequence[Record], *, prompts: bool) -> Iterator[str]:
    """Yield what a terminal shows of records."""
    for number, record in enumerate(records, start=1):
        names = "  ".join(name for name in (record.language, record.task, record.operator, record.variation) if name)
        yield f"── {number} of {len(records)}  {names}  ({record.row_id})"
        yield f"seed        {_indent(record.seed)}"
        yield f"            {record.seed_id}  {record.origin}"
        for text in record.texts:
            counted = f"{text.prompt_tokens} prompt and {text.completion_tokens} answer tokens, {text.finish_reason}"
            counted += ", as in the build" if text.built else ""
            yield f"{text.step}: {counted}"
            if prompts:
                for message in text.messages:
                    yield f"  message   [{message['role']}] {_indent(message['content'])}"
                yield f"  model saw {_indent(text.seen or '(the server applies its own chat template)')}"
            yield f"  answer    {_indent(text.answer.strip() if text.error is None else text.error)}"
        if record.error:
            yield f"stopped     {_indent(record.error)}"
        passed = [name for name, reasons in record.filters.items() if not reasons]
        yield f"filters     {'kept' if len(passed) == len(record.filters) else 'rejected'}"
        yield from (f"  rejects   {name}: {', '.join(reasons)}" for name, reasons in record.filters.items() if reasons)
        yield f"  pass      {', '.join(passed) or 'none'}"


def as_json(records: Sequence[Record]) -> str:
    """Return records for scripts."""
    return msgspec.json.format(msgspec.json.encode(records), indent=1).decode()


def _check_names(root: Path, asked: Asked) -> None:
    for group in ("language", "task", "operator", "variation"):
        name, known = getattr(asked, group), config.options(root, group)
        if name is not None and name not in known:
            raise BuildError(unknown("command line", group, name, known))


def _task_of(root: Path, asked: Asked) -> str | None:
    """Return the task that is asked for, of an operator without one the first that it applies to."""
    if asked.operator is None:
        return asked.task
    applies_to = config.load_named(root, "operator", asked.operator, Operator).applies_to
    if asked.task is None:
        return applies_to[0]
    if asked.task not in applies_to:
        raise BuildError(
            f"command line: operator {asked.operator!r} applies to {', '.join(applies_to)}, not to {asked.task!r}. "
            f"Name one of these, or leave the task out."
        )
    return asked.task


def _composed(root: Path, asked: Asked) -> Config:
    """Compose the one language; what the recipe leaves out takes the place of its own choice."""
    mine = [f"language=[{asked.language}]", *asked.overrides]
    overrides = config.effective_overrides(config.read_params(root), mine)
    conf = config.compose(root, overrides)
    extra = {}
    if (asked.task not in {None, *conf.task}) or (asked.operator not in {None, *conf.operator}):
        extra = {"task": asked.task, "operator": asked.operator or config.ALL}
    if asked.variation not in {None, *conf.variation}:
        extra["variation"] = asked.variation
    if not extra:
        return conf
    others = [item for item in overrides if item.partition("=")[0] not in extra]
    return config.compose(root, [*others, *(f"{group}=[{name}]" for group, name in extra.items())])


def _narrow(piece: Slice, asked: Asked) -> Slice:
    """Return a slice of one task, and of just so many seeds that the records asked for come out."""
    task = asked.task or ("general" if "general" in piece.task else next(iter(piece.task)))
    if task not in piece.task:
        raise BuildError(unknown("recipe", "task", task, list(piece.task)))
    operators = {name: o for name, o in piece.operator.items() if task in o.applies_to}
    if asked.operator is not None:
        operators = {asked.operator: operators[asked.operator]}
    variations = dict(piece.variation)
    if asked.variation is not None:
        variations = {asked.variation: variations[asked.variation]}
    elif asked.operator is not None:
        variations = {}
    seeds = _seeds([seed for seed in piece.seeds if seed.task == task], task, asked)
    operators = dict(list(operators.items())[: asked.records])
    wanted = -(-asked.records // max(1, len(operators)))
    return msgspec.structs.replace(
        piece, operator=operators, variation=variations, seeds=tuple(seeds[:wanted]), quarantined=(),
        variations_per_instruction=min(1, len(variations)), operators_per_seed=None,
    )  # fmt: skip


def _for_one(piece: Slice, overrides: Sequence[str]) -> Slice:
    """Return a slice whose engines answer a lone request soonest; what an override names stands."""
    engine = _quick(piece.engine, overrides)
    judge = piece.judge and msgspec.structs.replace(piece.judge, engine=_quick(piece.judge.engine, overrides))
    return msgspec.structs.replace(piece, engine=engine, judge=judge)


def _quick(engine: Target, overrides: Sequence[str]) -> Target:
    named = {item.lstrip("+~").partition("=")[0].removeprefix("engine.") for item in overrides}
    quick = config.load_class(engine, Engine, where="conf/engine").for_one(engine)
    return {key: engine[key] if key in named and key in engine else value for key, value in quick.items()}


def _seeds(seeds: list[Seed], task: str, asked: Asked) -> list[Seed]:
    if asked.seed is None:
        return seeds
    if asked.seed.isdecimal() and len(asked.seed) < _ID_DIGITS:
        found = seeds[int(asked.seed) - 1 : int(asked.seed)] if int(asked.seed) else []
    else:
        found = [seed for seed in seeds if seed.seed_id.startswith(asked.seed)]
    if not found:
        raise BuildError(
            f"command line: no seed {asked.seed!r} among the {len(seeds)} of task {task!r} in {asked.language}. "
            f"Give its number, from 1 to {len(seeds)}, or at least {_ID_DIGITS} digits of its id."
        )
    return found


def _verdicts(root: Path, piece: Slice, shown: Sequence[Draft], drafts: Drafts) -> dict[str, dict[str, list[str]]]:
    """Return by row the reasons of each filter for rejecting it, each filter asked alone."""
    found: dict[str, dict[str, list[str]]] = {draft.row_id: {} for draft in shown}
    talks = tuple(draft for draft in shown if draft.variation)
    mine = with_values(drafts, evolved=() if talks else tuple(shown), conversations=talks)
    for name, target in piece.filter.items():
        tables, _ = rows.judge(root, msgspec.structs.replace(piece, filter={name: target}), mine)
        rejected = dict(tables["rejected"].select("row_id", "reasons").iter_rows())
        for row_id, verdict in found.items():
            verdict[name] = list(rejected.get(row_id, ()))
    return found


def _text(number: int, request: Request, completion: Completion, runner: _Runner) -> Text:
    """Return what the store has of a call, the answer at position `number` of a draft."""
    messages = () if isinstance(request.prompt, str) else request.prompt
    step = (
        ("evolve", "respond")[number] if number < 2 else f"{('user', 'assistant')[number % 2]} turn {number // 2 + 1}"
    )
    return Text(
        step=step,
        messages=tuple({"role": turn.role, "content": turn.content} for turn in messages),
        seen=runner.seen(request),
        answer=completion.text,
        finish_reason=completion.finish_reason.value,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        error=completion.error,
        built=not request.backend.endswith(_Runner.PREVIEWED),
    )


def _indent(text: str) -> str:
    return visible(text).replace("\n", "\n            ")
