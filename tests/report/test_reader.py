"""The report as a person meets it, in Chromium: reading, by keyboard and on a phone, and nothing that can run."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.report.conftest import ATTACKS, LANGUAGES, Hostile, Watched, build

DIRECTION = {name: "rtl" if name == "arb_Arab" else "ltr" for name in LANGUAGES}

LOOK = """(text) => {
  const draw = (content) => {
    const canvas = document.createElement("canvas");
    canvas.width = 300; canvas.height = 80;
    const pen = canvas.getContext("2d");
    pen.font = `40px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(content, 20, 55);
    return canvas.toDataURL();
  };
  return draw(text) === draw("\\u{5FFFD}".repeat([...text].length));
}"""
"""Says whether a text looks like as many characters that no font has."""

WIDTH = """(texts) => texts.map((text) => {
  const span = document.createElement("span");
  span.textContent = text; span.className = "text"; span.style.whiteSpace = "pre";
  document.querySelector("#row .text").parentElement.append(span);
  const width = span.getBoundingClientRect().width;
  span.remove();
  return width;
})"""
"""Returns how wide some texts are where conversations stand."""


WALK = """async () => {
  let seen = "";
  for (;;) {
    for (const details of document.querySelectorAll("#row details")) details.open = true;
    await new Promise((done) => setTimeout(done, 5));
    seen += document.getElementById("row").innerText;
    const next = document.querySelectorAll("#row .steps button")[1];
    if (next.disabled) return seen;
    next.click();
  }
}"""
"""Goes through all rows, unfolds every prompt, and returns all that there was to read."""


def choose(page: Page, **filters: str) -> None:
    """Set filters of the reader, by the value of the option."""
    for name, value in filters.items():
        page.locator(f"select[name={name}]").select_option(value)


def test_every_filter_narrows_the_rows(opened: Watched, report: Path) -> None:
    """Language, task, operator, variation, kind, verdict and words each leave the rows that the tables have of it."""
    page, dist = opened.page, report.parents[1] / "dist"
    full = pl.read_parquet(dist / "full_data/train.parquet")
    rejected = pl.read_parquet(dist / "rejected/train.parquet")
    both = pl.concat([full, rejected.select(full.columns)])
    shown: Any = page.locator("#count")
    expect(shown).to_have_text(f"{both.height} rows")
    for name, column in (("language", "language"), ("task", "task"), ("operator", "task_evol_type"),
                         ("variation", "multiturn_evol_type"), ("kind", "kind")):  # fmt: skip
        value = both.filter(pl.col("kind") == "conversation")[column][0]
        choose(page, **{name: f"={value}"})
        expect(shown).to_have_text(f"{both.filter(pl.col(column) == value).height} rows")
        page.get_by_role("button", name="All rows").click()
        expect(shown).to_have_text(f"{both.height} rows")
    choose(page, verdict="=kept")
    expect(shown).to_have_text(f"{full.height} rows")
    choose(page, verdict="!")
    expect(shown).to_have_text(f"{rejected.height} rows")
    reason, rows = rejected["reason"].value_counts(sort=True).row(0)
    choose(page, verdict=f"={reason}")
    expect(shown).to_have_text(f"{rows} rows")
    page.get_by_role("button", name="All rows").click()
    page.get_by_role("searchbox", name="Words").fill(full["row_id"][0])
    expect(shown).to_have_text("1 row")
    page.get_by_role("searchbox", name="Words").fill("no such word in it")
    expect(page.locator("#row")).to_have_text("No row is like that. Widen a filter.")


def test_a_rejected_row_says_why_in_a_sentence(opened: Watched) -> None:
    """The verdict of a rejected row has a sentence beside the rule's name; a kept one names the filters."""
    page = opened.page
    choose(page, verdict="!")
    first, *said = page.locator("#row .verdict p").all_inner_texts()
    assert first == "Rejected."
    assert said
    for sentence in said:
        assert re.fullmatch(r"[A-Z][^_]*\. [a-z_]+", sentence.strip()), said
    choose(page, verdict="=kept")
    assert "It passed every rule of 13 filters" in page.locator("#row .verdict").inner_text()


def test_a_conversation_shows_its_way_and_every_prompt(opened: Watched, report: Path) -> None:
    """Seed, directive and turns are those of the table, and each turn unfolds the prompt that the store has."""
    page = opened.page
    full = pl.read_parquet(report.parents[1] / "dist/full_data/train.parquet")
    row = full.filter((pl.col("kind") == "conversation") & (pl.col("language") == "hin_Deva")).row(0, named=True)
    page.goto(f"{report.as_uri()}#row={row['row_id']}")
    page.reload()
    opened.requests[:] = [report.as_uri()]
    told = page.locator("#row").inner_text()
    for text in (row["seed_prompt"], row["task_evol_prompt"], row["source"], row["license"], row["row_id"]):
        assert text.split("\n")[0] in told
    turns = page.locator("#row .turn")
    assert turns.count() == len(row["conversation"])
    for place, turn in enumerate(row["conversation"]):
        assert turns.nth(place).locator(".who").inner_text() == turn["role"]
        assert turns.nth(place).locator(".text").first.inner_text().strip() == turn["content"].strip()
    turns.nth(2).get_by_text("How it was asked for").click()
    asked = turns.nth(2).locator("details")
    expect(asked).to_contain_text(row["request_keys"][2])
    expect(asked).to_contain_text(row["multiturn_evol_prompt"].split("\n")[0][:40])
    assert row["conversation"][0]["content"][:30] in asked.locator(".prompt").inner_text()


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_runs_in_its_direction_and_is_tagged(opened: Watched, language: str) -> None:
    """Each turn has the language's tag and the direction of its script: the first letter stands where it begins."""
    page = opened.page
    choose(page, language=f"={language}", kind="=conversation")
    tag = {"eng_Latn": "en", "arb_Arab": "ar", "hin_Deva": "hi", "tha_Thai": "th", "zho_Hans": "zh-Hans"}
    for turn in page.locator("#row .turn > .text").all():
        assert turn.get_attribute("lang") == tag.get(language, "am")
        assert turn.evaluate("node => getComputedStyle(node).direction") == DIRECTION[language]
        first, second = turn.evaluate(
            """node => [0, 1].map(at => {
              const range = document.createRange();
              range.setStart(node.firstChild, at); range.setEnd(node.firstChild, at + 1);
              return range.getBoundingClientRect().left;
            })"""
        )
        if language in ("eng_Latn", "arb_Arab", "zho_Hans"):  # letters of other scripts may stand around each other
            assert (second < first) == (DIRECTION[language] == "rtl")


def test_no_letter_is_a_box_and_scripts_are_shaped(opened: Watched) -> None:
    """Letters of six scripts have glyphs; Arabic letters join, Devanagari ligates, a Thai mark takes no room."""
    page = opened.page
    assert page.evaluate(LOOK, "\U0005fffc")  # the check itself: another character that no font has
    for sample in ("سلام", "हिन्दी", "ภาษาไทย", "中文", "አማርኛ", "English"):
        assert not page.evaluate(LOOK, sample), sample
    joined, *apart = page.evaluate(WIDTH, ["سلام", "س", "ل", "ا", "م"])
    assert joined < 0.95 * sum(apart)
    ligature, *apart = page.evaluate(WIDTH, ["क्ष", "क", "ष"])
    assert ligature < 0.95 * sum(apart)
    marked, bare = page.evaluate(WIDTH, ["ก่", "ก"])
    assert marked == pytest.approx(bare, abs=0.5)


def test_the_reader_works_by_keyboard_alone(opened: Watched) -> None:
    """Skip link, filters, list and steps are reached and used without a pointer, and focus stays visible."""
    page = opened.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("select[name=language]")).to_be_focused()
    for _ in range(8):
        page.keyboard.press("Tab")
    entries = page.locator("#list button.entry")
    expect(entries.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(entries.nth(1)).to_be_focused()
    expect(entries.nth(1)).to_have_attribute("aria-current", "true")
    assert entries.nth(1).evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    before = page.locator("#row code").first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#row")).to_be_focused()
    page.keyboard.press("j")
    expect(entries.nth(2)).to_have_attribute("aria-current", "true")
    assert page.locator("#row code").first.inner_text() != before
    page.keyboard.press("k")
    assert page.locator("#row code").first.inner_text() == before
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Previous")).to_be_focused()


def test_a_screen_reader_is_told_what_everything_is(opened: Watched) -> None:
    """Landmarks, one first heading, names for every control and plot, a status that speaks, a table for each plot."""
    page = opened.page
    for role in ("banner", "main", "contentinfo", "navigation", "search", "status"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).count() == 1
    for control in page.locator("select, input").all():
        assert control.evaluate("node => node.labels.length") == 1
    plots = page.locator("figure .plot")
    assert plots.count() >= 10
    for plot in plots.all():
        assert plot.get_attribute("role") == "img"
        assert plot.get_attribute("aria-label")
        assert plot.locator("xpath=../details//table//tr").count() > 1
    for heading in page.locator("h2").all():
        assert heading.inner_text().strip()
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_rules_of_axe_are_kept(browser: Browser, report: Path, scheme: Any) -> None:
    """axe-core finds nothing to complain of, contrast included, with all that folds unfolded, kept and rejected."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    for verdict in ("=kept", "!"):
        choose(page, verdict=verdict)
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        found = Axe().run(page, options={}).response
        assert len(found["passes"]) > 40
        assert [violation["id"] for violation in found["violations"]] == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(browser: Browser, report: Path, tmp_path: Path, scheme: Any, width: int) -> None:
    """Nothing but plots and tables scrolls sideways, ink stands out from paper, and each language is photographed."""
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce", offline=True
    )
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for language in LANGUAGES:
        choose(page, language=f"={language}", kind="=conversation")
        page.locator("#row details").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#reader").screenshot(path=tmp_path / f"{language}-{scheme}-{width}.png")
    assert contrast(*page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")) > 7
    assert contrast(*page.evaluate(NOTE)) > 4.5
    assert (watched.messages, watched.requests) == ([], [report.as_uri()])
    assert len(list(tmp_path.glob("*.png"))) == len(LANGUAGES)
    context.close()


NOTE = """[getComputedStyle(document.querySelector(".note")).color, getComputedStyle(document.body).backgroundColor]"""


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_no_generated_text_runs(browser: Browser, tmp_path: Path) -> None:
    """Attacks in seeds and in every other completion stay text: none runs or asks the network, each is shown whole."""
    seeds = [
        {"task": "general", "instruction": f"Say why this is odd: {attack}", "response": f"It is odd as such: {attack}"}
        for attack in ATTACKS
    ]
    report = build(tmp_path / "project", Hostile(), "recipe.seeds_per_task=24", seeds=seeds)
    context = browser.new_context(offline=True)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(report.as_uri())
    seen = page.evaluate(WALK)
    assert page.evaluate("window.pwned") is None
    assert (watched.messages, watched.requests) == ([], [report.as_uri()])
    assert page.locator("script").count() == 2
    assert page.locator("iframe, img, object, embed, base, a[href^=javascript]").count() == 0
    assert page.locator("body :is(style, link, meta)").count() == 0
    assert (page.locator("#data").count(), page.locator("form").count()) == (1, 1)
    for attack in ATTACKS:
        assert seen.count(attack) > 3 or attack.startswith("\u2028"), attack
    context.close()
