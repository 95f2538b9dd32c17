"""A variant of a sweep under a name: its overrides, written down as an overlay of `conf/`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from m2l import changes, comparison, config, slices
from m2l.errors import BuildError, ConfigError, M2LError

FOLDER = Path("conf/experiment")


def save(root: Path, name: str, variant: Path) -> list[str]:
    """Write `conf/experiment/<name>.yaml` from the folder of a variant, and return what to say.

    Raises BuildError if there is no such variant, or an experiment of this name already.
    """
    path = root / FOLDER / f"{name}.yaml"
    if not re.fullmatch(r"\w[\w-]*", name, flags=re.ASCII):
        raise BuildError(f"command line: {name!r} is no name. Use letters, digits, _ and -.")
    if path.exists():
        raise BuildError(f"{FOLDER / path.name}: there already. Choose another name, or remove it.")
    folder = (root / variant).resolve()
    try:
        overrides = json.loads((folder / comparison.RESULT).read_text(encoding="utf-8"))["overrides"]
    except (OSError, ValueError, KeyError) as err:
        raise BuildError(f"{variant}: no variant of a sweep. Name a folder such as multirun/DATE/TIME/0.") from err
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(overlay(overrides, origin=str(variant)), encoding="utf-8")
    try:
        moved = _moved(folder / "slices", slices.compose(root, [f"experiment={name}"]))
    except M2LError:
        path.unlink()
        raise
    said = [f"{FOLDER / path.name}: {len(overrides)} overrides of {variant}."]
    if moved:
        said.append(f"conf/ has changed since that was built, so this is no longer the same: {', '.join(moved)}.")
    return [*said, f"Build it: put `overrides: [+experiment={name}]` into params.yaml, then `dvc repro`."]


def overlay(overrides: Sequence[str], *, origin: str) -> str:
    """Return the YAML that says the same as some overrides; raises ConfigError for one that no overlay can say."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    defaults: list[str] = []
    values: dict[str, Any] = {}
    for item in OverridesParser.create().parse_overrides(list(overrides)):
        line, key, value = str(item.input_line), str(item.key_or_group), item.value()
        if item.is_delete():
            raise ConfigError(f"override {line!r}: an overlay can take nothing away. Sweep over a value instead.")
        if key == "experiment":
            defaults.insert(0, f"{value}")
        elif key in config.GROUPS:
            defaults.append(f"override /{key}: {_inline(value)}")
        else:
            *above, last = key.split(".")
            at = values
            for part in above:
                at = at.setdefault(part, {})
            at[last] = value
    chosen = "".join(f"  - {line}\n" for line in [*defaults, "_self_"])
    body = yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=110) if values else ""
    return f"# @package _global_\n# {origin}, saved by `m2l experiment save`\ndefaults:\n{chosen}{body}"


def _inline(value: object) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump([value], allow_unicode=True, default_flow_style=True, width=float("inf"))
    return text.strip()[1:-1]


def _moved(folder: Path, composed: slices.Composed) -> list[str]:
    """Return the languages of whose slice the content is not that of a folder's, with the first leaf that moved."""
    moved = []
    for name, piece in composed.slices.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            moved.append(f"{name} is new")
            continue
        before, now = path.read_bytes(), slices.content(piece)
        if before != now:
            _, leaves = changes.reason(before, now)
            moved.append(f"{name} ({leaves[0] if leaves else 'code'})")
    return moved
