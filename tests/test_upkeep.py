"""Looking after what was built: damage is repaired alone, garbage is what nobody needs, sharing works."""

import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from m2l import build, dvc_rwlock, slices, upkeep
from m2l.ledger import Ledger
from m2l.process import command_of
from m2l.records import Completion, FinishReason, Request
from m2l.store import Store
from m2l.store_tables import sound
from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import compose, run, tree
from tests.test_dvc import DVC, dvc
from tests.test_store import SAMPLING, answer, request

OPERATOR = "conf/operator/general_deepening.yaml"


@pytest.fixture
def repository(project: Path) -> Path:
    """The project as a git repository, English built by dvc and its lock committed."""
    git(project, "init", "--quiet", "--initial-branch=main")
    dvc(project, "repro")
    commit(project, "first")
    return project


def git(project: Path, *arguments: str) -> None:
    """Run git as somebody."""
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=project, check=True)


def commit(project: Path, message: str) -> None:
    """Commit what a person would."""
    (project / ".gitignore").write_text("cache/\ndata/tables/\ndata/dist/\n")
    git(project, "add", "conf", "params.yaml", "dvc.yaml", "dvc.lock", ".gitignore")
    git(project, "commit", "--quiet", "-m", message)


def test_what_is_intact_is_said_to_be(repository: Path) -> None:
    """After a build nothing is damaged."""
    done = m2l(repository, "verify")
    assert (done.returncode, done.stdout) == (0, "All is as it was written: store, outputs, DVC's cache.\n")


