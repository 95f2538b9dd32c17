"""What `dvc repro` would do, and why: the same walk as a build, with the store in place of an engine."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from m2l import changes, dvc_lock, slices
from m2l.build import STORE, TABLES, standing
from m2l.ledger import Ledger
from m2l.pipeline import Round, rounds
from m2l.records import Completion
from m2l.spec import Slice
from m2l.store import Store


class Count(msgspec.Struct):
    """Model calls: `reused` are in the store, `made` are not, `hanging` depend on a text among `made`.

    `repairs` is how many more there may be at most, if every text that is not known yet
    has to be asked for again as often as the recipe allows. `dropped` is how many the
    tables hang on now and would not any more: exact where nothing hangs, else the most
    it can be, since a text that hangs may come out as it was.
    """

    reused: int = 0
    made: int = 0
    hanging: int = 0
    repairs: int = 0
    dropped: int = 0


class Plan(msgspec.Struct):
    """The plan of one slice: counts by task, whether and why its tables would be made, and the leaves that changed.

    `reason` is `first_run` (never built before), `changed` (the leaves say what),
    `upstream` (only m2l's own code changed), `missing` (the tables are gone), or None
    where nothing would be done: then all calls are `reused`, whatever the store holds.
    """

    language: str
    reason: str | None
    tasks: dict[str, Count]
    leaves: list[str]

    @property
    def total(self) -> Count:
        """The counts over all tasks."""
        counts = self.tasks.values()
        return Count(*(sum(getattr(count, name) for count in counts) for name in Count.__struct_fields__))


class Forecast(msgspec.Struct):
    """The plans of all slices, and by language the calls that those hang on which would no longer be built."""

    plans: list[Plan]
    removed: dict[str, int]


def plan(root: Path, composed: slices.Composed) -> Forecast:
    """Return what `dvc repro` would do with each slice; writes nothing and loads no model."""
    with Store(root / STORE, readonly=True) as store:
        ledger = Ledger(store)
        locked = dvc_lock.slices(dvc_lock.read(root))
        plans = [_plan(root, name, piece, store, locked.get(name)) for name, piece in composed.slices.items()]
        gone = {name: ledger.root(digest) or {} for name, digest in locked.items() if name not in composed.slices}
    return Forecast(plans, {name: sum(map(len, keys.values())) for name, keys in sorted(gone.items())})


def pace(root: Path, piece: Slice) -> tuple[float, float] | None:
    """Return (tokens, seconds) a call took in this machine's own past runs with the slice's model, if any."""
    with Store(root / STORE, readonly=True) as store:
        return store.pace(piece.identity.content, piece.identity.backend)


def _plan(root: Path, name: str, piece: Slice, store: Store, locked: str | None) -> Plan:
    content = slices.content(piece)
    before, standing_digest = _before(root, name, Ledger(store), locked)
    reason, leaves = changes.reason(before, content)
    if standing_digest is not None and standing_digest == slices.file_digest(content):
        reason, leaves = None, []
    elif standing_digest is not None and reason == "first_run":
        reason = "changed"  # built elsewhere, from a slice that this clone does not know
    if reason is None and not (root / TABLES / name / "counts.json").is_file():
        reason = "missing"
    needed = Ledger(store).root(standing_digest) if standing_digest else None
    if reason is None:
        return Plan(name, None, {task: Count(reused=len(keys)) for task, keys in sorted((needed or {}).items())}, [])
    return Plan(name, reason, _counts(piece, store, needed or {}), leaves)


def _before(root: Path, name: str, ledger: Ledger, locked: str | None) -> tuple[bytes | None, str | None]:
    """Return the slice that a language's tables were made from, if it is known, and its digest.

    What DVC locked is what it compares with; without a lock, the last build that the store remembers.
    """
    if locked is None:
        last = ledger.last_slice(name)
        return last, slices.file_digest(last) if last is not None else None
    path = root / slices.FOLDER / f"{name}.json"
    here = path.read_bytes() if path.is_file() else b""
    return here if slices.file_digest(here) == locked else ledger.last_slice(name, locked), locked


def _counts(piece: Slice, store: Store, needed: Mapping[str, frozenset[str]]) -> dict[str, Count]:
    counts: dict[str, Count] = defaultdict(Count)
    seen: set[str] = set()
    walk = rounds(piece)
    asked = next(walk)
    while True:
        known = _look_up(asked, store, piece)
        for call in asked.calls:
            count = counts[call.task]
            if call.request is None:
                count.hanging += 1
                count.repairs += asked.repairs
            elif call.request.key not in seen:
                seen.add(call.request.key)
                count.reused += call.request.key in known
                if call.request.key not in known:
                    count.made += 1
                    count.repairs += asked.repairs - call.request.attempt
        try:
            asked = walk.send([known.get(call.request.key) if call.request else None for call in asked.calls])
        except StopIteration:
            break
    for task, keys in needed.items():
        counts[task].dropped = len(keys - seen)
    return dict(sorted(counts.items()))


def _look_up(asked: Round, store: Store, piece: Slice) -> dict[str, Completion]:
    return standing(store, [call.request for call in asked.calls if call.request is not None], piece)
