"""A progress bar with calls done, tokens a second and time left; quiet where nobody watches."""

import os
import sys
import time
from typing import TYPE_CHECKING

from m2l.records import Completion

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Place:
    """Where in a longer work a slice stands: the `number`-th of `total`, which began `start` (monotonic seconds)."""

    def __init__(self, title: str, number: int, total: int, start: float) -> None:
        self.title, self.number, self.total, self.start = title, number, total, start

    def left(self) -> str:
        """Say about how long the rest takes, from what the slices so far took; at first nothing."""
        done = self.number - 1
        if not done:
            return ""
        seconds = (time.monotonic() - self.start) / done * (self.total - done)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


class Overall:
    """Makes the bars of several slices that one process builds one after the other."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._number, self._start = 0, time.monotonic()

    def __call__(self, name: str) -> "Bar":
        """Return the bar of the slice that comes next."""
        self._number += 1
        return Bar(name, Place(self._title, self._number, self._total, self._start))


class Bar:
    """Shows the rounds of one slice on stderr, if that is a terminal, and above them the slice's place."""

    def __init__(self, title: str, place: Place | None = None) -> None:
        self.title, self._place = title, place
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = False
        self._tokens = self._left = 0
        self._start = 0.0

    def start(self, name: str, calls: int, reused: int, engine: str | None) -> None:
        """See `build.Progress`."""
        self._stop()
        if engine is None:
            return
        if not self._said and (self._place is None or self._place.number == 1):
            print(f"{self.title}: {engine}", file=sys.stderr)
        self._said = True
        if not _watched():
            return
        self._bar = _bar()
        if self._place is not None:
            place = self._place
            self._bar.add_task(place.title, total=place.total, completed=place.number - 1, rate=place.left())
        self._task = self._bar.add_task(f"{self.title} {name}", total=calls, completed=reused, rate="")
        self._bar.start()
        self._tokens, self._start, self._left = 0, time.monotonic(), calls - reused

    def step(self, completion: Completion) -> None:
        """See `build.Progress`."""
        if self._bar is None or self._task is None:
            return
        self._tokens += completion.completion_tokens
        rate = self._tokens / max(1e-9, time.monotonic() - self._start)
        self._bar.update(self._task, advance=1, rate=f"{rate:.0f} tokens/s")
        self._left -= 1
        if self._left == 0:
            self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _watched() -> bool:
    """Say whether stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def _bar() -> "Progress":
    """Return a display that vanishes when it ends; rich itself leaves out colours if NO_COLOR is set."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
