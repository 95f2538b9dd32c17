"""A progress bar with calls done, tokens a second and time left; quiet where nobody watches."""

import sys
import time
from typing import TYPE_CHECKING

from m2l.records import Completion

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Shows the rounds of one slice on stderr, if that is a terminal."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = False
        self._tokens = 0
        self._start = 0.0

    def start(self, name: str, calls: int, reused: int, engine: str | None) -> None:
        """See `build.Progress`."""
        self._stop()
        if engine is None:
            return
        if not self._said:
            print(f"{self.title}: {engine}", file=sys.stderr)
            self._said = True
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(f"{self.title} {name}", total=calls, completed=reused, rate="")
        self._tokens, self._start, self._left = 0, time.monotonic(), calls - reused

    def step(self, completion: Completion) -> None:
        """See `build.Progress`."""
        if self._bar is None or self._task is None:
            return
        self._tokens += completion.completion_tokens
        rate = self._tokens / max(1e-9, time.monotonic() - self._start)
        self._bar.update(self._task, advance=1, rate=f"{rate:.0f} tok/s")
        self._left -= 1
        if self._left == 0:
            self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
