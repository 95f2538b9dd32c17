"""DVC's own lock file: `.dvc/tmp/rwlock` names processes, and a killed one may stay named.

DVC drops a name once its process has gone, but calls a path busy for ever if the process
is a zombie or its number was given to another one, and stops at a file that a kill has torn.
"""

import json
from pathlib import Path
from typing import Any

from m2l.process import command_of, exclusive, writing

FOLDER = Path(".dvc/tmp")
RWLOCK = FOLDER / "rwlock"


def stale(root: Path) -> list[str]:
    """Return what is wrong with the lock, one clause each: `process 4711, which has ended, holds data/tables/x`."""
    try:
        lock = _read(root)
    except ValueError:
        return ["it was torn by a kill and cannot be read"]
    return [
        f"process {info['pid']}, which {_state(info['pid'])}, holds {path}"
        for path, info in _infos(lock)
        if _state(info["pid"])
    ]


def explained(root: Path) -> list[str]:
    """Return a line for each stale hold, and what to do."""
    return [
        f"{RWLOCK}: {what}. DVC may call it busy: run `m2l verify --repair`, which lets go." for what in stale(root)
    ]


def release(root: Path) -> None:
    """Take every stale hold out of the lock; raises BuildError while DVC is at it."""
    with exclusive(root / FOLDER / "rwlock.lock", str(RWLOCK)):
        try:
            lock = _read(root)
        except ValueError:
            lock = {}
        read = {
            path: [info for info in infos if not _state(info["pid"])] for path, infos in lock.get("read", {}).items()
        }
        write = {path: info for path, info in lock.get("write", {}).items() if not _state(info["pid"])}
        with writing(root / RWLOCK) as part:
            part.write_text(json.dumps({"read": {p: i for p, i in read.items() if i}, "write": write}), "utf-8")


def _state(pid: int) -> str:
    """Return what has become of a process, in words; empty if it is a DVC that runs."""
    command = command_of(pid)
    if not command:
        return "has ended"
    return "" if "dvc" in command else "is another program now"


def _infos(lock: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    reads = [(path, info) for path, infos in lock.get("read", {}).items() for info in infos]
    return sorted([*reads, *lock.get("write", {}).items()], key=lambda held: (held[0], held[1]["pid"]))


def _read(root: Path) -> dict[str, Any]:
    """Return the lock, empty if there is none; raises ValueError if it is not what DVC writes."""
    try:
        lock = json.loads((root / RWLOCK).read_text(encoding="utf-8"))
        _infos(lock)
    except FileNotFoundError:
        return {}
    except (AttributeError, KeyError, TypeError) as err:
        raise ValueError(str(err)) from err
    return dict(lock)
