"""Variants: each call once, numbers that agree with the datasets, a page that runs nothing, and names for them."""

import html.parser
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m2l import experiment
from m2l.errors import BuildError, ConfigError
from tests.command import m2l
from tests.conftest import Edit
from tests.helpers import tree
from tests.test_dvc import dvc, ran

BRIEF = (
    "languages: [eng_Latn, hin_Deva]\n"
    "overrides: [recipe=starter, recipe.repairs=0, engine=fake, engine._target_=tests.helpers.Brief]\n"
)
GRID = ("model=gemma3_270m,smollm2_135m", "recipe.variations_per_instruction=1,2", "frame=completion")


def calls(project: Path) -> list[str]:
    """Return the key of every request that reached an engine, in whatever process."""
    path = project / "calls.txt"
    return path.read_text(encoding="ascii").split() if path.is_file() else []


def variants(project: Path) -> list[Path]:
    """Return the folders of the variants in the order of their numbers."""
    return sorted(path.parent for path in (project / "multirun").glob("*/*/*/variant.json"))


def sweep(project: Path, *arguments: str) -> list[dict[str, object]]:
    """Run a sweep and return what it prints for scripts."""
    done = m2l(project, "sweep", "-m", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def rows(folder: Path, *kinds: str) -> pl.DataFrame:
    """Return the ids, kinds and reasons of all rows of some kinds, kept and rejected, of a variant."""
    parts = []
    for path in sorted((folder / "tables").glob("*/*.parquet")):
        if path.stem in (*kinds, "rejected"):
            table = pl.read_parquet(path).with_columns(path=pl.lit(path.parent.name))
            reason = "reason" if path.stem == "rejected" else pl.lit(None, dtype=pl.String).alias("reason")
            parts.append(table.select("row_id", "kind", reason, "path"))
    return pl.concat(parts).filter(pl.col("kind").is_in(kinds))


@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")])
def test_two_by_two_makes_no_call_twice(project: Path, launcher: tuple[str, ...]) -> None:
    """Four variants of the starter recipe, one after the other or at once: the engine sees each request once."""
    (project / "params.yaml").write_text(BRIEF)
    found = sweep(project, *GRID, *launcher)
    made = calls(project)
    assert len(found) == len(variants(project)) == 4
    assert len(made) == len(set(made)) > 200
    counted: Counter[str] = Counter()
    for variant in found:
        counted.update({"made": variant["made"], "reused": variant["reused"]})
    assert counted["made"] == len(made)
    assert counted["reused"] > 100
    assert not (project / "data" / "dist").exists()
    assert len({str(sorted(tree(folder / "dist" / "full_data").values())) for folder in variants(project)}) == 4
    again = sweep(project, *GRID, *launcher)
    assert [variant["made"] for variant in again] == [0] * 4
    assert calls(project) == made


def test_the_numbers_agree_with_the_datasets(project: Path) -> None:
    """What the table says of yield, reasons, fidelity and rows is what counting the parquet files gives."""
    (project / "params.yaml").write_text(BRIEF)
    found = sweep(project, *GRID)
    for variant in found:
        folder = project / str(variant["folder"])
        written = rows(folder, "evolved", "conversation")
        kept = written.group_by("path").agg(pl.col("reason").is_null().mean())["reason"].to_list()
        assert variant["kept"] == pytest.approx(sum(kept) / 2, abs=1e-4)
        every = rows(folder, "seed", "evolved", "conversation").drop_nulls("reason")
        assert variant["reasons"] == dict(every.group_by("reason").len().iter_rows())
        assert variant["rows"] == pl.read_parquet(folder / "dist/full_data/*.parquet").height
        shares = []
        for path in sorted((folder / "tables").glob("*/measures.parquet")):
            table = pl.read_parquet(path).filter(pl.col("kind") != "seed")
            names = ("expected", "replaced_expected", "verified", "replaced_verified")
            sums = {name: int(table[name].sum()) for name in names}
            shares.append(
                (sums["expected"] + sums["replaced_expected"]) / (sums["verified"] + sums["replaced_verified"])
            )
        assert variant["in_language"] == pytest.approx(sum(shares) / 2, abs=1e-4)
        assert variant["tokens_per_second"] is not None
        assert variant["distinct_2"] is not None


class Tags(html.parser.HTMLParser):
    """Collects the tags and attributes of a page, and the texts of some elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_the_page_shows_the_same_seeds_and_runs_nothing(project: Path, edit: Edit) -> None:
    """Every variant has its column; hostile text stays text; languages and directions are marked; no script."""
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    edit("data/seeds/starter/eng_Latn.jsonl", "Explain why bread dough has to rest", f"{hostile} Why dough has to rest")
    (project / "params.yaml").write_text(BRIEF.replace("hin_Deva", "arb_Arab"))
    sweep(project, "recipe.variations_per_instruction=1,2")
    [path] = (project / "multirun").glob("*/*/index.html")
    text = path.read_text(encoding="utf-8")
    page = Tags()
    page.feed(text)
    tags = [tag for tag, _ in page.found]
    assert not {"script", "img", "link", "iframe", "form", "a", "object"} & set(tags)
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on") or name == "src"]
    assert any(hostile in said for said in page.said)
    assert re.search(r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'", text)
    assert "http" not in text.replace("http-equiv", "")
    turns = [attributes for tag, attributes in page.found if tag == "div" and "dir" in attributes]
    assert {attributes["dir"] for attributes in turns} == {"auto"}
    assert {"ar", "en"} <= {attributes.get("lang") for attributes in turns}
    for variant in ("recipe.variations_per_instruction=1", "recipe.variations_per_instruction=2"):
        assert any(variant in said for said in page.said)
    for folder in variants(project):
        rows_ = _conversations(folder)
        shown = [row for row in rows_ if all(turn["content"] in page.said for turn in row["conversation"])]
        assert len(shown) >= len({row["seed_id"] for row in rows_}) == 16


def _conversations(folder: Path) -> list[dict[str, Any]]:
    return pl.concat(
        pl.read_parquet(path).filter(pl.col("kind") == "conversation").select("seed_id", "conversation")
        for name in ("conversation", "rejected")
        for path in (folder / "tables").glob(f"*/{name}.parquet")
    ).to_dicts()


def test_a_saved_variant_is_built_by_its_name(project: Path) -> None:
    """`dvc repro` with the experiment makes the variant's rows, byte by byte, without a call."""
    import subprocess

    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / "params.yaml").write_text(BRIEF)
    sweep(project, "model=gemma3_270m,smollm2_135m", "model.sampling.temperature=0.3,0.7")
    made = calls(project)
    folder = variants(project)[3]
    done = m2l(project, "experiment", "save", "warm", str(folder.relative_to(project)))
    assert done.returncode == 0, done.stderr
    assert "conf/experiment/warm.yaml: 7 overrides" in done.stdout
    assert "no longer the same" not in done.stdout
    assert m2l(project, "check").returncode == 0
    (project / "params.yaml").write_text("languages: [eng_Latn, hin_Deva]\noverrides: [+experiment=warm]\n")
    assert "assemble" in ran(dvc(project, "repro"))
    assert calls(project) == made
    assert tree(project / "data/dist/full_data") == tree(folder / "dist/full_data")


