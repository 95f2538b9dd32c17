"""Model files: fetched from a server that misbehaves, recorded on first use, verified ever after."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from m2l import config, download, models
from m2l.errors import ModelError
from m2l.spec import Fetch, Model
from tests.conftest import ROOT
from tests.test_gguf import FIELDS, header

CONTENT = header(FIELDS, []) + bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Files(BaseHTTPRequestHandler):
    """Serves one file with ranges and a validator, or as a server does that misbehaves."""

    content = CONTENT
    etag = '"one"'
    told = ""
    ranges = True
    cut: list[int]
    status: list[int]
    asked: list[str]

    def do_GET(self) -> None:
        """Send the file, or the rest of it, or less than was promised."""
        span = self.headers.get("Range") if self.headers.get("If-Range") == self.etag and self.ranges else None
        self.asked.append(self.headers.get("Range") or "")
        if self.status and (status := self.status.pop(0)) != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        data = self.content[start:]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", self.etag)
        if self.told:
            self.send_header("X-Linked-ETag", self.told)
        self.end_headers()
        if self.cut:
            data = data[: self.cut.pop(0)]
            self.close_connection = True
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(**settings: object) -> Iterator[tuple[str, type[Files]]]:
    """Yield the address of such a server and its handler."""
    handler = type("Handler", (Files,), {"cut": [], "status": [], "asked": []} | settings)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/repo", handler
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2l.download.time.sleep", lambda _: None)


def model(source: str, **changes: object) -> Model:
    """A model to fetch, of which neither digest nor size is known."""
    sampling = config.load_model(ROOT, "gemma3_270m").model.sampling
    made = Model(
        name="mine", title="Mine", source=source, license="MIT", file="mine.gguf", sha256=None, size=None,
        fetch=Fetch(path="resolve/main/mine.gguf"), sampling=sampling,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def get(root: Path, wanted: Model) -> list[str]:
    """Fetch a model; return what was said."""
    said: list[str] = []
    models.get(root, wanted, say=said.append)
    return said


def parts(root: Path) -> list[str]:
    """Return the names of what an interrupted download left."""
    return sorted(path.name for path in (root / "cache" / "models").glob("*part*"))


def test_a_file_is_fetched_recorded_and_verified(tmp_path: Path) -> None:
    """Its licence is said, its digest is recorded, nothing else is left; a second time nothing is fetched."""
    with serving() as (source, handler):
        said = get(tmp_path, model(source))
        assert get(tmp_path, model(source)) == ["mine: cache/models/mine.gguf is in place and verified."]
        assert handler.asked == [""]
    assert said == [
        "mine: Mine, licence MIT",
        f"mine: fetching {source}/resolve/main/mine.gguf",
        f"mine: cache/models/mine.gguf, sha256 {SHA256} recorded.",
    ]
    assert (tmp_path / "cache/models/mine.gguf").read_bytes() == CONTENT
    assert parts(tmp_path) == []
    assert json.loads((tmp_path / models.LOCK).read_text())["mine.gguf"]["sha256"] == SHA256


def test_a_broken_connection_goes_on_where_it_was(tmp_path: Path) -> None:
    """Twice cut off, the rest is asked for by range each time, and the whole is right."""
    with serving(cut=[100_000, 50_000]) as (source, handler):
        get(tmp_path, model(source))
    assert handler.asked == ["", "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "cache/models/mine.gguf").read_bytes() == CONTENT


def test_the_next_run_goes_on_where_the_last_one_gave_up(tmp_path: Path) -> None:
    """After five tries it is one line that says so, the part stays, and another run fetches the rest alone."""
    with serving(cut=[90_000, 1000, 1000, 1000, 1000]) as (source, handler):
        with pytest.raises(ModelError) as error:
            get(tmp_path, model(source))
        assert parts(tmp_path) == ["mine.gguf.part", "mine.gguf.part.json"]
        get(tmp_path, model(source))
    assert str(error.value).startswith(f"{source}/resolve/main/mine.gguf: broke off 5 times (")
    assert str(error.value).endswith("run the same command again: it goes on from the 0 MB that are here.")
    assert handler.asked[-1] == "bytes=94000-"
    assert (tmp_path / "cache/models/mine.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"content": CONTENT[::-1], "etag": '"two"'}, {"ranges": False}])
def test_parts_of_two_contents_are_never_put_together(tmp_path: Path, change: dict[str, object]) -> None:
    """A file that was changed between two runs, or a server without ranges, is fetched from its beginning."""
    with serving(cut=[90_000] + [0] * 4) as (source, handler):
        with pytest.raises(ModelError):
            get(tmp_path, model(source))
        for name, value in change.items():
            setattr(handler, name, value)
        whole = handler.content
        assert download.download(f"{source}/resolve/main/mine.gguf", tmp_path / "x.part", size=None, say=print) is None
        part = tmp_path / "cache/models/mine.gguf.part"
        download.download(f"{source}/resolve/main/mine.gguf", part, size=None, say=print)
    assert part.read_bytes() == whole


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    """429 and 503 pass."""
    with serving(status=[429, 503, 200]) as (source, _):
        get(tmp_path, model(source))
    assert (tmp_path / "cache/models/mine.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "HTTP 404, no such file to fetch. Correct `source` or `fetch.path`."),
        (
            403,
            "HTTP 403, the publisher wants to know who fetches. Accept its licence there, and put a token into the "
            "variable M2L_MODEL_TOKEN.",
        ),
    ],
)
def test_a_refusal_is_one_line(tmp_path: Path, status: int, message: str) -> None:
    """What is not there, and what needs a name, are told apart and asked once."""
    with serving(status=[status]) as (source, handler), pytest.raises(ModelError) as error:
        get(tmp_path, model(source))
    assert str(error.value) == f"{source}/resolve/main/mine.gguf: {message}"
    assert len(handler.asked) == 1


def test_a_file_of_another_size_is_not_fetched(tmp_path: Path) -> None:
    """The declared size is compared before anything is written."""
    with serving() as (source, _), pytest.raises(ModelError) as error:
        get(tmp_path, model(source, size=7))
    assert str(error.value) == (
        f"{source}/resolve/main/mine.gguf: the file there has {len(CONTENT)} bytes, the declaration says 7. Correct "
        "`size` if you trust it, or `source`."
    )
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    ("declared", "told", "who"),
    [
        ("0" * 64, "", "conf/model/mine.yaml declares 000000000000..."),
        (None, "1" * 64, "its publisher tells of 111111111111..."),
    ],
)
def test_what_is_not_what_was_declared_or_told_of_is_refused(
    tmp_path: Path, declared: str | None, told: str, who: str
) -> None:
    """The message names what came and what should have; nothing of it stays."""
    with serving(told=told) as (source, _), pytest.raises(ModelError) as error:
        get(tmp_path, model(source, sha256=declared))
    assert f"what came has sha256 {SHA256[:12]}..., {who} Fetch it again" in str(error.value)
    assert list((tmp_path / "cache/models").iterdir()) == []


def test_a_publisher_that_tells_the_right_digest_is_believed(tmp_path: Path) -> None:
    """What it tells agrees with what came."""
    with serving(told=f'"{SHA256}"') as (source, _):
        assert get(tmp_path, model(source))[-1].endswith(f"sha256 {SHA256} recorded.")


def test_a_publisher_who_changes_a_file_is_noticed(tmp_path: Path) -> None:
    """Fetched again after the file here was lost, another content under the same name is refused by its first use."""
    with serving() as (source, handler):
        get(tmp_path, model(source))
        (tmp_path / "cache/models/mine.gguf").unlink()
        handler.content = CONTENT + b"more"
        with pytest.raises(ModelError) as error:
            get(tmp_path, model(source))
    assert f"{models.LOCK} has from its first use {SHA256[:12]}..." in str(error.value)


def test_a_file_of_ones_own_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    """Recorded on first use and verified after: another content stops, and says how to allow it."""
    path = tmp_path / "cache/models/mine.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    mine = model("a disk", fetch=None)
    assert models.verify(tmp_path, mine).sha256 == SHA256
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ModelError) as error:
        models.verify(tmp_path, mine)
    assert str(error.value) == (
        f"cache/models/mine.gguf: sha256 is {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}..., but was "
        f"{SHA256[:12]}... when it was first used. Put it there: a disk. If you exchanged it on purpose, remove its "
        "entry from cache/model_lock.json."
    )


def test_a_token_goes_to_the_publisher_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent, and stands in no file afterwards."""
    monkeypatch.setenv("M2L_MODEL_TOKEN", "hf-secret-token")
    seen: list[str | None] = []

    with serving(cut=[1000]) as (source, handler):
        plain = handler.do_GET

        def noting(self: Files) -> None:
            seen.append(self.headers.get("Authorization"))
            plain(self)

        handler.do_GET = noting  # type: ignore[method-assign]
        get(tmp_path, model(source))
    assert set(seen) == {"Bearer hf-secret-token"}
    assert all(b"hf-secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_no_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anything is written."""
    monkeypatch.setattr("m2l.download.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000})())
    with serving() as (source, _), pytest.raises(ModelError, match=r"0 MB needed, 0 MB free\. Free some space"):
        get(tmp_path, model(source))
    assert parts(tmp_path) == []
