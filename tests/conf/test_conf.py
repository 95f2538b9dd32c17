"""Every shipped declaration, found by its path: a new file is tested without a new test."""

import re
from pathlib import Path

import pytest

from m2l import config, slices, spec
from m2l.engine.base import Engine
from m2l.exporters.base import Exporter
from m2l.filters.base import Filter
from m2l.identify import in_language
from m2l.prompts import Prompts
from m2l.seed_sources.base import SeedSource
from m2l.spec import ENGLISH
from m2l.text import fold, script_share, shingles
from tests.conftest import ROOT

CONF = ROOT / "conf"
LANGUAGES = sorted(path.stem for path in (CONF / "language").glob("*.yaml"))
NAMED = sorted(path for group in config.NAMED for path in (CONF / group).glob("*.yaml"))
PROMPTED = sorted([*(CONF / "operator").glob("*.yaml"), *(CONF / "variation").glob("*.yaml")])
KINDS: dict[str, type[object]] = {"filter": Filter, "exporter": Exporter, "engine": Engine, "seed_source": SeedSource}
TARGETS = [(path, kind) for group, kind in KINDS.items() for path in sorted((CONF / group).glob("*.yaml"))]
OVERRIDES = ["engine=fake", f"language=[{','.join(LANGUAGES)}]"]


@pytest.fixture(scope="module")
def composed() -> slices.Composed:
    """Every shipped language with the starter recipe."""
    return slices.compose(ROOT, OVERRIDES)


def language(name: str) -> spec.Language:
    """Return a shipped language."""
    return config.load_named(ROOT, "language", name, spec.Language)


def texts(name: str) -> list[str]:
    """Return the worked examples of a language that are in it: all but an answer in its neighbour language."""
    shots = language(name).shots
    found = [part for pairs in shots.evolve.values() for pair in pairs for part in (pair.instruction, pair.evolved)]
    for family, dialogues in shots.dialogue.items():
        end = 3 if family == "language_change" else None
        found += [turn for dialogue in dialogues for turn in dialogue[:end]]
    return found


@pytest.mark.parametrize("path", NAMED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_named_declaration_is_read(path: Path) -> None:
    """Languages, tasks, operators and variations have every key and no other."""
    group = path.parent.name
    assert config.load_named(ROOT, group, path.stem, config.NAMED[group])


@pytest.mark.parametrize(("path", "kind"), TARGETS, ids=lambda value: getattr(value, "stem", ""))
def test_a_class_is_named_with_its_keys(path: Path, kind: type[object]) -> None:
    """Each `_target_` exists and takes the keys of its file."""
    from omegaconf import OmegaConf

    target = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(target, dict)
    keys = {str(key): value for key, value in target.items()}
    cls = config.load_class(keys, kind, where=path.name)
    if kind is not Engine:
        assert config.instantiate(keys, kind, where=path.name)
    else:
        import inspect

        assert keys.keys() - {"_target_"} <= inspect.signature(cls).parameters.keys()


@pytest.mark.parametrize("name", config.options(ROOT, "recipe"))
def test_a_recipe_composes_and_every_prompt_renders(name: str) -> None:
    """Each shipped recipe gives slices, with all of its prompts rendered."""
    assert slices.compose(ROOT, [f"recipe={name}", "engine=fake"]).slices


@pytest.mark.parametrize("name", config.options(ROOT, "model"))
def test_a_model_brings_its_frame_and_sampling(name: str) -> None:
    """Each shipped model composes; a digest is whole or absent."""
    model = config.compose(ROOT, [f"model={name}"]).model
    assert model.name == name
    assert model.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", model.sha256)


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_is_recognised_as_itself(name: str) -> None:
    """At least 98% of the longer worked examples are taken for their language by a detector."""
    declared = language(name)
    if declared.verify.method != "detectors":
        pytest.skip(f"{name} says openly that no detector can verify it")
    long = [text for text in texts(name) if sum(map(str.isalpha, text)) >= 24]
    assert len(long) > 10
    missed = [text for text in long if not in_language(text, declared)]
    assert len(missed) <= 0.02 * len(long), missed


@pytest.mark.parametrize("name", LANGUAGES)
def test_labels_tell_parts_apart(name: str) -> None:
    """No two labels are the same, so that a prompt is unambiguous and a leaked label is recognised."""
    labels = language(name).labels
    found = [fold(getattr(labels, field)) for field in labels.__struct_fields__]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", LANGUAGES)
def test_seeds_do_not_repeat_each_other_or_the_examples(name: str, composed: slices.Composed) -> None:
    """No seed's answer is nearly that of another seed or of a worked dialogue."""
    seeds = slices.compose(ROOT, ["engine=fake", f"language=[{name}]", "recipe.seeds_per_task=99"]).slices[name].seeds
    answers = [set(shingles(seed.response)) for seed in seeds]
    shown = [set(shingles(text)) for text in texts(name)]
    for index, one in enumerate(answers):
        for other in [*answers[index + 1 :], *shown]:
            assert len(one & other) / max(1, len(one | other)) < 0.7


@pytest.mark.parametrize("path", PROMPTED, ids=lambda path: path.stem)
def test_a_directive_is_in_the_script_of_its_language(path: Path) -> None:
    """Each native form is in its language's script, and names a language that is declared."""
    from omegaconf import OmegaConf

    raw = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(raw, dict)
    forms = [raw["prompt"]] if "prompt" in raw else [turn["prompt"] for turn in raw["turns"]]
    for prompt in forms:
        assert ENGLISH in prompt
        for name, text in prompt.items():
            plain = re.sub(r"\{[{%].*?[}%]\}", "", str(text))
            assert script_share(plain, language(str(name)).script) > 0.8, text


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_budget_grows_with_the_tokens_of_a_language(name: str, composed: slices.Composed) -> None:
    """No language gets fewer tokens than English."""
    base = composed.slices[ENGLISH].max_tokens
    for step in base.__struct_fields__:
        assert getattr(composed.slices[name].max_tokens, step) >= getattr(base, step)


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_few_shot_prompt_ends_where_the_model_begins(name: str, composed: slices.Composed) -> None:
    """The rendered evolve prompt holds its examples in the language and ends with the label of the answer."""
    from m2l import evolve

    piece = composed.slices[name]
    writer = Prompts(piece)
    for draft in evolve.drafts(piece):
        prompt = writer.evolve(draft).prompt
        assert isinstance(prompt, str)
        labels = piece.language.labels
        end = f"({draft.evolve_prompt})\n{labels.instruction} {draft.seed.instruction}\n{labels.evolved}"
        assert prompt.endswith(end)
        shown = [shot.evolved for shot in piece.language.shots.evolve[draft.operator_family]]
        assert all(text in prompt for text in shown)
        assert not re.search(r"\{\{|\}\}|\{%", prompt)
