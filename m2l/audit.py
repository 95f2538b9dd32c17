"""All of `conf/`, proved: every file is read, every prompt renders in every language, every class is there.

And one language at a time, its text: is it in its script and its language, do the worked
examples show what they should, are the seeds answered as their tasks want, and all different?
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path

import msgspec

from m2l import config, references, slices
from m2l.checks.base import Case
from m2l.checks.declared import instances
from m2l.engine.base import Engine
from m2l.errors import ConfigError, M2LError, unknown
from m2l.identify import in_language, in_script
from m2l.seed_sources.base import SeedSource
from m2l.spec import Config, Language, Slice
from m2l.text import mentions, shingles

MIN_SCRIPT_SHARE = 0.6
NEAR = 0.5
"""From this similarity of shingles on, two seeds say too much of the same."""


def check(root: Path) -> Iterator[str]:
    """Yield what was checked, a line each, and the coverage of every language.

    Raises ConfigError with the number of problems after yielding each of them.
    """
    problems: list[str] = []
    overrides = config.effective_overrides(config.read_params(root), [])
    for group, kind in config.NAMED.items():
        for name in config.options(root, group):
            _try(problems, partial(config.load_named, root, group, name, kind))
    for recipe in config.options(root, "recipe"):
        _try(problems, partial(config.compose, root, [f"recipe={recipe}"]))
    for model in config.options(root, "model"):
        _try(problems, partial(config.compose, root, [*overrides, f"model={model}"]))
    for judge in config.options(root, "judge"):
        _try(problems, partial(config.compose, root, [*overrides, f"judge={judge}"]))
    for name in config.options(root, "experiment"):
        _try(problems, partial(config.compose, root, [f"experiment={name}"]))
    for engine in config.options(root, "engine"):
        _try(problems, partial(_engine, root, [*overrides, f"engine={engine}"]))
    pieces: list[Slice] = []
    try:
        conf = _with_all_seeds(everything(root))
        _sources(root, problems)
        frames = [config.compose(root, [*overrides, f"frame={name}"]).frame for name in config.options(root, "frame")]
        maker = slices.Maker(root, conf)
        for name, language in conf.language.items():
            try:
                alone = msgspec.structs.replace(conf, language={name: language})
                piece = maker.slice(name, slices.read_seeds(root, alone))
                for frame in frames:
                    references.check_prompts(msgspec.structs.replace(piece, frame=frame))
                pieces.append(piece)
            except M2LError as err:
                problems.append(str(err))
        yield from _coverage(conf, pieces)
    except M2LError as err:
        problems.append(str(err))
    problems = list(dict.fromkeys(problems))
    yield from problems
    if problems:
        raise ConfigError(f"conf: {len(problems)} problems, named above. Correct them and run `m2l check` again.")
    counts = ", ".join(f"{len(config.options(root, group))} {group}" for group in config.GROUPS)
    yield f"conf: all is well ({counts})."


def everything(root: Path, languages: str = config.ALL) -> Config:
    """Return a configuration of all that `conf/` declares, on the fake engine; raises ConfigError."""
    named = [f"{group}=[{languages if group == 'language' else config.ALL}]" for group in config.NAMED]
    targets = [f"{group}=[{','.join(config.options(root, group))}]" for group in ("filter", "exporter")]
    judge = [f"judge={name}" for name in config.options(root, "judge")[:1]]
    conf = config.compose(root, [*named, *targets, *judge, "engine=fake"])
    own = {
        name: target for name, target in conf.filter.items() if "files" not in target
    }  # the others need a user's files
    return msgspec.structs.replace(conf, filter=own)


def check_languages(root: Path, names: list[str]) -> Iterator[str]:
    """Yield what is wrong with the text of some languages, and how much was looked at.

    Raises ConfigError with the number of problems after yielding each of them.
    """
    known = config.options(root, "language")
    for name in names:
        if name not in known:
            raise ConfigError(unknown("command line", "language", name, known))
    conf = everything(root, ",".join(names))
    problems = 0
    for name in names:
        piece = alone(root, conf, name)
        found = language_problems(piece)
        yield from found
        problems += len(found)
        without = [task for task in conf.task if task not in piece.task]
        yield f"{name}: {len(found)} problems in its text and {len(piece.seeds)} seeds ({_verified(piece.language)})."
        if without:
            yield f"{name}: no seeds yet of {', '.join(without)}; add some, or leave these out of the recipe."
    if problems:
        raise ConfigError(f"conf: {problems} problems, named above. Correct them and run the same command again.")


def language_problems(piece: Slice) -> list[str]:
    """Return what is wrong with the text of a language: its declaration, its worked examples, its seeds."""
    where = f"conf/language/{piece.language_code}.yaml"
    return [
        *(f"{where}: {problem}" for problem in _texts(piece.language)),
        *(f"{where}: {problem}" for problem in _examples(piece.language)),
        *_seeds(piece),
    ]


def alone(root: Path, conf: Config, name: str) -> Slice:
    """Return the slice of one language with every seed that it has, of the tasks that it has seeds of."""
    only = msgspec.structs.replace(_with_all_seeds(conf), language={name: conf.language[name]})
    found = slices.read_seeds(root, only)
    tasks = {seed.task for seed in found.seeds[name]}
    some = msgspec.structs.replace(only, task={task: conf.task[task] for task in conf.task if task in tasks})
    return slices.Maker(root, some).slice(name, found)


def _with_all_seeds(conf: Config) -> Config:
    every = msgspec.structs.replace(conf.recipe, seeds_per_task=sys.maxsize, seeds_of_task={}, operators_per_seed=None)
    return msgspec.structs.replace(conf, recipe=every)


def _verified(language: Language) -> str:
    if language.verify.method == "detectors":
        return f"language verified by detectors that say {' or '.join(language.verify.codes)}"
    return "its script alone verified" if language.verify.method == "script_only" else "nothing verified"


def _try(problems: list[str], attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except M2LError as err:
        problems.append(str(err))


def _engine(root: Path, overrides: list[str]) -> None:
    config.load_class(config.compose(root, overrides).engine, Engine, where="conf/engine")


def _sources(root: Path, problems: list[str]) -> None:
    """Make every seed source; what it would read need not be there."""
    overrides = [f"seed_source=[{','.join(config.options(root, 'seed_source'))}]", "engine=fake"]
    for name, target in config.compose(root, overrides).seed_source.items():
        where = f"conf/seed_source/{name}.yaml"
        _try(problems, partial(config.instantiate, target, SeedSource, where=where))


def _coverage(conf: Config, pieces: list[Slice]) -> Iterator[str]:
    """Yield the coverage matrix: languages by tasks in seeds, then operators and forms by task."""
    tasks = sorted(conf.task)
    yield f"{'seeds':<10} " + " ".join(f"{number:>2}" for number in range(1, len(tasks) + 1))
    for piece in pieces:
        counts = Counter(seed.task for seed in piece.seeds)
        aside = f"  {len(piece.quarantined)} rows put aside" if piece.quarantined else ""
        yield f"{piece.language_code:<10} " + " ".join(f"{counts[task]:>2}" for task in tasks) + aside
    for number, task in enumerate(tasks, start=1):
        operators = [operator for operator in conf.operator.values() if task in operator.applies_to]
        forms = {language for operator in operators for language in operator.prompt}
        families = {operator.family for operator in operators}
        yield (
            f"{number:>2} {task}: {len(operators)} operators of {len(families)} families, "
            f"written in {len(forms)} languages"
        )
    families = {variation.family for variation in conf.variation.values()}
    yield f"{len(conf.variation)} variations of {len(families)} families"


def _texts(language: Language) -> Iterator[str]:
    """Name the texts of a language that are not in its script, or not recognised as it."""
    words = {
        "labels": [getattr(language.labels, name) for name in language.labels.__struct_fields__],
        "anchors": language.anchors.all,
        "varieties": language.varieties,
        "formats": language.formats,
        "own_name": [language.own_name],
        "neighbour.name": [language.neighbour.name],
    }
    for key, texts in words.items():
        yield from (
            f"{key}: not in {language.script}: {t!r}" for t in texts if not in_script(t, language, MIN_SCRIPT_SHARE)
        )
    sentences = {"sample": language.sample}
    for family, shots in language.shots.evolve.items():
        for number, shot in enumerate(shots):
            sentences[f"shots.evolve.{family}.{number}.instruction"] = shot.instruction
            sentences[f"shots.evolve.{family}.{number}.evolved"] = shot.evolved
    for family, dialogues in language.shots.dialogue.items():
        for number, dialogue in enumerate(dialogues):
            for place, content in enumerate(dialogue):
                if family != "language_change" or place % 2 == 0 or place == 1:
                    sentences[f"shots.dialogue.{family}.{number}.{place}"] = content
    for key, text in sentences.items():
        if not in_script(text, language, MIN_SCRIPT_SHARE):
            yield f"{key}: not in {language.script}: {text!r}"
        elif not in_language(text, language):
            yield f"{key}: not recognised as {language.name}: {text!r}"


def _examples(language: Language) -> Iterator[str]:
    """Name the worked examples that do not show what their family is about."""
    aims = {
        "dialect": language.varieties,
        "localization": language.anchors.all,
        "format": language.formats,
        "cross_lingual": (language.neighbour.name,),
    }
    for family, terms in aims.items():
        for number, shot in enumerate(language.shots.evolve.get(family, ())):
            if not mentions(shot.evolved, terms):
                yield f"shots.evolve.{family}.{number}.evolved: names none of {', '.join(terms)}"
    for family, dialogues in language.shots.dialogue.items():
        if any(len(dialogue) < 4 or len(dialogue) % 2 for dialogue in dialogues):
            yield f"shots.dialogue.{family}: a dialogue has two exchanges or more, and ends with the assistant"


def _seeds(piece: Slice) -> Iterator[str]:
    """Name seeds that were put aside, not answered as their task wants, not recognised, or alike."""
    language = piece.language
    yield from (f"{row.where}: {row.reason}" for row in piece.quarantined)
    whole = []
    for seed in piece.seeds:
        turns = (f"{seed.instruction}\n{seed.input or ''}".strip(), seed.response)
        case = Case(language=language, others=piece.others, seed=seed, instruction=seed.instruction, turns=turns)
        where = f"{seed.origin}: {seed.task} {seed.instruction!r}"
        for check in instances(piece.task[seed.task].checks, f"conf/task/{seed.task}.yaml"):
            if not check.holds(case):
                yield f"{where}: {check.reason}: {seed.response!r}"
        own = turns[0] if seed.task == "translation" else "\n".join(turns)
        if not in_script(own, language, MIN_SCRIPT_SHARE) or not in_language(own, language):
            yield f"{where}: not recognised as {language.name}"
        whole.append("\n".join(turns))
    sets = [set(shingles(text)) for text in whole]
    for one, other in combinations(range(len(sets)), 2):
        if len(sets[one] & sets[other]) >= NEAR * len(sets[one] | sets[other]):
            first, second = piece.seeds[one], piece.seeds[other]
            yield f"{first.origin}: {first.instruction!r} is a near-duplicate of {second.instruction!r}"
