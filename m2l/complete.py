"""What the shell completes: names of `conf/`, read from its folders alone so that a key press waits for nothing."""

from collections.abc import Iterable
from pathlib import Path

GROUPS_OF_OVERRIDES = (
    "recipe", "model", "frame", "engine", "judge", "experiment", "language", "task", "operator", "variation",
    "seed_source", "filter", "exporter",
)  # fmt: skip
"""The config groups, of which an override chooses a file, or in brackets several."""

_ONE = ("recipe", "model", "frame", "engine", "judge", "experiment")


def names(group: str, incomplete: str = "") -> list[str]:
    """Return the names of a config group that begin so; none outside of a project."""
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "conf" / "config.yaml").is_file()), here)
    found = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
    return [name for name in found if name.startswith(incomplete)]


def languages(incomplete: str) -> list[str]:
    """Complete a language."""
    return names("language", incomplete)


def tasks(incomplete: str) -> list[str]:
    """Complete a task."""
    return names("task", incomplete)


def operators(incomplete: str) -> list[str]:
    """Complete an operator."""
    return names("operator", incomplete)


def variations(incomplete: str) -> list[str]:
    """Complete a dialogue variation."""
    return names("variation", incomplete)


def models(incomplete: str) -> list[str]:
    """Complete a model."""
    return names("model", incomplete)


def exporters(incomplete: str) -> list[str]:
    """Complete an exporter."""
    return names("exporter", incomplete)


def seed_sources(incomplete: str) -> list[str]:
    """Complete a seed source."""
    return names("seed_source", incomplete)


def overrides(incomplete: str) -> list[str]:
    """Complete an override: a group, then a file of it; of several, in brackets or to sweep over, the last."""
    group, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{name}=" for name in GROUPS_OF_OVERRIDES if name.startswith(group)]
    if group not in GROUPS_OF_OVERRIDES:
        return []
    before, separator, last = value.rpartition(",")
    if group in _ONE:
        return [f"{group}={before}{separator}{name}" for name in _fresh(group, last, before.split(","))]
    start = f"{before}{separator}" or "["
    return [f"{group}={start}{name}" for name in _fresh(group, last.lstrip("["), before.lstrip("[").split(","))]


def _fresh(group: str, incomplete: str, used: Iterable[str]) -> list[str]:
    return [name for name in names(group, incomplete) if name not in set(used)]
