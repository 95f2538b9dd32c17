"""What this process may use, over trees of files as Linux shows them."""

import os
from pathlib import Path

import pytest

from m2l.machine import this_machine

GB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write what /proc and /sys would say."""
    for name, content in ({"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 * GB // 1024} kB\n"} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n", encoding="ascii")
    return root


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def test_without_cgroups_affinity_and_free_memory_count(tmp_path: Path) -> None:
    """Nothing else limits."""
    found = this_machine(tree(tmp_path, {}))
    assert (found.cores, found.memory) == (8, 8 * GB)


def test_version_2_with_a_limit_above(tmp_path: Path) -> None:
    """The tightest of all cgroups above holds; file cache counts as free."""
    files = {
        "proc/self/cgroup": "0::/a/b",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/fs/cgroup/a/cpu.max": "250000 100000",
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/memory.max": str(4 * GB),
        "sys/fs/cgroup/a/memory.current": str(3 * GB),
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {GB}",
    }
    found = this_machine(tree(tmp_path, files))
    assert (found.cores, found.memory) == (3, 2 * GB)


def test_version_1_with_controllers_together(tmp_path: Path) -> None:
    """Quota and period, and the limit in bytes; the huge number that means none is none."""
    files = {
        "proc/self/cgroup": "4:memory:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "150000",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "50000",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(GB),
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(GB // 4),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    found = this_machine(tree(tmp_path, files))
    assert (found.cores, found.memory) == (3, GB - GB // 4)


def test_a_container_that_does_not_see_its_own_path(tmp_path: Path) -> None:
    """What is mounted is its own cgroup then, whose limits are at the top."""
    files = {"proc/self/cgroup": "0::/docker/1234", "sys/fs/cgroup/cpu.max": "50000 100000"}
    assert this_machine(tree(tmp_path, files)).cores == 1


def test_the_machine_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real files it is what Linux allows at most."""
    monkeypatch.undo()
    found = this_machine()
    assert 1 <= found.cores <= len(os.sched_getaffinity(0))
    assert 0 < found.memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