def test_damage_is_named_and_repaired_alone(repository: Path) -> None:
    """A completion, an output and a cached object: each by name; one call is made, and all bytes are as before."""
    before = tree(repository / "data")
    path = repository / build.STORE
    with sqlite3.connect(path) as connection:
        key, text = connection.execute("SELECT key, completion FROM completions ORDER BY key LIMIT 1").fetchone()
        connection.execute("UPDATE completions SET completion = ? WHERE key = ?", [text.replace(b"text", b"tixt"), key])
    connection.close()
    output = repository / "data/dist/metrics.json"
    output.write_bytes(output.read_bytes().replace(b"1", b"2"))
    cached = sorted((repository / upkeep.DVC_CACHE).glob("*/*"))[0]
    cached.chmod(0o644)
    cached.write_bytes(cached.read_bytes() + b" ")
    done = m2l(repository, "verify")
    assert done.returncode == 1
    named = {line.split(" is damaged")[0] for line in done.stdout.splitlines() if " is damaged" in line}
    assert {f"store: {key}", f"cache: {cached.relative_to(repository)}", "output: data/dist/metrics.json"} == named
    done = m2l(repository, "verify", "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eng_Latn: tables made again, 1 calls" in done.stdout
    assert tree(repository / "data") == before
    assert m2l(repository, "verify").returncode == 0


def test_a_broken_tree_loses_what_it_hit_and_nothing_else(repository: Path) -> None:
    """A page of the store is overwritten: a build says what to do, and repair makes only the entries of that page."""
    before = tree(repository / "data")
    path = repository / build.STORE
    with Store(path) as store:
        total = len(store)
        store.shrink()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18])
    middle = len(data) // 2 // size * size
    data[middle : middle + size] = bytes(255 for _ in range(size))
    path.write_bytes(data)
    done = m2l(repository, "verify")
    assert done.returncode == 1
    assert "store: store.sqlite, " in done.stdout
    done = m2l(repository, "verify", "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = int(re.search(r"made anew with the (\d+) entries", done.stdout)[1])  # type: ignore[index]
    assert total - 8 <= kept < total
    assert f"eng_Latn: tables made again, {total - kept} calls" in done.stdout
    assert tree(repository / "data") == before
    assert (repository / "cache/store.sqlite.damaged").is_file()
    assert m2l(repository, "verify").returncode == 0


@pytest.mark.parametrize("text", ["{", '{"write": {"data/x": {"pid": 1}}, "read": []}', "PID"])
def test_a_lock_that_a_killed_dvc_left_is_explained_and_let_go(text: str, repository: Path) -> None:
    """A torn lock, one that is none, and one held by a process that is another program now."""
    path = repository / dvc_rwlock.RWLOCK
    held = {"write": {"data/tables/eng_Latn": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    path.write_text(json.dumps(held) if text == "PID" else text)
    said = m2l(repository, "plan").stdout.splitlines()[-1]
    assert said.startswith(".dvc/tmp/rwlock: ")
    assert said.endswith(". DVC may call it busy: run `m2l verify --repair`, which lets go.")
    assert m2l(repository, "verify").returncode == 1
    assert m2l(repository, "verify", "--repair").returncode == 0
    assert m2l(repository, "verify").returncode == 0
    assert not any(".dvc/tmp" in line for line in m2l(repository, "plan").stdout.splitlines())
    (repository / "params.yaml").write_text((repository / "params.yaml").read_text() + "# a comment\n")
    dvc(repository, "repro", "--force")


@pytest.mark.parametrize("share", [0, 0.015, 0.3, 0.7])
def test_a_lock_that_dvc_could_not_write_to_its_end_is_made_anew(share: float, repository: Path) -> None:
    """A `dvc.lock` that a kill cut off is damage where DVC refuses it; then it is set aside, and nothing is asked."""
    lock = repository / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: int(share * len(whole))])
    refused = subprocess.run([DVC, "status"], cwd=repository, capture_output=True, check=False).returncode != 0
    done = m2l(repository, "verify")
    assert ("lock: dvc.lock, cut off while DVC wrote it" in done.stdout) == refused
    assert refused or share > 0.1
    m2l(repository, "verify", "--repair")
    assert not re.search("[1-9][0-9]* calls made", dvc(repository, "repro"))
    assert lock.read_bytes() == whole


def test_a_lock_of_a_dvc_that_runs_stays(repository: Path) -> None:
    """What a running DVC holds is not stale."""
    running = subprocess.Popen(["bash", "-c", "exec -a 'dvc repro' sleep 60"])
    held = {"write": {}, "read": {"conf": [{"pid": running.pid, "cmd": "dvc repro"}, {"pid": 2**22 - 1, "cmd": "x"}]}}
    path = repository / dvc_rwlock.RWLOCK
    path.write_text(json.dumps(held))
    try:
        while "dvc" not in command_of(running.pid):
            time.sleep(0.01)
        assert dvc_rwlock.stale(repository) == [f"process {2**22 - 1}, which has ended, holds conf"]
        dvc_rwlock.release(repository)
        assert json.loads(path.read_text())["read"] == {"conf": held["read"]["conf"][:1]}
    finally:
        running.kill()
        running.wait()
    assert dvc_rwlock.stale(repository) == [f"process {running.pid}, which has ended, holds conf"]


def test_a_flipped_bit_of_any_part_of_an_entry_is_seen() -> None:
    """Key, request, completion or checksum: an entry with one bit flipped is not sound."""
    one = request("what")
    value = msgspec.json.encode(answer("that"), order="sorted")
    from m2l.digest import digest_bytes

    entry: tuple[str | bytes, ...] = (one.key, one.canonical, value, digest_bytes(one.canonical + b"\0" + value))
    assert sound(*entry)
    for part in range(4):
        value_ = entry[part]
        data = value_.encode() if isinstance(value_, str) else value_
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            changed = list(entry)
            changed[part] = flipped.decode("latin-1") if isinstance(value_, str) else bytes(flipped)
            assert not sound(*changed)


def test_garbage_is_what_no_ref_pin_or_slice_needs(repository: Path, edit: Edit) -> None:
    """Of three versions one is committed, one pinned and one neither: just the last one's own entries go."""
    assert m2l(repository, "store", "pin", "first").returncode == 0
    edit(OPERATOR, "one more step", "two more steps")
    second = {request.key for request in run(repository)}
    slices.write(compose(repository), repository / slices.FOLDER)
    edit(OPERATOR, "two more steps", "three more steps")
    dvc(repository, "repro")
    commit(repository, "third")
    with Store(repository / build.STORE, readonly=True) as store:
        every = {key for key, *_ in store.entries()}
        needed = set().union(*(keys for digest, (_, keys) in Ledger(store).roots().items() if not keys & second))
    done = m2l(repository, "gc", "--dry-run")
    assert f"{len(second)} of {len(every)} entries would go" in done.stdout
    with Store(repository / build.STORE, readonly=True) as store:
        assert len(store) == len(every)
    assert m2l(repository, "gc").returncode == 0
    with Store(repository / build.STORE, readonly=True) as store:
        assert {key for key, *_ in store.entries()} == every - second == needed


def test_every_kept_root_rebuilds_without_a_call(repository: Path, edit: Edit) -> None:
    """After `m2l gc` and `dvc gc -w`, a tag and the branch are rebuilt from the store."""
    first = tree(repository / "data/dist")
    git(repository, "tag", "v1")
    edit(OPERATOR, "one more step", "two more steps")
    dvc(repository, "repro")
    commit(repository, "second")
    second = tree(repository / "data/dist")
    dvc(repository, "gc", "--workspace", "--force")
    assert m2l(repository, "gc").returncode == 0
    for revision, expected in (("v1", first), ("main", second)):
        git(repository, "checkout", "--quiet", revision)
        assert "eng_Latn: 0 calls made" in dvc(repository, "repro", "--force")
        assert tree(repository / "data/dist") == expected


def test_a_build_that_was_interrupted_is_no_garbage(project: Path) -> None:
    """What a half-done build made is kept for the slice that it was made from."""
    from tests.helpers import PowerCutError

    slices.write(compose(project), project / slices.FOLDER)
    with pytest.raises(PowerCutError):
        run(project, limit=50)
    assert upkeep.garbage(project).keys == ()


def test_a_teammate_rebuilds_without_a_call(repository: Path, tmp_path: Path) -> None:
    """A clone that imports the export of a store makes no call, and the same bytes."""
    assert m2l(repository, "store", "export", str(tmp_path / "store.gz")).returncode == 0
    clone = tmp_path / "clone"
    shutil.copytree(repository, clone, ignore=shutil.ignore_patterns("cache", "tables", "dist"))
    (clone / "cache/models").mkdir(parents=True)
    done = m2l(clone, "store", "import", str(tmp_path / "store.gz"))
    assert "138 new completions, 0 known, 0 lines" in done.stdout
    assert "eng_Latn: 0 calls made, 138 reused" in dvc(clone, "repro")
    assert tree(clone / "data/dist") == tree(repository / "data/dist")
    assert "0 new completions, 138 known" in m2l(clone, "store", "import", str(tmp_path / "store.gz")).stdout


def test_a_teammate_pulls_and_nothing_runs(repository: Path, tmp_path: Path) -> None:
    """After `dvc pull` from a shared remote, a clone with no store at all makes no call."""
    dvc(repository, "remote", "add", "--default", "shared", str(tmp_path / "remote"))
    dvc(repository, "push")
    clone = tmp_path / "clone"
    shutil.copytree(repository, clone, ignore=shutil.ignore_patterns("cache", "tables", "dist"))
    (clone / "cache/models").mkdir(parents=True)
    dvc(clone, "pull")
    output = dvc(clone, "repro")
    assert "calls made" not in output
    assert tree(clone / "data/dist") == tree(repository / "data/dist")


def test_an_import_trusts_nothing(project: Path, tmp_path: Path) -> None:
    """Lines that are no request and completion are counted; a torn or foreign file is one line."""
    path = tmp_path / "x.gz"
    good = {"request": request("a").canonical.decode(), "completion": msgspec.json.encode(answer("b")).decode()}
    lines = [good, {"request": "{}", "completion": "{}"}, {"pickle": "gASVAAAA"}, {**good, "completion": "[1]"}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode() + b"\nnot json\n"))
    assert upkeep.load(project, path) == (1, 0, 4)
    path.write_bytes(path.read_bytes()[:-12])
    done = m2l(project, "store", "import", str(path))
    assert done.returncode == 2
    assert done.stderr.endswith("Export it again with `m2l store export`.\n")
    path.write_bytes(b"PK\3\4")
    assert m2l(project, "store", "import", str(path)).returncode == 2


