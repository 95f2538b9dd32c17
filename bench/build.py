"""What it costs to do nothing, to foretell, and to edit one language, at 10, 73 and 200 languages.

`make bench-build`. Each project is a copy of this one on the fake engine, so that no time
is generation's; beyond the languages that there are, English stands in under other names.
Beside each figure stands that of bare DVC: a pipeline of as many stages that do nothing.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("m2l", "conf", "dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "data/seeds", "data/reference")
BIN = Path(sys.executable).parent
ENGLISH = "eng_Latn"
OPERATOR = "conf/operator/general_deepening.yaml"


def main() -> None:
    """Measure, and print the tables that docs/benchmarks.md holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--languages", type=int, nargs="+", default=[10, 73, 200])
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    print(f"{_machine()}; median of {asked.runs} runs and their range, in seconds\n")
    head = ("languages", "stages", "`dvc repro`, nothing to do", "bare DVC", "`m2l plan`, nothing to do")
    print(_row([*head, "`m2l plan`, one operator edited", "one language edited: plan", "and `dvc repro`"]))
    print(_row(["---"] * 8))
    for count in asked.languages:
        with tempfile.TemporaryDirectory(prefix="m2l-bench-") as folder:
            print(_row(_measure(Path(folder), count, asked.runs)), flush=True)
    print("\n`m2l plan recipe=full`, 73 languages, 20 tasks, 180 operators, of which nothing is in the store:")
    with tempfile.TemporaryDirectory(prefix="m2l-bench-") as folder:
        project = _project(Path(folder), 73)
        print(_times(lambda: _run(project, "m2l", "plan", "recipe=full"), asked.runs))


def _measure(folder: Path, count: int, runs: int) -> list[str]:
    project = _project(folder, count)
    languages = _names(project, count)
    _say(f"{count} languages: a first build")
    _run(project, "dvc", "repro", "--quiet")
    stages = len(_run(project, "dvc", "stage", "list", "--name-only").split())
    _say(f"{count} languages: nothing to do")
    noop = _times(lambda: _run(project, "dvc", "repro", "--quiet"), runs)
    plan = _times(lambda: _run(project, "m2l", "plan"), runs)
    with _edited(project / OPERATOR):
        operator = _times(lambda: _run(project, "m2l", "plan"), runs)
    _say(f"{count} languages: one edited")
    file = project / "data/seeds/starter" / f"{languages[count // 2]}.jsonl"
    plans, repros = [], []
    for number in range(runs):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('"instruction": "', f'"instruction": "{number}: ', 1), encoding="utf-8")
        plans.append(_time(lambda: _run(project, "m2l", "plan")))
        repros.append(_time(lambda: _run(project, "dvc", "repro", "--quiet")))
    _say(f"{count} languages: bare DVC")
    bare = _bare(folder / "bare", stages)
    floor = _times(lambda: _run(bare, "dvc", "repro", "--quiet"), runs)
    return [str(count), str(stages), noop, floor, plan, operator, _told(plans), _told(repros)]


def _project(folder: Path, count: int) -> Path:
    """Return a copy of the project that builds `count` languages by the starter recipe on the fake engine."""
    project = folder / "project"
    for part in PARTS:
        target = project / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, target)
    names = _names(project, count)
    (project / "params.yaml").write_text(
        f"languages: [{', '.join(names)}]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    (project / "cache/models").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    return project


def _names(project: Path, count: int) -> list[str]:
    """Return the codes of `count` languages, with copies of English where there are not so many."""
    folder, seeds = project / "conf/language", project / "data/seeds/starter"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    for number in range(len(names), count):
        name = f"q{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}_Latn"
        text = (folder / f"{ENGLISH}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text.replace(f"language.{ENGLISH}", f"language.{name}", 1))
        told = (seeds / f"{ENGLISH}.jsonl").read_text(encoding="utf-8")
        (seeds / f"{name}.jsonl").write_text(told.replace(f'"{ENGLISH}"', f'"{name}"', 1), encoding="utf-8")
        names.append(name)
    return sorted(names)[:count]


def _bare(folder: Path, stages: int) -> Path:
    """Return a pipeline of so many stages, each with one dep and one out, that has run once."""
    folder.mkdir(parents=True)
    lines = ["stages:"]
    for number in range(stages):
        (folder / f"in{number}").write_text(str(number))
        lines += [f"  s{number}:", f"    cmd: cp in{number} out{number}"]
        lines += [f"    deps: [in{number}]", f"    outs: [out{number}]"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    _run(folder, "dvc", "init", "--quiet")
    _run(folder, "dvc", "repro", "--quiet")
    return folder


@contextmanager
def _edited(path: Path) -> Iterator[None]:
    """Have the English form of an operator say something else for a while."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("eng_Latn: >-\n    ", "eng_Latn: >-\n    Please. ", 1), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text, f"{path}: no English form to edit"
    yield
    path.write_text(text, encoding="utf-8")


def _run(folder: Path, *command: str) -> str:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def _time(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def _times(what: Callable[[], object], runs: int) -> str:
    return _told([_time(what) for _ in range(runs)])


def _told(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{len(os.sched_getaffinity(0))} cores, {model}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
