"""What a build would do, and why: the same walk as a build, with the store in place of an engine."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from m2l import slices
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


def leaves(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield `path: old -> new` for each leaf that differs between two trees of plain values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from leaves(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from leaves(one, other, f"{path}.{index}")
    elif before != after:
        yield f"{path}: {_change(before, after)}"


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
                count.repairs += piece.repairs
            elif call.request.key not in seen:
                seen.add(call.request.key)
                count.reused += call.request.key in known
                if call.request.key not in known:
                    count.made += 1
                    count.repairs += piece.repairs - call.request.attempt
        try:
            asked = walk.send([known.get(call.request.key) if call.request else None for call in asked.calls])
        except StopIteration:
            return dict(sorted(counts.items()))


def _look_up(asked: Round, store: Store, piece: Slice) -> dict[str, Completion]:
    return standing(store, [call.request for call in asked.calls if call.request is not None], piece)


def _reason(root: Path, name: str, piece: Slice) -> tuple[str | None, list[str]]:
    path = root / slices.FOLDER / f"{name}.json"
    if not path.is_file():
        return "first_run", []
    try:
        before = msgspec.json.decode(path.read_bytes())
    except msgspec.MsgspecError:
        return "missing", []
    after = msgspec.json.decode(msgspec.json.encode(piece))
    code = before.pop("code", None), after.pop("code")
    changed = list(leaves(before, after))
    if changed:
        return "changed", changed
    if code[0] != code[1]:
        return "upstream", []
    return (None if (root / TABLES / name / "counts.json").is_file() else "missing"), []


def _change(before: object, after: object) -> str:
    """Return `old -> new`; of two long texts, the part in which they differ."""
    if isinstance(before, str) and isinstance(after, str):
        start = _alike(before, after)
        end = _alike(before[start:][::-1], after[start:][::-1])
        start = max(0, before.rfind(" ", 0, max(0, start - 12)) + 1)
        shown = [text[start : min(len(text), len(text) - end + 12)] for text in (before, after)]
        return " -> ".join(_short(f"{'... ' if start else ''}{text}") for text in shown)
    return f"{_short(before)} -> {_short(after)}"


def _alike(one: str, other: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:96]}...{text[0]}"
