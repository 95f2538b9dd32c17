"""Looking after what was built: is it intact, what is it kept for, and how is it shared.

The store holds what a person has waited for; `verify` finds what is damaged in it, in the
outputs and in DVC's cache, `repair` makes just that again, `garbage` tells what nobody
needs any more, and `export` and `load` carry completions to another clone, as text.
"""

import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from m2l import assemble, build, slices
from m2l.errors import BuildError, StoreError
from m2l.ledger import Ledger
from m2l.pipeline import rounds
from m2l.process import writing
from m2l.records import Completion, Request
from m2l.spec import Slice
from m2l.store import Store, sound

DVC_CACHE = Path("cache/dvc/files/md5")
LOCK = "dvc.lock"
PINS = Path("cache/pins.json")


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not what was written: an entry of the store, an output, or an object of DVC's cache."""

    kind: Literal["store", "output", "cache"]
    what: str
    stage: str = ""


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody needs: keys of the store with their bytes, slices whose roots go, and who keeps the rest."""

    keys: tuple[str, ...]
    size: int
    total: int
    slices: tuple[str, ...]
    kept_for: dict[str, int]
    unknown: tuple[str, ...]


def verify(root: Path) -> Iterator[Damage]:
    """Yield all that is damaged: in the store, in the outputs that `dvc.lock` names, and in DVC's cache."""
    with Store(root / build.STORE, readonly=True) as store:
        for key, request, completion, checksum in store.entries():
            if not sound(key, request, completion, checksum):
                yield Damage(kind="store", what=key)
    damaged = set()
    for path in sorted((root / DVC_CACHE).glob("*/*")):
        if _md5(path) != (path.parent.name + path.name).removesuffix(".dir"):
            damaged.add(path)
            yield Damage(kind="cache", what=str(path.relative_to(root)))
    for stage, out, md5 in _outs(_read_lock(root)):
        manifest = root / DVC_CACHE / md5[:2] / md5[2:]
        if manifest in damaged or not manifest.is_file():
            if _folder_md5(root / out) != md5:
                yield Damage(kind="output", what=out, stage=stage)
            continue
        for entry in json.loads(manifest.read_bytes()):
            path = root / out / entry["relpath"]
            if not path.is_file() or _md5(path) != entry["md5"]:
                yield Damage(kind="output", what=str(path.relative_to(root)), stage=stage)


def repair(root: Path, damage: Sequence[Damage], languages: Iterable[str]) -> Iterator[str]:
    """Make again what is damaged and nothing else, and yield what was done.

    Damaged entries are dropped and asked for again by the builds that need them; damaged
    outputs are made from the store; damaged objects are dropped and saved anew.
    """
    entries = [item.what for item in damage if item.kind == "store"]
    if entries:
        with Store(root / build.STORE) as store:
            store.drop(entries)
        yield f"store: {len(entries)} damaged entries dropped"
    for item in damage:
        if item.kind == "cache":
            (root / item.what).unlink()
            yield f"cache: {item.what} dropped"
    stages = {item.stage for item in damage if item.kind == "output"}
    for name in languages:
        needed = bool(entries) and _needs(root, name, set(entries))
        if needed or f"build@{name}" in stages:
            report = build.build(root, slices.read(root / slices.FOLDER, name))
            yield f"{name}: tables made again, {report.made} calls"
    if "assemble" in stages:
        assemble.assemble(root, slices.read_dataset(root / slices.FOLDER))
        yield "dataset: assembled again"
    if any(item.kind == "cache" for item in damage):
        command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet"]
        done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"dvc commit: {done.stderr.strip().splitlines()[-1]}. Run `dvc repro`.")
        yield "cache: outputs saved anew by `dvc commit`"


