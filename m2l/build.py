"""The stage of a language: its tables from its slice.

The only caller of an engine. What the store has is never asked for again; a model is
loaded only when something is missing.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from m2l import changes, config, models, rows, schema, slices
from m2l.conservation import conserved
from m2l.digest import digest
from m2l.engine.base import Engine
from m2l.errors import BuildError
from m2l.ledger import LEASE_SECONDS, Ledger
from m2l.measure import measures
from m2l.pipeline import Drafts, Round, rounds
from m2l.process import Owner, exclusive, writing
from m2l.records import Completion, FinishReason, Request
from m2l.spec import Slice
from m2l.store import Store

STORE = Path("cache/store.sqlite")
LOCKS = Path("cache/locks")
TABLES = Path("data/tables")
DIST = Path("data/dist")

_WAIT_SECONDS = 0.2
"""How long to wait for another process before looking again whether it has made what is missing."""


class Progress(Protocol):
    """What a person is shown while a slice is built."""

    def start(self, name: str, calls: int, reused: int, engine: str | None) -> None:
        """A round begins, of which `reused` of `calls` are in the store."""

    def step(self, completion: Completion) -> None:
        """A call has ended."""


class Quiet:
    """Shows nothing."""

    def start(self, name: str, calls: int, reused: int, engine: str | None) -> None:
        """See `Progress`."""

    def step(self, completion: Completion) -> None:
        """See `Progress`."""


class Report(msgspec.Struct, frozen=True):
    """What a build did: calls made and reused, seconds spent in the engine, and counts of rows."""

    made: int
    reused: int
    tokens: int
    seconds: float
    counts: dict[str, object]


class Runner:
    """Completes requests from the store, and from an engine what the store lacks."""

    def __init__(self, piece: Slice, root: Path, store: Store, progress: Progress, engine: Engine | None) -> None:
        self.piece, self.root, self.store, self.progress = piece, root, store, progress
        self.engine = engine
        self.keys: dict[str, set[str]] = defaultdict(set)
        self._given = engine is not None
        self._model = ""
        self.made: list[str] = []
        self.reused = self.tokens = 0
        self.seconds = 0.0
        self._owned = ExitStack()
        self._ledger, self._me = Ledger(store), Owner.me()

    def complete(self, asked: Round) -> list[Completion | None]:
        """Return a completion for each call of a round; those that hang on a missing text get None."""
        unique = {call.request.key: call.request for call in asked.calls if call.request is not None}
        for call in asked.calls:
            if call.request is not None:
                self.keys[call.task].add(call.request.key)
        known = standing(self.store, list(unique.values()), self.piece)
        missing = [request for key, request in unique.items() if key not in known]
        self.reused += len(unique) - len(missing)
        engine = self._engine(missing[0]).describe() if missing else None
        self.progress.start(asked.name, len(unique), len(unique) - len(missing), engine)
        if self.engine is not None:
            self.engine.going_on = asked.going_on
        while missing:
            known |= self._share(missing)
            missing = [request for request in missing if request.key not in known]
        return [known[call.request.key] if call.request is not None else None for call in asked.calls]

    def close(self) -> None:
        """Free the engine, if this runner started one."""
        self._owned.close()

    def _share(self, missing: Sequence[Request]) -> dict[str, Completion]:
        """Make what no other process is at, and return that with what others have made meanwhile."""
        mine = self._ledger.claim([request.key for request in missing], self._me)
        try:
            known = standing(self.store, missing, self.piece)  # others may have put some before the claim
            self.reused += len(known)
            ours = [request for request in missing if request.key in mine and request.key not in known]
            if ours:
                known |= self._generate(ours)
            elif not known:
                time.sleep(_WAIT_SECONDS)
            return known
        finally:
            self._ledger.release(mine, self._me)

    def _generate(self, missing: Sequence[Request]) -> dict[str, Completion]:
        written: dict[str, Completion] = {}
        start = renewed = time.monotonic()
        for index, completion in self._engine(missing[0]).generate(self._as_asked(missing)):
            key = missing[index].key
            written[key] = self.store.put(missing[index], completion)
            self.made.append(key)
            self.tokens += completion.completion_tokens
            self.progress.step(completion)
            if time.monotonic() - renewed > LEASE_SECONDS / 4:
                self._ledger.claim([request.key for request in missing if request.key not in written], self._me)
                renewed = time.monotonic()
        seconds = time.monotonic() - start
        self.seconds += seconds
        if len(written) != len(missing):
            raise BuildError(f"{self.piece.language_code}: the engine answered {len(written)} of {len(missing)} calls.")
        self.store.record_run(
            missing[0].model, missing[0].backend, calls=len(missing),
            tokens=sum(completion.completion_tokens for completion in written.values()), seconds=seconds,
        )  # fmt: skip
        return written

    def _as_asked(self, missing: Sequence[Request]) -> Sequence[Request]:
        """Return requests as the engine is given them."""
        return missing

    def _engine(self, request: Request) -> Engine:
        """Return the engine for the model that a request is for; the one before is closed, as memory holds one."""
        if self.engine is None or (not self._given and self._model != request.model):
            self._owned.close()
            self.engine, self._model = open_engine(self.root, asked_of(self.piece, request)), request.model
            self._owned.callback(self.engine.close)
        return self.engine


def asked_of(piece: Slice, request: Request) -> Slice:
    """Return the slice with the judge's model and engine in place of the writer's, if a request is for that one."""
    judge = piece.judge
    if judge is None or request.model == piece.identity.content:
        return piece
    return msgspec.structs.replace(piece, model=judge.model, identity=judge.identity, engine=judge.engine)


def open_engine(root: Path, piece: Slice) -> Engine:
    """Return the slice's engine, its model verified but not loaded; raises ModelError or ConfigError."""
    local = config.load_class(piece.engine, Engine, where="conf/engine").local
    if local:
        known = models.verify(root, piece.model)
        if f"sha256:{known.sha256}" != piece.identity.content:
            raise BuildError(
                f"{models.path_of(root, piece.model).name}: not the file that the slice was composed with. "
                f"Run `dvc repro`, which composes it again."
            )
    model = models.model_file(root, piece.model, local=local)
    return config.instantiate(piece.engine, Engine, model, where="conf/engine")


