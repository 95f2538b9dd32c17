"""How long a person waits for the preview of a prompt that was just saved, with the default model.

`python -m bench.preview` watches in a project of its own, edits the same prompt a few times,
and prints the seconds from each save to the last line of its preview, which is all that
somebody who writes a prompt waits for: noticing, composing, generating and filtering. It then
counts how many texts of a preview are those of a build, word for word.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from m2l.preview import Asked, Session
from tests.conftest import ROOT, copy_project

EDITS = 5
SEEDS = 6
ALIKE = "texts as in a build"
CASES = {
    "an operator, 1 record": ("general_deepening", "--operator", "general_deepening"),
    "an operator, 2 records": ("general_deepening", "--operator", "general_deepening", "--records", "2"),
    "a variation, 1 record": ("refinement", "--operator", "general_deepening", "--variation", "refinement"),
}


def main() -> None:
    """Measure each case, or the ones whose names begin as asked, in a process of its own, and print a table."""
    print(f"{'what is edited':<24} {'median':>7} {'longest':>8}  of {EDITS} saves, in seconds")
    for name, (edited, *options) in CASES.items():
        if not name.startswith(tuple(sys.argv[1:]) or ""):
            continue
        with _project() as project:
            seconds = _saves(project, edited, options)
        load = os.getloadavg()[0]
        print(f"{name:<24} {statistics.median(seconds):>7.2f} {max(seconds):>8.2f}  load {load:.1f}", flush=True)
    if ALIKE.startswith(tuple(sys.argv[1:]) or ""):
        with _project() as project:
            _alike(project)


@contextlib.contextmanager
def _project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="m2l-preview-") as folder:
        project = Path(folder) / "project"
        copy_project(project)
        (project / "cache/models").rmdir()
        (project / "cache/models").symlink_to(ROOT / "cache/models")
        yield project


def _alike(project: Path) -> None:
    """Print how many evolved instructions of some seeds a preview words as a build does."""
    for language in ("eng_Latn", "hin_Deva"):
        found = []
        for overrides in ((), ("engine.batch_invariant=true",)):
            asked = Asked(language=language, operator="general_deepening", overrides=overrides)
            with Session(project, asked) as session:
                texts = []
                for seed in range(1, SEEDS + 1):
                    session.asked = msgspec.structs.replace(asked, seed=str(seed))
                    texts.append(session.look()[0].texts[0].answer)
            found.append(texts)
        same = sum(one == other for one, other in zip(*found, strict=True))
        print(f"{ALIKE}: {same} of {SEEDS} evolved instructions in {language}", flush=True)


def _saves(project: Path, edited: str, options: list[str]) -> list[float]:
    command = [sys.executable, "-m", "m2l", "preview", "eng_Latn", "--watch", *options]
    group = "variation" if (project / f"conf/variation/{edited}.yaml").is_file() else "operator"
    path = project / "conf" / group / f"{edited}.yaml"
    text = path.read_text(encoding="utf-8")
    language = text.index("eng_Latn: >-\n") + len("eng_Latn: >-\n")
    margin = " " * (len(text[language:]) - len(text[language:].lstrip(" ")))
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        _wait(process)
        seconds = []
        for number in range(EDITS):
            new = f"{text[:language]}{margin}Think of {number + 2} people who will read it.\n{text[language:]}"
            start = time.monotonic()
            path.write_text(new, encoding="utf-8")
            _wait(process)
            seconds.append(time.monotonic() - start)
        return seconds
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[str]") -> None:
    """Read up to the line that says that a preview is complete."""
    assert process.stdout is not None
    for line in process.stdout:
        if "Watching conf/" in line:
            return
    raise SystemExit("the preview ended")


if __name__ == "__main__":
    main()
