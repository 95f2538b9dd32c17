"""What a terminal shows of a build, and what it does not where nobody watches."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import m2l
from tests.conftest import ROOT
from tests.test_dvc import SLOW

COLOUR = re.compile(r"\x1b\[[\d;]*m")


def on_a_terminal(project: Path, *arguments: str, **environment: str) -> str:
    """Run a command whose stderr is a terminal, and return what came there."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "m2l", *arguments],
        cwd=project, stdout=subprocess.DEVNULL, stderr=side,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120"} | environment,
    )  # fmt: skip
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the terminal's other side is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0, shown
    return shown.decode(errors="replace")


@pytest.fixture
def slow(project: Path) -> Path:
    """A project whose engine takes 20 ms a call, composed."""
    (project / "params.yaml").write_text(SLOW)
    assert m2l(project, "compose").returncode == 0
    return project


def test_a_terminal_shows_the_round_its_pace_and_what_is_left(slow: Path) -> None:
    """The bar names slice and round, counts calls, says tokens a second, and the time left."""
    shown = on_a_terminal(slow, "build", "eng_Latn")
    assert COLOUR.search(shown)
    plain = COLOUR.sub("", shown)
    for round_ in ("evolve", "respond", "user turn 2", "assistant turn 2"):
        assert f"eng_Latn {round_}" in plain
    assert re.search(r"\d+/24 +\d+ tokens/s +0:\d\d:\d\d +left +0:\d\d:\d\d", plain)


def test_no_color_takes_the_colours_out(slow: Path) -> None:
    """With NO_COLOR the same bar comes without a colour; a bold or dim style is none."""
    shown = on_a_terminal(slow, "build", "eng_Latn", NO_COLOR="1")
    assert "tokens/s" in shown
    assert not re.search(r"\x1b\[(?:\d;)*(?:3[0-8]|4[0-8]|9\d)[;m]", shown)


def test_a_terminal_that_cannot_move_its_cursor_is_left_alone(slow: Path) -> None:
    """On a dumb terminal there is the line about the engine and nothing that moves."""
    shown = on_a_terminal(slow, "build", "eng_Latn", TERM="dumb")
    assert shown == "eng_Latn: counting 1\r\n"


def test_a_sweep_shows_where_in_all_of_it_a_language_stands(slow: Path) -> None:
    """Above the bar of the round stands that of the variant: the languages done, of how many."""
    shown = COLOUR.sub("", on_a_terminal(slow, "sweep", "-m", "language=[eng_Latn,hin_Deva]", "task=[general]"))
    assert re.search(r"variant 0 .* 0/2 ", shown)
    assert re.search(r"variant 0 .* 1/2 +about \d+ (?:s|min) left", shown)
    assert "hin_Deva evolve" in shown
