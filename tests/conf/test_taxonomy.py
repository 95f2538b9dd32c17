"""The taxonomy, counted from its files: languages, tasks, operators, variations and seeds."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from m2l import audit, config, slices, spec
from m2l.spec import Config, Slice
from m2l.text import fold, script_share
from tests.conf.test_conf import LANGUAGES
from tests.conftest import ROOT

CODES = (
    "acq_Arab amh_Ethi arb_Arab ars_Arab ary_Arab arz_Arab azb_Arab ben_Beng ceb_Latn ckb_Arab dan_Latn deu_Latn "
    "ell_Grek eng_Latn eus_Latn fil_Latn fin_Latn fra_Latn gle_Latn guj_Gujr hat_Latn hau_Latn hin_Deva hun_Latn "
    "ibo_Latn ind_Latn ita_Latn jav_Latn jpn_Jpan kan_Knda kin_Latn kir_Cyrl kmr_Latn kor_Hang lit_Latn mal_Mlym "
    "mar_Deva mlg_Latn mya_Mymr nep_Deva nld_Latn nso_Latn nya_Latn pan_Guru pbt_Arab pes_Arab pol_Latn por_Latn "
    "rus_Cyrl sin_Sinh sna_Latn snd_Arab som_Latn spa_Latn sqi_Latn srp_Cyrl sun_Latn swe_Latn swh_Latn tam_Taml "
    "tel_Telu tha_Thai tur_Latn ukr_Cyrl urd_Arab vie_Latn wol_Latn xho_Latn yor_Latn zho_Hans zho_Hant zsm_Latn "
    "zul_Latn"
)
"""The languages of the published dataset, by their FLORES-style codes."""

FAMILIES = {
    "constraint", "depth", "concretizing", "reasoning", "implicit", "dialect", "localization", "format",
    "cross_lingual",
}  # fmt: skip
CONF = ROOT / "conf"
TASKS = config.options(ROOT, "task")


def raw(group: str) -> dict[str, dict[str, Any]]:
    """Return every file of a group as YAML has it."""
    import yaml

    paths = sorted((CONF / group).glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


@pytest.fixture(scope="module")
def everything() -> Config:
    """All that conf/ declares."""
    return audit.everything(ROOT)


def test_the_73_languages_are_all_there() -> None:
    """One file for each code of the published dataset."""
    assert sorted(CODES.split()) == LANGUAGES
    assert len(LANGUAGES) == 73


def test_general_and_19_tasks_with_9_operators_each_of_9_families() -> None:
    """Each task has an operator of every family of its own, with a directive that no other operator has."""
    operators = raw("operator")
    assert len(TASKS) == 20
    assert "general" in TASKS
    for task in TASKS:
        mine = {name: op for name, op in operators.items() if task in op["applies_to"]}
        assert {op["family"] for op in mine.values()} == FAMILIES, task
        assert len(mine) >= 9
    directives = [fold(op["prompt"]["eng_Latn"]) for op in operators.values()]
    assert len(set(directives)) == len(directives)


def test_each_operator_is_complete() -> None:
    """A directive says what stays and asks for the result alone; a check says what is no evolution."""
    for name, operator in raw("operator").items():
        text = operator["prompt"]["eng_Latn"]
        assert re.search(r"\b(Keep|Leave|must stay|stays|Ask|No fact)\b", text), name
        assert re.search(r"Write only the new (instruction|question|task|problem)\.$", text.strip()), name
        kinds = [check["_target_"].rpartition(".")[2] for check in operator["checks"]]
        assert {"Changed", "NoAnswer"} <= set(kinds), name
        assert {"Mentions", "AddsWords"} & set(kinds), name


def test_21_variations_in_families_of_2_to_4_turns() -> None:
    """Each says what the user does and refers to; most have a check for each turn."""
    variations = raw("variation")
    assert len(variations) == 21
    families = {variation["family"] for variation in variations.values()}
    assert {"follow_up", "expansion", "refinement", "recollection"} < families
    assert len(families) == 11
    for variation in variations.values():
        assert 1 <= len(variation["turns"]) <= 3
        assert all(turn["checks"] for turn in variation["turns"])
    recalls = [name for name, v in variations.items() if "Recalls" in json.dumps(v)]
    assert {variations[name]["family"] for name in recalls} == {"recollection"}


def test_a_task_says_what_it_takes_and_how_it_is_answered() -> None:
    """Every task but those without a decidable answer has a check, and those with fields a prompt of their own."""
    tasks = raw("task")
    unchecked = {name for name, task in tasks.items() if not task["checks"]}
    assert unchecked == {"general", "question_answering", "title_to_text", "creative_writing"}
    for name, task in tasks.items():
        if task["fields"] and name not in ("multiple_choice", "reading_comprehension", "translation"):
            assert task["prompt"]["eng_Latn"]


def test_native_forms_of_every_operator_family_and_variation() -> None:
    """At least six families are written in at least ten languages beside English, for every task."""
    operators, variations = raw("operator"), raw("variation")
    by_family: dict[str, list[set[str]]] = {family: [] for family in FAMILIES}
    for operator in operators.values():
        by_family[operator["family"]].append(set(operator["prompt"]) - {"eng_Latn"})
    written = {family: set.intersection(*forms) for family, forms in by_family.items()}
    assert sum(len(languages) >= 10 for languages in written.values()) >= 6
    turns = [set(turn["prompt"]) for variation in variations.values() for turn in variation["turns"]]
    assert len(set.intersection(*turns)) > 10


@pytest.mark.parametrize("group", ["operator", "variation", "task"])
def test_a_native_form_keeps_the_placeholders(group: str, everything: Config) -> None:
    """Each form uses the variables of the English one, and is written in its language's script."""
    for name, declared in raw(group).items():
        forms = [turn["prompt"] for turn in declared["turns"]] if group == "variation" else [declared.get("prompt", {})]
        for prompt in forms:
            for language, text in prompt.items():
                assert _variables(text) == _variables(prompt["eng_Latn"]), f"{group} {name} {language}"
                plain = re.sub(r"\{[{%].*?[}%]\}", "", text)
                assert script_share(plain, everything.language[language].script) > 0.8, f"{group} {name} {language}"


