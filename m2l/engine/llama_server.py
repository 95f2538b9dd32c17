"""llama.cpp's own server, started for the build and ended with it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import httpx

from m2l import gguf
from m2l.config import project_root
from m2l.engine.base import ModelFile
from m2l.engine.openai import OpenAI
from m2l.engine.sizing import Chosen, Settings, choose, context
from m2l.errors import ConfigError, EngineError
from m2l.machine import this_machine
from m2l.process import die_with_parent
from m2l.records import Completion, Request

_LOG = Path("cache/llama-server.log")
_HOST = "127.0.0.1"


class LlamaServer(OpenAI):
    """Starts `binary` on a free port of this machine, and sends it requests in as many slots as it has.

    The settings are those of `Llama`, `arguments` are put behind ours; what the server
    writes goes to `cache/llama-server.log`. It is ended by `close`, and by Linux should
    this process be killed. Raises EngineError if it does not start within `start_s`.
    """

    local = True

    def __init__(
        self,
        model: ModelFile,
        binary: str,
        n_ctx: int,
        timeout_s: float,
        start_s: float,
        retries: int,
        arguments: Sequence[str] = (),
        n_slots: int | None = None,
        n_batch: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int | None = None,
    ) -> None:
        self._asked = Settings(
            n_slots=n_slots, n_ctx=n_ctx, n_batch=n_batch, n_threads=n_threads, n_gpu_layers=n_gpu_layers
        )
        assert model.path is not None
        self._path = model.path
        super().__init__(
            model, base_url="", model=model.name, api_key_env="", concurrency=1, timeout_s=timeout_s,
            retries=retries, api="llama_server",
        )  # fmt: skip
        self.binary, self.start_s, self.arguments = binary, start_s, tuple(arguments)
        self._server: subprocess.Popen[bytes] | None = None

    @classmethod
    def backend(cls) -> str:
        return "llama-server 1"

    @classmethod
    def backend_of(cls, target: dict[str, object]) -> str:
        """See `Engine`: the version that the program says of itself, as other versions may write other texts."""
        program = find(str(target.get("binary", "")))
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
        if done.returncode:
            raise ConfigError(f"conf/engine/llama_server.yaml: {program} does not run ({said[-1]}). Install it anew.")
        lines = [line for line in said if line.startswith("version:")]
        return f"{cls.backend()}, {lines[0] if lines else 'version not said'}"

    @classmethod
    def resolved(cls, target: dict[str, object], n_ctx_train: int) -> dict[str, object]:
        return target | {"n_ctx": target.get("n_ctx") or context(n_ctx_train)}

    @cached_property
    def chosen(self) -> Chosen:
        """How it is set on this machine."""
        return choose(self._asked, gguf.read(self._path), this_machine())

    def describe(self) -> str:
        chosen = self.chosen
        return (
            f"{self.name}: {self.binary} with {chosen.n_slots} slots of {chosen.n_ctx} tokens, "
            f"{chosen.n_threads} threads; it writes to {_LOG}"
        )

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.start()
        yield from super().generate(requests)

    def start(self) -> None:
        """Start the server now, unless it runs, and not with the first request."""
        if self._server is None or self._server.poll() is not None:
            self._start()

    @property
    def pid(self) -> int | None:
        """The process of the server, None if it does not run."""
        return self._server.pid if self._server else None

    def close(self) -> None:
        super().close()
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None

    def _start(self) -> None:
        chosen, port = self.chosen, _free_port()
        self.concurrency, self.base_url = chosen.n_slots, f"http://{_HOST}:{port}/v1"
        command = [
            find(self.binary), "--model", str(self._path), "--host", _HOST, "--port", str(port),
            "--ctx-size", str(chosen.n_ctx * chosen.n_slots), "--parallel", str(chosen.n_slots),
            "--batch-size", str(chosen.n_batch), "--threads", str(chosen.n_threads),
        ]  # fmt: skip
        if self._asked.n_gpu_layers is not None:
            command += ["--n-gpu-layers", str(self._asked.n_gpu_layers)]
        log = project_root() / _LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self._server = subprocess.Popen(
                [*command, *self.arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        self._wait(log)

    def _wait(self, log: Path) -> None:
        """Wait until the server is healthy; raises EngineError if it ends before that, or takes too long."""
        assert self._server is not None
        deadline = time.monotonic() + self.start_s
        while time.monotonic() < deadline:
            code = self._server.poll()
            if code is not None:
                said = log.read_text(encoding="utf-8", errors="replace").split("\n")
                last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
                raise EngineError(f"{self.binary}: ended with code {code} at its start ({last}). See {_LOG}.")
            try:
                if httpx.get(f"{self.base_url.removesuffix('/v1')}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        self.close()
        raise EngineError(f"{self.binary}: not ready after {self.start_s:g} s. Raise engine.start_s, or see {_LOG}.")


def find(binary: str) -> str:
    """Return the path of the program; raises ConfigError if there is none."""
    found = shutil.which(binary)
    if found is None:
        raise ConfigError(
            f"conf/engine/llama_server.yaml: no program {binary!r}. Install llama.cpp, or give the path of its "
            f"llama-server as engine.binary."
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