def resample(root: Path, names: Iterable[str], share: float) -> Iterator[tuple[str, int, int, str]]:
    """Ask again for a share of the standing texts of some slices; yield (language, identical, asked, engine).

    The share is chosen by digest, so that the same one is asked twice; nothing is stored.
    Raises BuildError if there is no slice, or the share is not above 0 and at most 1.
    """
    names = list(names)
    if not names:
        raise BuildError(f"{slices.FOLDER}: no slice to ask again for. Run `dvc repro`.")
    if not 0 < share <= 1:
        raise BuildError(f"--resample {share}: not a share. Give one above 0 and at most 1, such as 0.1.")
    for name in names:
        piece = slices.read(root / slices.FOLDER, name)
        with Store(root / build.STORE, readonly=True) as store:
            known = store.requests(sorted(key for key in walked(piece, store) if int(key[-6:], 16) < share * 16**6))
        asked = [request for request, _ in known.values()]
        if not asked:
            yield name, 0, 0, "nothing to ask for"
            continue
        with closing(build.open_engine(root, piece)) as engine:
            same = sum(
                completion.text == known[asked[index].key][1].text for index, completion in engine.generate(asked)
            )
            yield name, same, len(asked), engine.describe()


def garbage(root: Path) -> Garbage:
    """Return what no git ref, pin, sweep or present slice needs of the store."""
    with Store(root / build.STORE, readonly=True) as store:
        roots = Ledger(store).roots()
        keep: set[str] = set()
        kept_for: dict[str, int] = {}
        live: set[str] = set()
        unknown = []
        for name in present(root):
            found = walked(slices.read(root / slices.FOLDER, name), store)
            keep |= found
            kept_for["workspace"] = kept_for.get("workspace", 0) + len(found)
            live.add(slices.file_digest((root / slices.FOLDER / f"{name}.json").read_bytes()))
        for who, digests in _holders(root, roots):
            for digest in digests:
                if digest not in roots:
                    unknown.append(f"{who}: slice {digest[:12]} was never built with this store")
                    continue
                live.add(digest)
                keep |= roots[digest][1]
                kept_for[who] = kept_for.get(who, 0) + len(roots[digest][1])
        drop, size, total = [], 0, 0
        for key, request, completion, _ in store.entries():
            total += 1
            if key not in keep:
                drop.append(key)
                size += len(request) + len(completion)
    return Garbage(
        keys=tuple(drop),
        size=size,
        total=total,
        slices=tuple(sorted(roots.keys() - live)),
        kept_for=dict(sorted(kept_for.items())),
        unknown=tuple(sorted(set(unknown))),
    )


def collect(root: Path, found: Garbage) -> None:
    """Drop what `garbage` found."""
    with Store(root / build.STORE) as store:
        store.drop(found.keys)
        Ledger(store).drop_roots(found.slices)
        store.shrink()


def pin(root: Path, name: str) -> int:
    """Keep what the present slices need under a name, whatever becomes of them; return how many slices."""
    digests = [
        slices.file_digest((root / slices.FOLDER / f"{language}.json").read_bytes()) for language in present(root)
    ]
    if not digests:
        raise BuildError(f"{slices.FOLDER}: no slice to pin. Run `dvc repro`.")
    pins = _pins(root) | {name: digests}
    with writing(root / PINS) as part:
        part.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return len(digests)


