"""What a build would do, and why: the same walk as a build, with the store in place of an engine."""

from collections import defaultdict
from pathlib import Path

import msgspec

from m2l import changes, slices
from m2l.build import STORE, TABLES, standing
from m2l.pipeline import Round, rounds
from m2l.records import Completion
from m2l.spec import Slice
from m2l.store import Store


class Count(msgspec.Struct):
    """Model calls: `reused` are in the store, `made` are not, `hanging` depend on a text among `made`.

    `repairs` is how many more there may be at most, if every text that is not known yet
    has to be asked for again as often as the recipe allows.
    """

    reused: int = 0
    made: int = 0
    hanging: int = 0
    repairs: int = 0


class Plan(msgspec.Struct):
    """The plan of one slice: counts by task, whether and why its tables would be made, and the leaves that changed.

    `reason` is `first_run` (never composed before), `changed` (the leaves say what),
    `upstream` (only m2l's own code changed), `missing` (the tables are gone), or None
    where nothing would be done.
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


def plan(root: Path, composed: slices.Composed) -> list[Plan]:
    """Return what a build of each slice would do; writes nothing and loads no model."""
    result = []
    with Store(root / STORE, readonly=True) as store:
        for name, piece in composed.slices.items():
            reason, leaves = _reason(root, name, piece)
            result.append(Plan(name, reason, _counts(piece, store), leaves))
    return result


def pace(root: Path, piece: Slice) -> tuple[float, float] | None:
    """Return (tokens, seconds) a call took in this machine's own past runs with the slice's model, if any."""
    with Store(root / STORE, readonly=True) as store:
        return store.pace(piece.identity.content, piece.identity.backend)


def _counts(piece: Slice, store: Store) -> dict[str, Count]:
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
            return dict(sorted(counts.items()))


def _look_up(asked: Round, store: Store, piece: Slice) -> dict[str, Completion]:
    return standing(store, [call.request for call in asked.calls if call.request is not None], piece)


def _reason(root: Path, name: str, piece: Slice) -> tuple[str | None, list[str]]:
    path = root / slices.FOLDER / f"{name}.json"
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = None
    reason, moved = changes.reason(before, slices.content(piece))
    if reason is None and not (root / TABLES / name / "counts.json").is_file():
        return "missing", []
    return reason, moved
