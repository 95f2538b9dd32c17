"""Fetching one large file over HTTP: interrupted anywhere, it goes on from there."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec

from m2l.errors import ModelError

TOKEN_ENV = "M2L_MODEL_TOKEN"
"""The variable with a token for publishers who want to know who fetches; it is sent to them and written nowhere."""

_TRIES = 5
_SAY_EVERY_S = 10.0
_TIMEOUT = httpx.Timeout(60, connect=20)


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What a partial file is part of: the address, the validator of its content, and the bytes of the whole."""

    url: str
    etag: str
    size: int


class _InterruptedError(Exception):
    """The connection broke, or the server is busy; what is there stays."""


def download(
    url: str, part: Path, *, size: int | None, say: Callable[[str], None], pause_s: float = 1.0, tries: int = _TRIES
) -> str | None:
    """Write what stands at `url` to `part`, going on from what an interrupted call left there.

    Only bytes of one and the same content are put together: the server's validator (ETag)
    is remembered beside the file and sent with the request for the rest. Returns the sha256
    that the server tells of the file, if it tells one. Raises ModelError if it refuses, has
    a file of another size than `size`, keeps breaking off, or there is no room.
    """
    for attempt in range(tries):
        try:
            return _fetch(url, part, size=size, say=say)
        except _InterruptedError as err:
            problem = str(err)
            if attempt < tries - 1:
                say(f"{part.name}: {problem}; going on from {_mb(_bytes(part))}")
                time.sleep(pause_s * 2**attempt)
    raise ModelError(
        f"{url}: broke off {tries} times ({problem}). Check the network and run the same command again: it goes on "
        f"from the {_mb(_bytes(part))} that are here."
    )


def discard(part: Path) -> None:
    """Remove a partial file and what is remembered of it."""
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _fetch(url: str, part: Path, *, size: int | None, say: Callable[[str], None]) -> str | None:
    known = _known(part, url)
    have = _bytes(part) if known else 0
    headers = {"Accept-Encoding": "identity"}
    if known and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.etag}
    token = os.environ.get(TOKEN_ENV)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as reply,
        ):
            told = _told_sha256(reply)
            if reply.status_code == 416 and known and have == known.size:
                return told
            total, start = _extent(reply, url, have)
            if size is not None and total != size:
                raise ModelError(
                    f"{url}: the file there has {total} bytes, the declaration says {size}. Correct `size` if you "
                    f"trust it, or `source`."
                )
            _check_room(part, total - start)
            _remember(part, Partial(url=url, etag=reply.headers.get("ETag", ""), size=total))
            _write(reply, part, start, total, say)
    except httpx.TransportError as err:
        raise _InterruptedError(f"{type(err).__name__}: {err}") from err
    if _bytes(part) != total:
        raise _InterruptedError(f"{_bytes(part)} of {total} bytes came")
    return told


def _extent(reply: httpx.Response, url: str, have: int) -> tuple[int, int]:
    """Return (bytes of the whole, where the reply begins in it)."""
    code = reply.status_code
    if code == 429 or code >= 500:
        raise _InterruptedError(f"HTTP {code}")
    if code in (401, 403):
        raise ModelError(
            f"{url}: HTTP {code}, the publisher wants to know who fetches. Accept its licence there, and put a token "
            f"into the variable {TOKEN_ENV}."
        )
    try:
        if code == 206:
            span, whole = reply.headers["Content-Range"].removeprefix("bytes ").split("/")
            if int(span.split("-")[0]) == have:
                return int(whole), have
        if code == 200:
            return int(reply.headers["Content-Length"]), 0
    except (KeyError, ValueError):
        pass
    raise ModelError(f"{url}: HTTP {code}, no such file to fetch. Correct `source` or `fetch.path`.")


def _write(reply: httpx.Response, part: Path, start: int, total: int, say: Callable[[str], None]) -> None:
    done, said = start, time.monotonic()
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        for block in reply.iter_raw():
            file.write(block)
            done += len(block)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                say(f"{part.name}: {_mb(done)} of {_mb(total)}, {done / total:.0%}")


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise ModelError(f"{part.parent}: {_mb(needed)} needed, {_mb(free)} free. Free some space, then try again.")


def _told_sha256(reply: httpx.Response) -> str | None:
    """Return the digest that some publishers send along, with the file or with the redirect to it."""
    for response in (*reply.history, reply):
        told = response.headers.get("X-Linked-ETag", "").strip('"').lower()
        if len(told) == 64 and set(told) <= set("0123456789abcdef"):
            return str(told)
    return None


def _known(part: Path, url: str) -> Partial | None:
    """Return what is remembered of a partial file of this address, if its content can be told from another."""
    try:
        known = msgspec.json.decode(_beside(part).read_bytes(), type=Partial)
    except (OSError, msgspec.MsgspecError):
        return None
    strong = bool(known.etag) and not known.etag.startswith("W/")
    return known if strong and known.url == url and _bytes(part) <= known.size else None


def _remember(part: Path, known: Partial) -> None:
    _beside(part).write_bytes(msgspec.json.encode(known))


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