def export(root: Path, path: Path) -> int:
    """Write every sound entry of the store to a file, one JSON object a line, gzipped; return how many."""
    count = 0
    with (
        Store(root / build.STORE, readonly=True) as store,
        writing(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file,
    ):
        for key, request, completion, checksum in store.entries():
            if sound(key, request, completion, checksum):
                entry = {"request": request.decode(), "completion": completion.decode()}
                file.write(msgspec.json.encode(entry) + b"\n")
                count += 1
    return count


def load(root: Path, path: Path) -> tuple[int, int, int]:
    """Take the entries of an exported file into the store; return how many are new, known, and unusable.

    Nothing is trusted: each line has to be a request and a completion, and is keyed anew.
    Raises StoreError if the file cannot be read.
    """
    new = known = bad = 0
    try:
        with gzip.open(path, "rb") as file, Store(root / build.STORE) as store:
            for line in file:
                try:
                    raw = msgspec.json.decode(line, type=dict[str, str])
                    request = msgspec.json.decode(raw["request"], type=dict[str, Any])["request"]
                    asked = msgspec.convert(request, Request)
                    answer = msgspec.json.decode(raw["completion"], type=Completion)
                except (msgspec.MsgspecError, KeyError, TypeError):
                    bad += 1
                    continue
                before = len(store.get([asked]))
                store.put(asked, answer)
                new, known = new + (not before), known + before
    except (OSError, EOFError) as err:
        raise StoreError(f"{path}: cannot be read ({err}). Export it again with `m2l store export`.") from err
    return new, known, bad


def walked(piece: Slice, store: Store) -> set[str]:
    """Return the keys that a rebuild of a slice finds in the store, as far as it comes without a call."""
    keys: set[str] = set()
    walk = rounds(piece)
    asked = next(walk)
    while True:
        requests = [call.request for call in asked.calls if call.request is not None]
        known = build.standing(store, requests, piece)
        keys |= known.keys()
        try:
            asked = walk.send([known.get(call.request.key) if call.request else None for call in asked.calls])
        except StopIteration:
            return keys


def _needs(root: Path, language: str, keys: set[str]) -> bool:
    digest = slices.file_digest((root / slices.FOLDER / f"{language}.json").read_bytes())
    with Store(root / build.STORE, readonly=True) as store:
        found = Ledger(store).roots().get(digest)
    return found is None or bool(found[1] & keys)


def present(root: Path) -> list[str]:
    """Return the languages that have a slice."""
    names = sorted(path.stem for path in (root / slices.FOLDER).glob("*.json"))
    return [name for name in names if name != slices.DATASET]


def _holders(root: Path, roots: dict[str, tuple[str, frozenset[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Yield who keeps which slices: the lock at hand, each git ref, each pin, each variant of a sweep."""
    yield LOCK, _locked_slices(_read_lock(root))
    refs = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
    for ref in (refs or "").split():
        text = _git(root, "show", f"{ref}:{LOCK}")
        if text:
            yield ref, _locked_slices(_parsed(text, f"{LOCK} at {ref}"))
    for name, digests in _pins(root).items():
        yield f"pin {name}", digests
    for digest, (scope, _) in roots.items():
        if scope != str(build.TABLES) and (root / scope).is_dir():
            yield scope, [digest]


def _locked_slices(lock: Any) -> list[str]:
    stages = (lock or {}).get("stages", {})
    return [
        dep["md5"]
        for name, stage in stages.items()
        if name.startswith("build@")
        for dep in stage.get("deps", [])
        if "md5" in dep
    ]


def _outs(lock: Any) -> Iterator[tuple[str, str, str]]:
    for name, stage in (lock or {}).get("stages", {}).items():
        for out in stage.get("outs", []):
            if str(out.get("md5", "")).endswith(".dir") and name != "compose":
                yield name, out["path"], out["md5"]


def _read_lock(root: Path) -> Any:
    try:
        return _parsed((root / LOCK).read_bytes(), LOCK)
    except FileNotFoundError:
        return {}


def _parsed(lock: bytes | str, where: str) -> Any:
    try:
        return yaml.safe_load(lock)
    except yaml.YAMLError as err:
        raise BuildError(f"{where}: not readable. Restore it with `git checkout {LOCK}`, or run `dvc repro`.") from err


def _pins(root: Path) -> dict[str, list[str]]:
    try:
        return msgspec.json.decode((root / PINS).read_bytes(), type=dict[str, list[str]])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as err:
        raise BuildError(f"{PINS}: not readable ({err}). Correct it, or remove it and pin again.") from err


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _folder_md5(folder: Path) -> str:
    """Return the digest that DVC gives a folder: that of its sorted list of files, as JSON."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"
