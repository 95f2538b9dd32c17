"""The stages: one language's tables from its slice, and the dataset from all tables.

The only caller of an engine. What the store has is never asked for again; a model is
loaded only when something is missing.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from m2l import changes, config, models, rows, schema, slices
from m2l.digest import digest
from m2l.engine.base import Engine
from m2l.errors import BuildError
from m2l.exporters.base import Dataset, Exporter
from m2l.ledger import LEASE_SECONDS, Ledger
from m2l.pipeline import Drafts, Round, rounds
from m2l.process import Owner, exclusive, writing
from m2l.records import Completion, FinishReason, Request
from m2l.sample import balanced
from m2l.spec import DatasetSpec, Slice
from m2l.store import Store

STORE = Path("cache/store.sqlite")
LOCKS = Path("cache/locks")
TABLES = Path("data/tables")
DIST = Path("data/dist")
KINDS = ("seed", "evolved", "conversation")
CONFIGS = {"seed_data": KINDS[:1], "seed_evol_data": KINDS[:2], "full_data": KINDS}
"""The three configs of the published dataset; each holds the rows of the one before it."""

_WAIT_SECONDS = 0.2
"""How long to wait for another process before looking again whether it has made what is missing."""

_AXES = {
    "evolved": ("task", "task_evol_type"),
    "conversation": ("task", "task_evol_type", "multiturn_evol_type"),
}


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
        self.keys: set[str] = set()
        self.made: list[str] = []
        self.reused = self.tokens = 0
        self.seconds = 0.0
        self._owned = ExitStack()
        self._ledger, self._me = Ledger(store), Owner.me()

    def complete(self, asked: Round) -> list[Completion | None]:
        """Return a completion for each call of a round; those that hang on a missing text get None."""
        requests = [call.request for call in asked.calls if call.request is not None]
        unique = {request.key: request for request in requests}
        self.keys |= unique.keys()
        known = standing(self.store, list(unique.values()), self.piece)
        missing = [request for key, request in unique.items() if key not in known]
        self.reused += len(unique) - len(missing)
        engine = self._engine().describe() if missing else None
        self.progress.start(asked.name, len(unique), len(unique) - len(missing), engine)
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
        for index, completion in self._engine().generate(missing):
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
            self.piece.identity.content, self.piece.identity.backend, calls=len(missing),
            tokens=sum(completion.completion_tokens for completion in written.values()), seconds=seconds,
        )  # fmt: skip
        return written

    def _engine(self) -> Engine:
        if self.engine is None:
            self.engine = open_engine(self.root, self.piece)
            self._owned.callback(self.engine.close)
        return self.engine


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
    n_ctx = int(piece.engine.get("n_ctx", 0))
    found = store.get(requests)
    return {
        request.key: completion
        for request in requests
        if (completion := found.get(request.key)) is not None
        and (
            completion.finish_reason is not FinishReason.ERROR or completion.prompt_tokens + request.max_tokens > n_ctx
        )
    }


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
        for table, content in made.items():
            schema.write(content, root / tables / name / f"{table}.parquet")
        with writing(root / tables / name / "counts.json") as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(counts, order="sorted"), indent=1) + b"\n")
        _remember(Ledger(store), piece, runner, tables)
        return Report(len(runner.made), runner.reused, runner.tokens, runner.seconds, counts)


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


def assemble(root: Path, dataset: DatasetSpec, *, tables: Path = TABLES, dist: Path = DIST) -> dict[str, object]:
    """Sample the tables of all languages and write the dataset to `dist`; return its metrics."""
    parts = {
        kind: [_table(root / tables / name / f"{kind}.parquet", schema.ROWS) for name in dataset.languages]
        for kind in KINDS
    }
    for kind, axes in _AXES.items():
        size = getattr(dataset.quota, kind)
        parts[kind] = [balanced(table, size, axes) for table in parts[kind]]
    sampled = {kind: pl.concat(frames) for kind, frames in parts.items()}
    configs = {
        name: pl.concat([sampled[kind] for kind in kinds]).with_columns(id=pl.int_range(pl.len(), dtype=pl.Int32))
        for name, kinds in CONFIGS.items()
    }
    counts = {
        name: msgspec.json.decode((root / tables / name / "counts.json").read_bytes()) for name in dataset.languages
    }
    metrics: dict[str, object] = {
        "rows": {name: table.height for name, table in configs.items()},
        "sampled": {
            kind: {n: f.height for n, f in zip(dataset.languages, frames, strict=True)}
            for kind, frames in parts.items()
        },
        "languages": counts,
    }
    content = Dataset(
        spec=dataset,
        configs=configs,
        rejected=pl.concat(
            [_table(root / tables / n / "rejected.parquet", schema.REJECTED) for n in dataset.languages]
        ),
        quarantined=pl.concat(
            [
                *(_table(root / tables / n / "quarantined.parquet", schema.QUARANTINED) for n in dataset.languages),
                schema.frame(
                    [msgspec.to_builtins(row) | {"language": ""} for row in dataset.quarantined], schema.QUARANTINED
                ),
            ]
        ),
        metrics=metrics,
    )
    for name, target in dataset.exporter.items():
        config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml").export(content, root / dist)
    with writing(root / dist / "metrics.json") as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(metrics, order="sorted"), indent=1) + b"\n")
    return metrics


def run_all(
    root: Path, composed: slices.Composed, *, tables: Path, dist: Path, engine: Engine | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[dict[str, Report], dict[str, object]]:  # fmt: skip
    """Build every slice and assemble them, without DVC; the store is the project's."""
    reports = {
        name: build(root, piece, tables=tables, engine=engine, progress=progress(name) if progress else None)
        for name, piece in composed.slices.items()
    }
    return reports, assemble(root, composed.dataset, tables=tables, dist=dist)


def _table(path: Path, columns: dict[str, object]) -> pl.DataFrame:
    try:
        return schema.check(pl.read_parquet(path), columns, where=str(path))
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{path}: cannot be read ({err}). Run `dvc repro`, which makes it.") from err
