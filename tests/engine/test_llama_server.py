"""A server that is started for the build and ended with it: a stub of one, and the real one where there is one."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from m2l.engine.base import ModelFile
from m2l.engine.llama_server import LlamaServer
from m2l.errors import ConfigError, EngineError
from m2l.records import FinishReason, JsonSchema
from tests.conftest import ROOT
from tests.engine.test_openai import ask
from tests.test_gguf import FIELDS, header

STUB = """\
    #!{python}
    import http.server, json, os, sys, time
    if "--version" in sys.argv:
        print("version: 7 (stub)", file=sys.stderr)
        raise SystemExit
    print("stub begins", " ".join(sys.argv[1:]), flush=True)
    mode = os.environ.get("STUB", "")
    if mode == "broken":
        print("error: no such model", file=sys.stderr)
        raise SystemExit(3)
    open(os.environ["STUB_PID"], "w").write(str(os.getpid()))
    ready = time.time() + (1e9 if mode == "never" else 0.3)
    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def do_GET(self):
            self.reply(200 if time.time() > ready else 503, {{}})
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice = {{"text": body["prompt"].upper(), "finish_reason": "stop"}}
            self.reply(200, {{"choices": [choice]}})
        def log_message(self, *args):
            pass
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def stub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that acts as llama-server, and writes its process id to `pid`."""
    path = project / "stub-server"
    path.write_text(textwrap.dedent(STUB).format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)
    (project / "model.gguf").write_bytes(header(FIELDS, []))
    monkeypatch.setenv("STUB_PID", str(project / "pid"))
    return path


def engine(stub: Path, start_s: float = 20) -> LlamaServer:
    """The engine on the stub, with three slots."""
    model = ModelFile(name="m", path=stub.parent / "model.gguf")
    return LlamaServer(
        model, binary=str(stub), n_ctx=100, n_slots=3, timeout_s=5, start_s=start_s, retries=0, arguments=["--more"]
    )


def alive(pid: int) -> bool:
    """Say whether a process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Say whether a process ends within five seconds."""
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_it_is_started_once_and_ended_with_the_engine(project: Path, stub: Path) -> None:
    """Two rounds use one server, which gets our settings, writes to its log, and is gone after `close`."""
    server = engine(stub)
    first = dict(server.generate([ask("one"), ask("two")]))
    pid = int((project / "pid").read_text())
    [(_, again)] = server.generate([ask("three")])
    assert {index: completion.text for index, completion in first.items()} == {0: "ONE", 1: "TWO"}
    assert again.text == "THREE"
    assert int((project / "pid").read_text()) == pid
    log = (project / "cache" / "llama-server.log").read_text()
    assert log.count("stub begins") == 1
    assert "--ctx-size 300 --parallel 3" in log
    assert "--more" in log
    server.close()
    assert gone(pid)


def test_its_version_is_part_of_the_key(stub: Path) -> None:
    """Another version may write other texts."""
    assert LlamaServer.backend_of({"binary": str(stub)}) == "llama-server 1, version: 7 (stub)"


def test_no_program_is_one_line() -> None:
    """It says what to install or to name."""
    with pytest.raises(ConfigError) as error:
        LlamaServer.backend_of({"binary": "no-such-server"})
    assert str(error.value) == (
        "conf/engine/llama_server.yaml: no program 'no-such-server'. Install llama.cpp, or give the path of its "
        "llama-server as engine.binary."
    )


def test_a_program_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    """What it said last is the reason."""
    path = tmp_path / "broken"
    path.write_text("#!/bin/sh\necho no library >&2\nexit 127\n")
    path.chmod(0o755)
    with pytest.raises(ConfigError) as error:
        LlamaServer.backend_of({"binary": str(path)})
    assert str(error.value) == (f"conf/engine/llama_server.yaml: {path} does not run (no library). Install it anew.")


def test_a_server_that_ends_at_its_start_is_one_line(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line that it wrote is the reason."""
    monkeypatch.setenv("STUB", "broken")
    with pytest.raises(EngineError) as error:
        list(engine(stub).generate([ask("x")]))
    assert str(error.value) == (
        f"{stub}: ended with code 3 at its start (error: no such model). See cache/llama-server.log."
    )


def test_a_server_that_is_never_ready_is_ended(project: Path, stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `start_s` it is given up, and no process is left."""
    monkeypatch.setenv("STUB", "never")
    with pytest.raises(EngineError, match=r"not ready after 2 s\. Raise engine\.start_s, or see cache/llama-server"):
        list(engine(stub, start_s=2).generate([ask("x")]))
    assert gone(int((project / "pid").read_text()))


def test_it_dies_with_a_build_that_is_killed(project: Path, stub: Path) -> None:
    """SIGKILL to the process that started it leaves no server behind."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.engine.test_llama_server import engine\n"
        "from tests.engine.test_openai import ask\n"
        f"list(engine(Path({str(stub)!r})).generate([ask('x')]))\nprint('up', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        pid = int((project / "pid").read_text())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


@pytest.fixture
def real() -> Iterator[LlamaServer]:
    """The engine on a llama-server of this machine and the default model."""
    if shutil.which("llama-server") is None:
        pytest.skip("no llama-server on this machine")
    path = ROOT / "cache" / "models" / "gemma-3-270m-q4_k_m.gguf"
    server = LlamaServer(
        ModelFile(name="gemma", path=path), binary="llama-server", n_ctx=256, n_slots=4, timeout_s=120, start_s=120,
        retries=0,
    )  # fmt: skip
    yield server
    server.close()


@pytest.mark.model
def test_a_real_server_answers(real: LlamaServer) -> None:
    """Texts, a schema and a grammar, several at once."""
    import msgspec

    shots = "Country: France\nCapital: Paris\n\nCountry: Italy\nCapital: Rome\n\nCountry: Spain\nCapital:"
    plain = ask(shots, stop=("\n",))
    cold = msgspec.structs.replace(plain, sampling=msgspec.structs.replace(plain.sampling, temperature=0.0))
    schema = JsonSchema('{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}')
    held = msgspec.structs.replace(cold, grammar=schema, stop=(), max_tokens=30)
    ruled = msgspec.structs.replace(cold, grammar='root ::= " A" [a-z]')
    found = dict(real.generate([cold, held, ruled]))
    assert found[0].text.strip() == "Madrid"
    assert found[0].finish_reason is FinishReason.STOP
    assert found[0].completion_tokens > 0
    assert msgspec.json.decode(found[1].text)["n"] in (1, 2)
    assert found[2].text.startswith(" A")
