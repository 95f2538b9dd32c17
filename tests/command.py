"""Running the command line as a person does."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

_APART = ("build", "sweep", "compose")


def m2l(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a project, without a terminal.

    What ends or changes its process runs in one of its own; the rest in this one, which is quicker.
    """
    if arguments[0] not in _APART:
        return _here(project, arguments)
    return subprocess.run(
        [sys.executable, "-m", "m2l", *arguments],
        cwd=project, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _here(project: Path, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    from m2l.__main__ import main

    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        patch.chdir(project)
        patch.setattr(sys, "argv", ["m2l", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    signal.signal(signal.SIGINT, before)
    return subprocess.CompletedProcess(["m2l", *arguments], code, stdout.getvalue(), stderr.getvalue())
