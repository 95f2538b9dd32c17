"""What this process may use of the machine: cores by affinity and cgroup, memory that is free to it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

_UNLIMITED = 1 << 60
"""From here on a limit of cgroup v1 means that there is none."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Cores, free bytes of memory, and free bytes of all GPUs together."""

    cores: int
    memory: int
    gpu_memory: int = 0


def this_machine(root: Path = Path("/")) -> Machine:
    """Return what this process may use; `root` is where `proc` and `sys` are mounted.

    A cgroup's limits hold with those of all cgroups above it; of its memory what is only
    file cache counts as free.
    """
    cores = float(len(os.sched_getaffinity(0)))
    memory = _available(root / "proc/meminfo")
    for folder in _cgroups(root, "cpu"):
        cores = min(cores, _quota(folder))
    for folder in _cgroups(root, "memory"):
        memory = min(memory, _headroom(folder))
    return Machine(cores=max(1, math.ceil(cores)), memory=max(0, memory))


def _available(path: Path) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of a controller that hold this process, version 1 or 2, from its own up to the top.

    In a container the path may begin above what is mounted: then the parts that exist count.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            top = next((mounted / name for name in (names, controller) if (mounted / name).is_dir()), None)
        else:
            top = mounted if not names else None
        if top is None:
            continue
        folder = top / path.strip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _quota(folder: Path) -> float:
    limit, period = _words(folder / "cpu.max") or (
        *(_words(folder / "cpu.cfs_quota_us") or ["-1"]),
        *(_words(folder / "cpu.cfs_period_us") or ["100000"]),
    )
    return math.inf if limit in ("max", "-1") else int(limit) / int(period)


def _headroom(folder: Path) -> int:
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        found = _words(folder / limit)
        if found and found[0] != "max" and int(found[0]) < _UNLIMITED:
            stat = _words(folder / "memory.stat")
            spare = int(stat[stat.index(cached) + 1]) if cached in stat else 0
            return int(found[0]) - int((_words(folder / used) or ["0"])[0]) + spare
    return _UNLIMITED


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
