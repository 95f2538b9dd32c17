"""Looking after what was built: is it intact, what is it kept for, and how is it shared.

The store holds what a person has waited for; `verify` finds what is damaged in it, in the
outputs and in DVC's cache, `repair` makes just that again, `garbage` tells what nobody
needs any more, and `export` and `load` carry completions to another clone, as text.
"""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

import msgspec

from m2l import assemble, build, dvc_lock, dvc_rwlock, salvage, slices
from m2l.errors import BuildError, DamagedStoreError, StoreError
from m2l.ledger import Ledger
from m2l.pipeline import rounds
from m2l.process import exclusive, writing
from m2l.records import Completion, Request
from m2l.spec import Slice
from m2l.store import Store
from m2l.store_tables import sound

DVC_CACHE = Path("cache/dvc/files/md5")
PINS = Path("cache/pins.json")


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not what was written: in the store, an output, an object of DVC's cache, or DVC's lock."""

    kind: Literal["store", "output", "cache", "lock"]
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
    yield from _damaged_store(root / build.STORE)
    for held in dvc_rwlock.stale(root):
        yield Damage(kind="lock", what=f"{dvc_rwlock.RWLOCK}, {held}")
    torn = dvc_lock.torn(root)
    if torn:
        yield Damage(kind="lock", what=f"{dvc_lock.LOCK}, cut off while DVC wrote it")
    damaged = set()
    for path in sorted((root / DVC_CACHE).glob("*/*")):
        if _md5(path) != (path.parent.name + path.name).removesuffix(".dir"):
            damaged.add(path)
            yield Damage(kind="cache", what=str(path.relative_to(root)))
    for stage, out, md5 in () if torn else dvc_lock.outs(dvc_lock.read(root)):
        manifest = root / DVC_CACHE / md5[:2] / md5[2:]
        if manifest in damaged or not manifest.is_file():
            if _folder_md5(root / out) != md5:
                yield Damage(kind="output", what=out, stage=stage)
            continue
        for entry in json.loads(manifest.read_bytes()):
            path = root / out / entry["relpath"]
            if not path.is_file() or _md5(path) != entry["md5"]:
                yield Damage(kind="output", what=str(path.relative_to(root)), stage=stage)


def repair(root: Path, damage: Sequence[Damage], languages: Sequence[str]) -> Iterator[str]:
    """Make again what is damaged and nothing else, and yield what was done.

    Damaged entries are dropped and asked for again by the builds that need them; damaged
    outputs are made from the store; damaged objects are dropped and saved anew.
    """
    entries = {item.what for item in damage if item.kind == "store"}
    if not all(map(_is_key, entries)):
        with ExitStack() as held:
            for name in languages:
                held.enter_context(exclusive(build.lock_path(root, build.TABLES, name), f"build of {name}"))
            kept = _rescue(root / build.STORE)
        yield f"store: made anew with the {kept} entries that are whole; what it was is kept as {build.STORE}.damaged"
    elif entries:
        with Store(root / build.STORE) as store:
            store.drop(entries)
        yield f"store: {len(entries)} damaged entries dropped"
    if dvc_rwlock.stale(root):
        dvc_rwlock.release(root)
        yield f"lock: what no running DVC holds was taken out of {dvc_rwlock.RWLOCK}"
    if dvc_lock.torn(root):
        yield f"lock: {dvc_lock.set_aside(root)} is what it was; `dvc repro` makes it anew, without a call"
    for item in damage:
        if item.kind == "cache":
            (root / item.what).unlink()
            yield f"cache: {item.what} dropped"
    stages = {item.stage for item in damage if item.kind == "output"}
    for name in languages:
        needed = bool(entries) and _lacks(root, name)
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
        asked = [request for request, _ in known.values() if request.model == piece.identity.content]
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


def _lacks(root: Path, language: str) -> bool:
    """Say whether the store lacks an entry that a rebuild of a language needs, or does not know which those are."""
    digest = slices.file_digest((root / slices.FOLDER / f"{language}.json").read_bytes())
    with Store(root / build.STORE, readonly=True) as store:
        needed = Ledger(store).root(digest)
        return needed is None or bool(store.lacks(set().union(*needed.values())))


def _damaged_store(path: Path) -> Iterator[Damage]:
    try:
        with Store(path, readonly=True) as store:
            for what in store.damage():
                yield Damage(kind="store", what=what)
    except DamagedStoreError as err:
        yield Damage(kind="store", what=f"{path.name}, {str(err).split(': ', 1)[1].split('. ')[0]}")


def _rescue(path: Path) -> int:
    """Make a store anew of all that is whole in a damaged one, which is kept beside; return how many entries."""
    rows = salvage.rows(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with Store(fresh) as store:
        store.restore(rows)
    for suffix in ("", "-wal"):
        old, kept = path.with_name(path.name + suffix), path.with_name(f"{path.name}.damaged{suffix}")
        if old.is_file():
            kept.unlink(missing_ok=True)
            os.link(old, kept)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(fresh, path)
    return len(rows["completions"])


def _is_key(what: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", what) is not None


def present(root: Path) -> list[str]:
    """Return the languages that have a slice."""
    names = sorted(path.stem for path in (root / slices.FOLDER).glob("*.json"))
    return [name for name in names if name != slices.DATASET]


def _holders(root: Path, roots: dict[str, tuple[str, frozenset[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Yield who keeps which slices: the lock at hand, each git ref, each pin, each variant of a sweep."""
    yield dvc_lock.LOCK, list(dvc_lock.slices(dvc_lock.read(root)).values())
    refs = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
    for ref in (refs or "").split():
        text = _git(root, "show", f"{ref}:{dvc_lock.LOCK}")
        if text:
            yield ref, list(dvc_lock.slices(dvc_lock.parse(text, f"{dvc_lock.LOCK} at {ref}")).values())
    for name, digests in _pins(root).items():
        yield f"pin {name}", digests
    for digest, (scope, _) in roots.items():
        if scope != str(build.TABLES) and (root / scope).is_dir():
            yield scope, [digest]


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
