"""Composition: Hydra sees a shadow of conf/, and what it says is what it would say of the whole."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from m2l import config, declarations
from m2l.errors import ConfigError

BASE = ("engine=fake", "language=[eng_Latn]")
OPERATOR = "general_deepening"


def test_the_shadow_composes_to_what_hydra_makes_of_the_files(project: Path) -> None:
    """Every named declaration of a recipe is the file as OmegaConf reads it."""
    composed = config.compose(project, ["recipe=starter", *BASE])
    for group in config.NAMED:
        for name, value in getattr(composed, group).items():
            raw = OmegaConf.to_container(OmegaConf.load(project / "conf" / group / f"{name}.yaml"))
            import msgspec

            assert value == msgspec.convert(raw, config.NAMED[group])


def test_all_stands_for_every_file_of_a_group(project: Path) -> None:
    """`all` chooses them all, one that an override touches too."""
    composed = config.compose(project, [*BASE, "operator=[all]", f"operator.{OPERATOR}.family=constraint"])
    assert sorted(composed.operator) == config.options(project, "operator")
    assert composed.operator[OPERATOR].family == "constraint"
    assert composed.operator["general_dialect"].family == "dialect"


def test_an_override_changes_adds_and_removes_a_leaf(project: Path) -> None:
    """The grammar of Hydra's overrides holds for named declarations."""
    plain = config.compose(project, BASE).operator[OPERATOR].prompt
    changed = config.compose(
        project,
        [
            *BASE,
            f"operator.{OPERATOR}.prompt.eng_Latn='Make it deeper.'",
            f"+operator.{OPERATOR}.prompt.dan_Latn='Dybere.'",
            f"~operator.{OPERATOR}.prompt.fra_Latn",
        ],
    )
    prompt = changed.operator[OPERATOR].prompt
    assert prompt["eng_Latn"] == "Make it deeper."
    assert prompt["dan_Latn"] == "Dybere."
    assert set(prompt) == (set(plain) | {"dan_Latn"}) - {"fra_Latn"}


def test_an_overlay_lays_its_leaves_over_a_declaration(project: Path) -> None:
    """An experiment that names one leaf of an operator leaves the others as they are in its file."""
    folder = project / "conf" / "experiment"
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(
        f"# @package _global_\noperator:\n  {OPERATOR}:\n    prompt:\n      eng_Latn: Other.\n", encoding="utf-8"
    )
    plain = config.compose(project, BASE).operator[OPERATOR]
    mine = config.compose(project, [*BASE, "experiment=mine"]).operator[OPERATOR]
    assert mine.prompt == plain.prompt | {"eng_Latn": "Other."}
    assert (mine.family, mine.checks) == (plain.family, plain.checks)


def test_an_overlay_of_what_does_not_exist_is_refused(project: Path) -> None:
    """A misspelt key of an overlay is named with the nearest one, as in the file itself."""
    folder = project / "conf" / "experiment"
    folder.mkdir(exist_ok=True)
    text = f"# @package _global_\noperator:\n  {OPERATOR}:\n    famly: x\n"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"general_deepening\.yaml: unknown key 'famly'\. Did you mean 'family'\?"):
        config.compose(project, [*BASE, "experiment=mine"])


def test_scalars_are_read_as_omegaconf_reads_them(tmp_path: Path) -> None:
    """Dates stay text, exponents are numbers, and the bare word no is false: the same in both readers."""
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: 2024-01-31\nb: 1e5\nc: 12e5\nd: no\ne: 'no'\nf: 0x1F\ng: 1_000\nh: .5\ni: null\nj: ~\nk: '12e5'\n"
        "l: [yes, off, 3.0]\nm: {n: 1.5e-3, o: 010}\np: >-\n  a\n  b\nq: 12:30\nr: -.inf\n",
        encoding="utf-8",
    )
    assert declarations.read(path, "x.yaml") == OmegaConf.to_container(OmegaConf.load(path))
