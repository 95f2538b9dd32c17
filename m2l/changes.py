"""What changed between two slices, and so why a language is visited."""

from collections.abc import Iterator
from typing import Any

import msgspec


def reason(before: bytes | None, after: bytes) -> tuple[str | None, list[str]]:
    """Return why a slice has to be built after another one, and the leaves that moved, each `path: old -> new`.

    `first_run` if there is none before, `changed` (the leaves say what), `upstream` if only
    m2l's own code moved, `missing` if the one before cannot be read, None if nothing did.
    """
    if before is None:
        return "first_run", []
    try:
        old = msgspec.json.decode(before)
    except msgspec.MsgspecError:
        return "missing", []
    new = msgspec.json.decode(after)
    code = old.pop("code", None), new.pop("code", None)
    moved = list(leaves(old, new))
    if moved:
        return "changed", moved
    return ("upstream" if code[0] != code[1] else None), []


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
