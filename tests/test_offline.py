"""Nothing opens a socket after set-up: a build, a plan and a preview run with sockets blocked."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError, disable_socket, enable_socket

from tests.helpers import run


@pytest.fixture
def no_sockets() -> Iterator[None]:
    """Make every socket an error for one test, and see that it is one."""
    disable_socket()
    with pytest.warns(UserWarning, match="tried to use socket"), pytest.raises(SocketBlockedError):
        socket.socket()
    yield
    enable_socket()


@pytest.mark.usefixtures("no_sockets")
def test_a_build_opens_no_socket(project: Path) -> None:
    """Composing, building, filtering and exporting need no network."""
    assert run(project)
    assert (project / "data" / "dist" / "full_data" / "train.parquet").is_file()


@pytest.mark.parametrize("arguments", [["plan"], ["check"], ["preview", "eng_Latn", "general"]])
def test_a_command_opens_no_socket(project: Path, arguments: list[str]) -> None:
    """Commands run in a process in which socket.socket raises."""
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise OSError('a socket was opened')\n"
        "socket.socket.__init__ = refuse\nsocket.create_connection = refuse\nsocket.getaddrinfo = refuse\n"
        f"sys.argv = ['m2l', *{arguments!r}]\n"
        "from m2l.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_dvc_reports_nothing_home(project: Path) -> None:
    """Analytics and update checks of DVC are off in the shipped configuration."""
    import configparser

    settings = configparser.ConfigParser()
    settings.read(project / ".dvc" / "config")
    assert settings["core"]["analytics"] == "false"
    assert settings["core"]["check_update"] == "false"