def standing(store: Store, requests: Sequence[Request], piece: Slice) -> dict[str, Completion]:
    """Return what the store has for requests and what still holds.

    An answer that overflowed the context holds only while the context is no larger.
    """
    found = store.get(requests)
    return {
        request.key: completion
        for request in requests
        if (completion := found.get(request.key)) is not None
        and (completion.finish_reason is not FinishReason.ERROR or _overflows(piece, request, completion))
    }


def _overflows(piece: Slice, request: Request, completion: Completion) -> bool:
    n_ctx = int(asked_of(piece, request).engine.get("n_ctx") or 0)
    return completion.prompt_tokens + request.max_tokens > n_ctx


def write_drafts(piece: Slice, runner: Runner) -> Drafts:
    """Walk a slice to its end, completing every round."""
    walk = rounds(piece)
    asked = next(walk)
    while True:
        try:
            asked = walk.send(runner.complete(asked))
        except StopIteration as end:
            drafts: Drafts = end.value
            return drafts


def lock_path(root: Path, tables: Path, name: str) -> Path:
    """Return the file whose lock a process holds while it writes a language's tables."""
    return root / LOCKS / f"{name}-{digest(str(root / tables))[:8]}.lock"


def build(
    root: Path, piece: Slice, *, tables: Path = TABLES, engine: Engine | None = None, progress: Progress | None = None
) -> Report:
    """Make the tables of one slice in `tables`/<language>.

    Raises M2LError with nothing lost: every completion up to there is in the store, and
    the tables are as they were.
    """
    name = piece.language_code
    with exclusive(lock_path(root, tables, name), f"build of {name}"), Store(root / STORE) as store:
        runner = Runner(piece, root, store, progress or Quiet(), engine)
        try:
            drafts = write_drafts(piece, runner)
        finally:
            runner.close()
        made, counts = rows.judge(root, piece, drafts)
        _conserve(piece, drafts, made)
        made["measures"] = measures(piece, drafts, rows.context(root, piece))
        for table, content in made.items():
            schema.write(content, root / tables / name / f"{table}.parquet")
        if piece.judge is None:
            (root / tables / name / "judged.parquet").unlink(missing_ok=True)
        with writing(root / tables / name / "counts.json") as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(counts, order="sorted"), indent=1) + b"\n")
        _remember(Ledger(store), piece, runner, tables)
        return Report(len(runner.made), runner.reused, runner.tokens, runner.seconds, counts)


def _conserve(piece: Slice, drafts: Drafts, made: Mapping[str, pl.DataFrame]) -> None:
    """Raise BuildError if a seed or draft is not in just one of the tables that were made of them."""
    attempted = {
        "seed": [*(seed.seed_id for seed in piece.seeds), *(row.where for row in piece.quarantined)],
        "evolved": [draft.row_id for draft in drafts.evolved],
        "conversation": [draft.row_id for draft in drafts.conversations],
    }
    for kind, ids in attempted.items():
        rejected = made["rejected"].filter(pl.col("kind") == kind)["row_id"]
        parts = {"kept": made[kind]["row_id"], "rejected": rejected}
        if kind == "seed":
            parts["quarantined"] = made["quarantined"]["where"]
        conserved(f"{piece.language_code}: {kind}", ids, parts)


def _remember(ledger: Ledger, piece: Slice, runner: Runner, tables: Path) -> None:
    """Write down what a rebuild needs and, for the project's own tables, why this build was made."""
    content = slices.content(piece)
    digest_ = slices.file_digest(content)
    ledger.record_root(digest_, str(tables), runner.keys)
    if tables != TABLES:
        return
    reason, leaves = changes.reason(ledger.last_slice(piece.language_code), content)
    if reason is not None or runner.made:
        ledger.record_build(
            piece.language_code, digest_, content, reason=reason or "missing", leaves=leaves, made=runner.made
        )
