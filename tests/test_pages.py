"""Every page of docs/: its commands run as they stand or say why not, its links and its messages are real."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from m2l.reference import reference
from tests.command import m2l
from tests.conftest import ROOT
from tests.test_docs import FILES, blocks

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {
    "publish.md": "test_the_page_on_publishing_is_true",
    "README.md": "test_the_python_of_readme_reads_a_dataset",
}
"""Pages whose Python is run by a test of its own."""


class Block:
    """A block of code: its language, what else stands on its first line, and the code."""

    def __init__(self, opening: str, code: str) -> None:
        self.language, _, self.info = opening.partition(" ")
        self.code = "\n".join(line.removeprefix("  ") for line in code.splitlines()) if code[:2] == "  " else code


def every(page: Path) -> list[Block]:
    """Return the blocks of code of a page, those inside a list, too."""
    found = re.findall(
        r"^ *```(\S[^\n]*)\n(.*?)^ *```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return [Block(*parts) for parts in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_each_block_runs_or_says_why_not(page: Path) -> None:
    """A shell or Python block is run here or by a test that names its mark, or gives its reason for not running."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py"))
    for block in every(page):
        if block.language not in ("sh", "python") or not block.info:
            continue
        reason = re.fullmatch(r"norun: (.+)", block.info)
        assert (reason and len(reason[1]) > 12) or f"{block.language} {block.info}" in tests, block.info


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_the_commands_of_a_page_run(page: Path, project: Path) -> None:
    """In a project on the fake engine, with the files that the page and CONTRIBUTING show, every command succeeds."""
    todo = [block for block in every(page) if block.language in ("sh", "python") and not block.info]
    if page.name in ELSEWHERE:
        assert f"def {ELSEWHERE[page.name]}(" in (ROOT / "tests/test_docs.py").read_text(encoding="utf-8")
        todo = [block for block in todo if block.language == "sh"]
    if not todo:
        pytest.skip("nothing to run")
    shown = {block.info.removeprefix("file="): block.code for block in every(page) if block.info.startswith("file=")}
    text = page.read_text(encoding="utf-8")
    given = {name: content for name, content in FILES.items() if Path(name).stem in text or "village" in name}
    for name, content in (given | shown).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    for block in todo:
        if block.language == "python":
            _shell(project, shlex.join([sys.executable, "-c", block.code]))
        for command in _commands(block.code) if block.language == "sh" else ():
            _run(project, command)


def _commands(code: str) -> Iterator[str]:
    for line in code.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _run(project: Path, command: str) -> None:
    """Run one line: m2l in this process where it can be, which is quicker, all else by a shell."""
    words = shlex.split(command, comments=True)
    if words[0] != "m2l" or re.search(r"[*$|;&<>]", command):
        _shell(project, command)
        return
    done = m2l(project, *words[1:])
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _shell(project: Path, command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=project, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.name))
def test_each_link_leads_somewhere(page: Path) -> None:
    """A link to a file names one that is there, and a link into a page a heading that it has."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path), target


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_reference_is_what_the_code_says() -> None:
    """The page of all keys is the one that `make docs` writes."""
    committed = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert committed == reference(ROOT), "run `make docs`"


def test_the_reference_has_every_key_of_every_shipped_file(project: Path) -> None:
    """Looked up the other way round: each key at the top of each declaration stands in its section."""
    import yaml

    sections = re.split(r"^## ", (ROOT / "docs/reference.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_group = {section[6:].partition("/")[0]: section for section in sections if section.startswith("`conf/")}
    for group in ("recipe", "frame", "model", "language", "task", "operator", "variation", "filter", "engine", "judge"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            content.pop("defaults", None)
            keys = content.get(group, content) if group in ("recipe", "model") else content
            for key in keys:
                assert f"`{key}`" in by_group[group], f"{path.name}: {key}"


MESSAGES = re.findall(r"^> `(.+)`$", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def templates() -> list[list[str]]:
    """The fixed parts of every text in the source, the Makefile and the tests that provoke messages, in order."""
    found = [[line] for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()]
    for path in [*(ROOT / "m2l").rglob("*.py"), *(ROOT / "tests").glob("test_[eds]*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append([str(part.value) for part in node.values if isinstance(part, ast.Constant)])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append([node.value])
    return found


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_one_that_there_is(message: str, templates: list[list[str]]) -> None:
    """What the page quotes, but for names and numbers, are the fixed parts of texts that the source holds."""
    quoted = message.replace("`", "")
    covered = [False] * len(quoted)
    for parts in templates:
        for start, end in _places(quoted, parts):
            covered[start:end] = [True] * (end - start)
    open_ = re.sub(r"'[^']*'|[\d.]+( GB)?|\w*_\w*|\W", lambda found: " " * len(found[0]), quoted)
    missing = "".join(c if not covered[at] else " " for at, c in enumerate(open_))
    assert len(missing.replace(" ", "")) <= 0.2 * len(open_.replace(" ", "")), missing


def _places(text: str, parts: list[str]) -> list[tuple[int, int]]:
    """Return where the parts of a template stand in a text, if all that are words do, in order, or the text in one."""
    found, at = [], 0
    for part in parts:
        plain = part.replace("`", "").strip(" .:;,'\"()\n")
        if sum(map(str.isalnum, plain)) < 4:
            continue
        pieces = [text] if text in plain else [plain]
        place = text.find(pieces[0], at)
        if place < 0:
            return []
        found.append((place, place + len(pieces[0])))
        at = place + len(pieces[0])
    return found


def test_the_troubles_are_many() -> None:
    """The page has a message of each part of the way."""
    assert len(MESSAGES) > 25
    assert blocks("```sh\nx\n```\n", "sh") == ["x\n"]
