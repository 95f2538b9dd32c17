"""Servers of the OpenAI API on this machine that behave, and ones that do not."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Reply(BaseHTTPRequestHandler):
    """One call, for a behaviour to answer: `body` is what was sent."""

    body: dict[str, Any]

    def do_POST(self) -> None:
        """Read the call and let the server's behaviour answer it."""
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.behaviour(self)  # type: ignore[attr-defined]

    def answer(self, text: str | None = None, finish_reason: str = "stop") -> None:
        """Answer properly, with the last word of the prompt if no text is given."""
        chat = "messages" in self.body
        prompt = self.body["messages"][-1]["content"] if chat else self.body["prompt"]
        said = prompt.split()[-1] if text is None else text
        choice = {"message": {"content": said}} if chat else {"text": said}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(said.split())}
        self.send(200, json.dumps({"choices": [choice | {"finish_reason": finish_reason}], "usage": usage}))

    def send(self, status: int, text: str = "", **headers: str) -> None:
        """Send a whole response."""
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests want."""


@contextmanager
def serving(behaviour: Callable[[Reply], None]) -> Iterator[str]:
    """Yield the address of a server that answers every call by a function."""
    with _Server(("127.0.0.1", 0), Reply) as server:
        server.behaviour = behaviour  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
