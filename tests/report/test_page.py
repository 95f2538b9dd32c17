"""The report as a file: what is in it, how large it gets, and what cannot be in it."""

import base64
import hashlib
import importlib
import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import msgspec
import polars as pl
import pytest

from m2l import config, export
from m2l.checks.base import Check
from m2l.filters.base import Filter
from m2l.report import cost, figures, page, reader
from m2l.report.sentences import sentences
from tests import helpers
from tests.command import m2l
from tests.conftest import ROOT
from tests.filters.helpers import context

FILTERS = config.options(ROOT, "filter")


class Parts(HTMLParser):
    """Collects the elements of a page, their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", {}))

    def handle_data(self, data: str) -> None:
        tag = self.elements[-1][0] if self.elements else ""
        if tag in self.inside:
            self.inside[tag].append(data)


def test_a_report_needs_nothing_else(report: Path) -> None:
    """No element names another file, no address, no inline handler or style; the policy allows two texts by digest."""
    text = report.read_text(encoding="utf-8")
    parts = Parts(text)
    for tag, attributes in parts.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes), tag
        for name in ("href", "xlink:href"):
            assert re.match(r"#|data:,$", attributes.get(name) or "#"), (tag, attributes)
    policy = next(a["content"] or "" for t, a in parts.elements if a.get("http-equiv") == "Content-Security-Policy")
    [style], [_, script] = parts.inside["style"], parts.inside["script"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "innerHTML" not in script
    assert "eval" not in script


def test_data_cannot_end_its_element() -> None:
    """Whatever a text holds, its JSON has no character that begins markup, and reads back as it was."""
    for text in ("</script>", "<!--", "]]>", "&lt;", "\u2028\u2029", '"\\', "مرحبا", "\x00\x7f"):
        told = reader.embedded({text: [text]})
        assert not set(told) & set("<>&\u2028\u2029")
        assert json.loads(told) == {text: [text]}


def test_the_same_dataset_gives_the_same_report(report: Path, tmp_path: Path) -> None:
    """Written again, the page has the same bytes."""
    root = report.parents[2]
    page.write(root, root / "data/dist", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()


@pytest.mark.parametrize("name", FILTERS)
def test_every_reason_has_a_sentence(name: str) -> None:
    """A rule that a shipped filter can reject by is worded, in one sentence; so is the reason of every check."""
    from omegaconf import OmegaConf

    declared = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/filter/{name}.yaml"))
    assert isinstance(declared, dict)
    target = {str(key): value for key, value in declared.items()}
    if "files" in target:
        target["files"] = {}
    rules = config.instantiate(target, Filter, where=name).rules(context())
    reasons = [reason for reason in rules if reason != "declared"]
    if "declared" in rules:
        found = (ROOT / "m2l/checks").glob("*.py")
        reasons = sorted(
            {r for path in found for r in re.findall(r'reason: ClassVar\[str\] = "(\w+)"', path.read_text())}
        )
        assert len(reasons) > 15
    for reason, sentence in sentences(ROOT, reasons).items():
        assert re.fullmatch(r"[A-Z][^.]+\.", sentence), reason
        assert "fails the rule" not in sentence, reason


def test_a_reason_that_nobody_worded_is_told_by_its_name(tmp_path: Path) -> None:
    """A rule of somebody's own filter, or of one that is gone, is readable all the same."""
    assert sentences(ROOT, ["shouting_loudly"]) == {"shouting_loudly": "It fails the rule “shouting loudly”."}
    assert sentences(tmp_path, ["too_short"]) == {"too_short": "It fails the rule “too short”."}


def test_a_filter_of_ones_own_words_its_reasons(project: Path) -> None:
    """What the class says that a file of conf/filter names is taken; one that cannot be loaded is passed over."""
    for name, target in (("mine", "tests.report.test_page.Shouting"), ("lost", "no.such.Filter")):
        text = f"# @package filter.{name}\n_target_: {target}\n"
        (project / f"conf/filter/{name}.yaml").write_text(text, encoding="utf-8")
    assert sentences(project, ["shouting"]) == {"shouting": "Everything is in capitals."}