def test_what_changed_since_a_variant_is_said(project: Path, edit: Edit) -> None:
    """An experiment that is saved after an edit says that it is not what was built, and which leaf is the reason."""
    sweep(project, "recipe.variations_per_instruction=1,2")
    edit("conf/operator/general_deepening.yaml", "Keep its topic", "Do keep its topic")
    done = m2l(project, "experiment", "save", "late", str(variants(project)[1]))
    assert "no longer the same: eng_Latn (operator.general_deepening.prompt: " in done.stdout


def test_an_overlay_says_what_overrides_say(project: Path) -> None:
    """Choices, lists, numbers, texts and new keys come through; composing either way gives the same slices."""
    from tests.helpers import compose

    overrides = [
        "filter=[blank,truncation]", "model=smollm2_135m", "model.sampling.temperature=0.25",
        "+recipe.quota.weight.operator.general_deepening=2", "judge=quality",
        "operator.general_deepening.prompt.eng_Latn='Ask for more: why, and how?'",
    ]  # fmt: skip
    path = project / "conf/experiment/all.yaml"
    path.parent.mkdir()
    path.write_text(experiment.overlay(overrides, origin="a test"), encoding="utf-8")
    assert compose(project, "experiment=all", "language=[eng_Latn]") == compose(project, *overrides)
    warmer = ["experiment=all", "language=[eng_Latn]", "model.sampling.temperature=0.5"]
    (path.parent / "warmer.yaml").write_text(experiment.overlay(warmer, origin="a test"), encoding="utf-8")
    assert compose(project, "+experiment=warmer", "language=[eng_Latn]") == compose(project, *warmer)


def test_what_cannot_be_saved_is_said(project: Path) -> None:
    """A taken name, no name, no variant, and an override that takes something away."""
    with pytest.raises(BuildError, match=r"^nowhere: no variant of a sweep\. Name a folder such as multirun/"):
        experiment.save(project, "one", Path("nowhere"))
    with pytest.raises(BuildError, match=r"^command line: '../one' is no name\. Use letters, digits, _ and -\.$"):
        experiment.save(project, "../one", Path("nowhere"))
    with pytest.raises(ConfigError, match=r"^override '~judge': an overlay can take nothing away\."):
        experiment.overlay(["~judge"], origin="a test")
    (project / "conf/experiment").mkdir()
    (project / "conf/experiment/one.yaml").write_text("# @package _global_\n")
    with pytest.raises(BuildError, match=r"^conf/experiment/one\.yaml: there already\. Choose another name"):
        experiment.save(project, "one", Path("nowhere"))


def test_variants_share_the_store(project: Path) -> None:
    """What both of two settings ask for is asked once, and the table says what each made and reused."""
    done = m2l(project, "sweep", "-m", "recipe.variations_per_instruction=1,2")
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines() if "recipe.variations_per_instruction=" in line]
    assert [line[:2] for line in table] == [["138", "0"], [table[1][0], "138"]]
    assert int(table[1][0]) > 0
    assert "Read them side by side: multirun/" in done.stdout
    assert done.stderr == "eng_Latn: fake 1\n" * 2


def test_a_wrong_override_of_a_sweep_is_one_line(project: Path) -> None:
    """What Hydra refuses is said as everywhere else, without a traceback."""
    done = m2l(project, "sweep", "-m", "recipe.seeds_per_tusk=1,2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Key 'seeds_per_tusk' is not in struct. Correct it there." in done.stderr


def test_a_variant_that_fails_is_named_and_the_others_are_built(project: Path) -> None:
    """A wrong value in a sweep stops that variant with its line, and the command ends with code 2."""
    done = m2l(project, "sweep", "-m", "recipe.seeds_per_task=1,one")
    assert done.returncode == 2
    assert "Expected `int`, got `str`" in done.stdout
    assert len(list((project / "multirun").glob("*/*/*/dist/full_data/train.parquet"))) == 1
    assert done.stderr.endswith("BuildError: 1 of 2 variants failed, named above. Correct them and sweep again.\n")