def _variables(text: str) -> list[str]:
    return sorted(re.findall(r"\{\{.*?\}\}", text))


def test_seeds_of_every_language_and_task() -> None:
    """At least 8 general seeds and one of each task in each language, about 2,000, each file with its licence."""
    total = 0
    for language in LANGUAGES:
        path = ROOT / "data" / "seeds" / "starter" / f"{language}.jsonl"
        header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert (header["license"], header["language"]) == ("Apache-2.0", language)
        assert header["origin"] == "written for this project"
        assert header["review"]
        counts = Counter(row["task"] for row in rows)
        assert counts["general"] >= 8
        assert set(counts) == set(TASKS)
        total += len(rows)
    assert total >= 1_971


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_of_a_language_is_in_it_and_its_seeds_are_right(language: str, everything: Config) -> None:
    """Script, detectors, aims of worked examples, answers of seeds, near-duplicates: no more than 2% remain.

    The answers, the aims and the duplicates are decidable, so that there no problem is allowed.
    """
    piece = _slice(everything, language)
    problems = audit.language_problems(piece)
    unrecognised = [problem for problem in problems if "not recognised as" in problem]
    assert [problem for problem in problems if problem not in unrecognised] == []
    of_seeds = [problem for problem in unrecognised if ".jsonl:" in problem]
    assert len(of_seeds) <= 0.02 * len(piece.seeds), of_seeds
    assert len(unrecognised) - len(of_seeds) <= 0.02 * 110, unrecognised


def _slice(everything: Config, language: str) -> Slice:
    return audit.alone(ROOT, everything, language)


def test_languages_differ_in_what_they_say(everything: Config) -> None:
    """Seeds are no translations: no two languages share their anchors, and Arabic dialects differ in wording."""
    foods = {name: language.anchors.foods for name, language in everything.language.items()}
    assert len(set(foods.values())) == len(foods)
    arabic = {name: _instructions(name) for name in LANGUAGES if name.endswith("Arab") and name[:2] == "ar"}
    for one, texts in arabic.items():
        for other, others in arabic.items():
            assert one == other or not texts & others


def _instructions(language: str) -> set[str]:
    lines = (ROOT / "data" / "seeds" / "starter" / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    return {fold(f"{row['instruction']} {row.get('input', '')}") for row in map(json.loads, lines)}


def test_the_full_recipe_is_of_the_papers_extent() -> None:
    """73 languages declare 13.7K seeds, 102K rows with evolved ones, 174K with conversations."""
    full = config.compose(ROOT, ["recipe=full", "engine=fake"])
    seeds = sum(full.recipe.seeds_wanted(task) for task in full.task) * len(full.language)
    evolved = full.recipe.quota.evolved * len(full.language)
    talks = full.recipe.quota.conversation * len(full.language)
    assert abs(seeds - 13_686) < 50
    assert abs(seeds + evolved - 102_423) < 50
    assert abs(seeds + evolved + talks - 173_672) < 50
    assert (len(full.language), len(full.task), len(full.operator), len(full.variation)) == (73, 20, 180, 21)


def test_the_slice_holds_only_operators_of_its_tasks(tmp_path: Path) -> None:
    """An operator of a task that is not asked for is no part of a slice, so that editing it moves nothing."""
    composed = slices.compose(ROOT, ["engine=fake", "operator=[all]", "language=[eng_Latn]", "task=[general]"])
    piece = composed.slices["eng_Latn"]
    assert len(piece.operator) == 9
    assert all(operator.applies_to == ("general",) for operator in piece.operator.values())
    assert isinstance(piece, spec.Slice)