def test_a_dataset_from_elsewhere_loads_no_code(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that the file of a dataset names is not even looked for."""
    dataset = export.read(report.parents[1] / "dist")
    named = {"evil": {"_target_": "no_such_module.Filter"}}
    hostile = msgspec.structs.replace(dataset, spec=msgspec.structs.replace(dataset.spec, filter=named))
    imported: list[str] = []
    real = importlib.import_module

    def import_module(name: str) -> object:
        imported.append(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert "evil" in page.page(report.parents[2], hostile, own=False)
    assert "m2l.filters.length" in imported
    assert "no_such_module" not in imported


class Shouting(Filter):
    """A filter outside of the package."""

    sentences: ClassVar = {"shouting": "Everything is in capitals."}

    def rules(self, context: object) -> dict[str, pl.Expr]:
        return {}


def test_the_figures_tell_the_numbers_of_the_tables(report: Path) -> None:
    """Coverage, funnel, yields, reasons, turns and lengths, each against a count of the rows themselves."""
    root = report.parents[2]
    dataset = export.read(root / "data/dist")
    found = {figure.name: figure for figure in figures.figures(dataset, cost.cost(root, list(dataset.spec.languages)))}
    full = pl.read_parquet(root / "data/dist/full_data/train.parquet")
    rejected = pl.read_parquet(root / "data/dist/rejected/train.parquet")
    written = full.filter(pl.col("kind") != "seed")
    sampled = {row[:3]: row[5] for row in found["coverage"].rows if row[5]}
    assert sampled == {key: rows.height for key, rows in written.group_by(["language", "task", "task_evol_type"])}
    funnel = {row[0]: row[1:] for row in found["funnel"].rows}
    tables = [pl.read_parquet(path) for path in (root / "data/tables").glob("*/conversation.parquet")]
    kept, lost = sum(table.height for table in tables), rejected.filter(pl.col("kind") == "conversation").height
    talks = full.filter(pl.col("kind") == "conversation")
    assert funnel["conversations"] == (kept + lost, kept, talks.height)
    reasons = {(reason, kind): rows for reason, kind, rows in found["reasons"].rows}
    assert reasons == {key: rows.height for key, rows in rejected.group_by(["reason", "kind"])}
    turns = {(language, number): rows for language, number, rows in found["turns"].rows}
    assert turns == {key: rows.height for key, rows in talks.group_by(["language", "no_of_turns"])}
    for figure in found.values():
        assert figure.svg.startswith("<svg ")
        assert "NaN" not in figure.svg
        assert not re.search(r"#0102\d\d", figure.svg), figure.name


def test_the_cost_is_that_of_the_calls(tmp_path: Path, project: Path) -> None:
    """Made and reused, tokens read and written, by language and by model: counted on an engine that remembers."""
    from m2l import slices

    composed = helpers.compose(project)
    slices.write(composed, project / slices.FOLDER)
    first = helpers.run(project)
    spent = cost.cost(project, ["eng_Latn"])
    [run], [share] = spent.runs, spent.shares
    assert (run.calls, share.calls, share.made) == (len(first),) * 3
    assert share.tokens == run.tokens > 0
    text = (project / "conf/operator/general_deepening.yaml").read_text(encoding="utf-8")
    edited = text.replace("Rewrite the instruction so", "Please rewrite the instruction so")
    assert edited != text
    (project / "conf/operator/general_deepening.yaml").write_text(edited, encoding="utf-8")
    slices.write(helpers.compose(project), project / slices.FOLDER)
    second = helpers.run(project)
    [share] = cost.cost(project, ["eng_Latn"]).shares
    assert (share.made, share.calls) == (len(second), len(first))
    assert 0 < len(second) < len(first)


def test_a_judges_marks_stand_with_the_row(project: Path) -> None:
    """Where a judge was asked, each judged row tells its marks or that there were none; seeds tell nothing."""
    helpers.run(project, "judge=quality")
    dataset = export.read(project / "data/dist")
    judged = pl.read_parquet(project / "data/tables/eng_Latn/judged.parquet")
    tables = project / "data/tables"
    rows = reader.read(project, dataset, budget=4_000_000, tables=tables).rows
    told = {row["id"] for row in rows if "marks" in row}
    assert told == {row["id"] for row in rows} & set(judged["row_id"])
    assert len(told) > 20
    for row in rows:
        if "marks" in row:
            found = judged.row(by_predicate=pl.col("row_id") == row["id"], named=True)
            assert row["marks"][:-1] == [[mark["criterion"], mark["mark"]] for mark in found["marks"]]
            assert row["marks"][-1][0] == ("mean" if found["marks"] else "no marks")
    assert not any("marks" in row for row in reader.read(project, dataset, budget=4_000_000, tables=None).rows)


def test_without_a_store_the_rest_is_shown(report: Path, tmp_path: Path) -> None:
    """A dataset from elsewhere, with neither store nor slices, has its report, without cost and prompts."""
    text = page.page(tmp_path, export.read(report.parents[1] / "dist"), own=True)
    assert "Nothing to show: no numbers of this kind." in text
    data = json.loads(Parts(text).inside["script"][0])
    assert all("prompt" not in call for row in data["rows"] for call in row.get("calls", ()))


def test_a_large_dataset_is_sampled_evenly_and_says_so(report: Path) -> None:
    """At 10,000 conversations the page stays under 5 MB, says what part it shows, and leaves out no cell or reason."""
    dataset = export.read(report.parents[1] / "dist")
    talks = dataset.configs["full_data"]["train"].filter(pl.col("kind") == "conversation").collect()
    times = 10_000 // talks.height + 1
    many = pl.concat(
        talks.with_columns(
            row_id=pl.concat_str(pl.lit(f"{number:04x}"), "row_id"),
            conversation=pl.col("conversation").list.eval(
                pl.struct(
                    pl.element().struct.field("role"),
                    content=pl.element().struct.field("content") + f" {number}",
                )
            ),
        )
        for number in range(times)
    )
    cells = dataset.numbers["cells"].filter(pl.col("kind") == "conversation").head(1)
    wide = pl.concat(  # as many cells as the full recipe has
        cells.with_columns(
            language=pl.lit(f"x{cell // 180:02}"),
            task=pl.lit(f"task_{cell % 180 // 9}"),
            operator=pl.lit(f"task_{cell % 180 // 9}_{cell % 9}"),
        )
        for cell in range(73 * 180)
    )
    numbers = dataset.numbers | {"cells": wide}
    grown = msgspec.structs.replace(dataset, configs={"full_data": {"train": many.lazy()}}, numbers=numbers)
    assert many.height >= 10_000
    text = page.page(report.parents[2], grown, own=True)
    assert len(text.encode()) < 5_000_000
    data = json.loads(Parts(text).inside["script"][0])
    assert f"A sample: {len(data['rows']):,} of {data['total']:,} rows" in text
    assert 500 < len(data["rows"]) < data["total"]
    shown = {(row["language"], row.get("operator", ""), row.get("reasons", [""])[0]) for row in data["rows"]}
    reasons = dataset.rejected.select("language", "task_evol_type", "reason").unique().collect()
    kept = many.select("language", "task_evol_type", reason=pl.lit("")).unique()
    assert shown == {*reasons.iter_rows(), *kept.iter_rows()}


def test_the_command_says_where_the_report_lies(project: Path) -> None:
    """`m2l report` writes the page of the dataset; without one, one line says what to do."""
    done = m2l(project, "report")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("BuildError: ")
    assert "dvc repro" in done.stderr
    helpers.run(project)
    done = m2l(project, "report")
    assert re.fullmatch(r"data/report/index.html: \d\.\d MB, opens from the disk in any browser.\n", done.stdout)
    assert (project / "data/report/index.html").is_file()
    done = m2l(project, "report", "--data", "data/dist", "--to", "here.html")
    assert (project / "here.html").read_bytes() == (project / "data/report/index.html").read_bytes()


def test_all_checks_are_worded() -> None:
    """No check is left without a sentence of its own."""
    from m2l.checks import answers, dialogues, evolutions

    classes = [value for module in (answers, dialogues, evolutions) for value in vars(module).values()]
    found = [cls for cls in classes if isinstance(cls, type) and issubclass(cls, Check) and not inspect.isabstract(cls)]
    assert {"Changed", "NewAnswer", "HoldsLabel"} <= {cls.__name__ for cls in found}
    assert all(cls.sentence for cls in found)
