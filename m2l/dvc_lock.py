"""What `dvc.lock` says: which slice each language's tables were made from, and what the outputs are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from m2l.errors import BuildError

LOCK = "dvc.lock"
_BUILD = "build@"


def read(root: Path) -> Any:
    """Return the lock of a project, an empty one where nothing was built; raises BuildError if it is not readable."""
    try:
        return parse((root / LOCK).read_bytes(), LOCK)
    except FileNotFoundError:
        return {}


def parse(lock: bytes | str, where: str) -> Any:
    """Return a lock's content; raises BuildError, beginning with `where`, if it is not readable."""
    try:
        return yaml.load(lock, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as err:
        raise BuildError(
            f"{where}: not readable. Restore it with `git checkout {LOCK}`, or run `m2l verify --repair`."
        ) from err


def torn(root: Path) -> bool:
    """Say whether DVC will not read the lock: it writes it in place, so that a kill can cut it off."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if not (root / LOCK).is_file():
        return False
    try:
        COMPILED_LOCKFILE_SCHEMA(read(root))
    except (BuildError, Invalid):
        return True
    return False


def set_aside(root: Path) -> Path:
    """Rename a torn lock and return its name; the next `dvc repro` makes it anew, without a call."""
    return (root / LOCK).rename(root / f"{LOCK}.torn").relative_to(root)


def slices(lock: Any) -> dict[str, str]:
    """Return the digest of the slice that each language was last built from."""
    return {
        name.removeprefix(_BUILD): dep["md5"]
        for name, stage in _stages(lock).items()
        if name.startswith(_BUILD)
        for dep in stage.get("deps", [])
        if "md5" in dep
    }


def outs(lock: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (stage, path, digest) of every folder that a stage left; the slices are no output to keep."""
    for name, stage in _stages(lock).items():
        for out in stage.get("outs", []):
            if str(out.get("md5", "")).endswith(".dir") and name != "compose":
                yield name, out["path"], out["md5"]


def _stages(lock: Any) -> dict[str, Any]:
    stages: dict[str, Any] = (lock or {}).get("stages", {})
    return stages
