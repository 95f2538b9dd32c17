"""Doing something again whenever a declaration is saved, by looking at the files ten times a second."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from m2l.errors import M2LError

PAUSE_SECONDS = 0.1

Stamps = dict[Path, tuple[int, int]]


def stamps(root: Path) -> Stamps:
    """Return the time and size of every YAML below `conf/`, and of `params.yaml`."""
    found = {}
    for path in (*(root / "conf").rglob("*.yaml"), root / "params.yaml"):
        try:
            status = path.stat()
        except FileNotFoundError:  # an editor replaces a file by another one
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def saved(root: Path) -> Iterator[list[str]]:
    """Yield, for ever, what was saved, once nothing more is being written; at first nothing, at once."""
    before = stamps(root)
    yield []
    while True:
        time.sleep(PAUSE_SECONDS)
        now = stamps(root)
        while now != before:
            time.sleep(PAUSE_SECONDS / 2)
            then, now = now, stamps(root)
            if then == now:
                changed = sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
                before = now
                yield [str(path.relative_to(root)) for path in changed]


def watch(root: Path, show: Callable[[], Iterator[str]]) -> None:
    """Print what `show` yields now and after every save; what is wrong with a save is one line."""
    for files in saved(root):
        start = time.monotonic()
        if files:
            print(f"\n{'═' * 12} {', '.join(files)}")
        try:
            for line in show():
                print(line)
        except M2LError as err:
            print(f"{type(err).__name__}: {err}", file=sys.stderr, flush=True)
        print(
            f"{time.monotonic() - start:.1f} s. Watching conf/; save a YAML to see it again, Ctrl-C ends.", flush=True
        )