def test_a_store_of_the_first_version_is_upgraded_and_loses_nothing(project: Path) -> None:
    """Its entries are read under the new keys; a command that only reads says how to upgrade it."""
    old = request("of old")
    body = msgspec.json.decode(old.canonical)
    del body["request"]["attempt"]
    canonical = msgspec.json.encode({"request": body["request"], "schema": 1}, order="sorted")
    value = msgspec.json.encode(Completion(text="kept", finish_reason=FinishReason.STOP), order="sorted")
    from m2l.digest import digest_bytes

    path = project / build.STORE
    path.parent.mkdir(exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE completions (key TEXT PRIMARY KEY, request BLOB, completion BLOB, checksum TEXT)"
        )
        row = (digest_bytes(canonical), canonical, value, digest_bytes(canonical + b"\0" + value))
        connection.execute("INSERT INTO completions VALUES (?, ?, ?, ?)", row)
        connection.execute("PRAGMA user_version=1")
    connection.close()
    done = m2l(project, "plan")
    assert (done.returncode, done.stderr) == (
        2,
        f"StoreError: {path}: written with store version 1, this m2l reads 3. Run `m2l store upgrade`, which keeps "
        "every completion.\n",
    )
    assert m2l(project, "store", "upgrade").stdout == "cache/store.sqlite: 1 completions.\n"
    with Store(path, readonly=True) as store:
        assert store.get([old])[old.key].text == "kept"
    assert Request(prompt="x", model="m", chat_template=None, backend="b", sampling=SAMPLING, max_tokens=1).attempt == 0


def test_nothing_to_look_after_and_a_lock_that_is_torn(project: Path) -> None:
    """Each is one line that says what to do, and a torn lock lets nothing be dropped."""
    done = m2l(project, "verify", "--resample", "0.1")
    assert (done.returncode, done.stderr) == (
        2, "BuildError: cache/slices: no slice to ask again for. Run `dvc repro`.\n"
    )  # fmt: skip
    run(project)
    (project / "dvc.lock").write_text("stages: [", encoding="utf-8")
    done = m2l(project, "gc")
    assert (done.returncode, done.stderr) == (
        2,
        "BuildError: dvc.lock: not readable. Restore it with `git checkout dvc.lock`, "
        "or run `m2l verify --repair`.\n",
    )  # fmt: skip
    with Store(project / build.STORE, readonly=True) as store:
        assert len(store) == 138


def test_a_share_is_asked_again_and_compared(repository: Path) -> None:
    """On an engine that answers alike all of a share come out identical, and nothing is stored."""
    with Store(repository / build.STORE, readonly=True) as store:
        before = len(store)
    done = m2l(repository, "verify", "--resample", "0.5")
    line = done.stdout.splitlines()[0]
    same, asked = (int(line.split()[place]) for place in (1, 3))
    assert 40 < asked < 100
    assert same == asked
    with Store(repository / build.STORE, readonly=True) as store:
        assert len(store) == before
    assert m2l(repository, "verify", "--resample", "7").returncode == 2
