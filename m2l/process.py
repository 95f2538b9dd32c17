"""Being one process among others: locks that end with it, and dying with its parent."""

import ctypes
import fcntl
import glob
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from m2l.errors import BuildError

_PR_SET_PDEATHSIG = 1
_INTERRUPTED = 130


class Owner(NamedTuple):
    """A process, told from another one that has its number later by when it began."""

    host: str
    pid: int
    began: str

    @classmethod
    def me(cls) -> "Owner":
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), _began(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """Read what `str` wrote."""
        host, pid, began = text.rsplit("/", 2)
        return cls(host, int(pid), began)

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.began}"

    def alive(self) -> bool:
        """Say whether the process is still there, as far as this machine can tell."""
        return self.host != socket.gethostname() or (bool(_began(self.pid)) and _began(self.pid) == self.began)


def _began(pid: int) -> str:
    """Return when a process began, in ticks since the machine did; empty if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if there is none, or it is a zombie."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if _began(pid)
            else ""
        )
    except OSError:
        return ""


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, so that a killed `dvc` leaves no writer behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_interrupt(message: str, *, seconds: float = 1.0) -> None:
    """End this process with code 130 on Ctrl-C: in order if that takes less than `seconds`, else at once.

    Python runs a signal's handler only between its own steps, and a model's one step can
    take long; so a thread waits beside, and ends the process where it stands.
    """
    heard, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def in_order(_signal: int, _frame: object) -> None:
        raise SystemExit(_INTERRUPTED)

    def at_once() -> None:
        while os.read(heard, 1) != bytes([signal.SIGINT]):
            pass
        os.write(2, f"\n{message}\n".encode())
        time.sleep(seconds)
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGINT, in_order)
    threading.Thread(target=at_once, daemon=True).start()


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock on `path` that ends with this process; raises BuildError if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            file.seek(0)
            raise BuildError(
                f"{what}: process {file.read().strip() or '?'} is at it already. Wait until it ends, or end it."
            ) from err
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when all went well, and is removed otherwise.

    What a killed process left of the same file is removed first: it would become part of an output.

    Raises BuildError if the disk is full or the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            if not _began(int(left.name.split(".")[-2])):
                left.unlink()
        yield part
        os.replace(part, path)
    except OSError as err:
        raise BuildError(
            f"{path}: {err.strerror or err}. Free some space or correct its rights, then run the same command again: "
            f"all completions are kept."
        ) from err
    finally:
        with suppress(OSError):
            part.unlink()
