"""From declarations to slices: each language's share of the recipe, resolved and digested."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from m2l import config, evolve, models, prompts, templates
from m2l.digest import canonical, digest, digest_bytes
from m2l.engine.base import Engine
from m2l.errors import BuildError, ConfigError, unknown
from m2l.exporters.base import Exporter
from m2l.filters.base import Filter
from m2l.process import writing
from m2l.records import Turn
from m2l.seeds import SeedSource
from m2l.spec import (
    ENGLISH,
    Config,
    DatasetSpec,
    Directive,
    Language,
    MaxTokens,
    ModelIdentity,
    Quarantined,
    Seed,
    Slice,
)

T = TypeVar("T")

FOLDER = Path("cache/slices")
DATASET = "dataset"

_NO_EFFECT_ON_ROWS = {
    "__main__.py", "checks.py", "cli.py", "engine", "lineage.py", "models.py", "plan.py", "process.py", "progress.py",
    "store.py", "sweep.py",
}  # fmt: skip
"""Parts of the package whose edits change no row; an engine's version is part of each key instead."""


class Composed(msgspec.Struct, frozen=True):
    """The slices of a recipe, by language code, and what becomes of them."""

    slices: dict[str, Slice]
    dataset: DatasetSpec


def compose(root: Path, overrides: Sequence[str]) -> Composed:
    """Compose `conf/` with overrides and resolve it into slices.

    Raises ConfigError, TemplateError, SeedError or ModelError before any model loads.
    """
    return resolve(root, config.compose(root, overrides))


def resolve(root: Path, conf: Config) -> Composed:
    """Resolve a composed configuration into slices; raises what `compose` raises."""
    _check_references(root, conf)
    engine = config.load_class(conf.engine, Engine, where="conf/engine")
    identity, factors = _identify(root, conf, engine)
    code = code_digest()
    slices = {name: _slice(root, conf, name, identity, factors[name], code) for name in sorted(conf.language)}
    for piece in slices.values():
        _check_prompts(piece)
    dataset = DatasetSpec(
        code=code,
        recipe=conf.recipe.name,
        languages=dict(sorted(conf.language.items())),
        model=conf.model,
        identity=identity,
        quota=conf.recipe.quota,
        exporter=conf.exporter,
    )
    return Composed(slices, dataset)


def write(composed: Composed, folder: Path) -> list[str]:
    """Write one file a slice, only where its content changed, drop those of no slice, and name the changed."""
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Slice | DatasetSpec] = {**composed.slices, DATASET: composed.dataset}
    changed = []
    for name, value in contents.items():
        path = folder / f"{name}.json"
        data = msgspec.json.format(canonical(value), indent=1) + b"\n"
        if not path.is_file() or path.read_bytes() != data:
            with writing(path) as part:
                part.write_bytes(data)
            changed.append(name)
    for path in folder.glob("*.json"):
        if path.stem not in contents:
            path.unlink()
    return changed


def read(folder: Path, language: str) -> Slice:
    """Read the slice of a language; raises BuildError if `compose` has not written it."""
    return _decode(folder / f"{language}.json", Slice, language)


def read_dataset(folder: Path) -> DatasetSpec:
    """Read what `assemble` needs; raises BuildError if `compose` has not written it."""
    return _decode(folder / f"{DATASET}.json", DatasetSpec, DATASET)


def code_digest() -> str:
    """Return a digest of the sources that rows depend on, so that an edit of a parser or filter rebuilds tables."""
    package = Path(__file__).parent
    files = sorted(
        path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in _NO_EFFECT_ON_ROWS
    )
    return digest([[str(path.relative_to(package)), digest_bytes(path.read_bytes())] for path in files])


def _decode(path: Path, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as err:
        known = [file.stem for file in path.parent.glob("*.json")]
        hint = unknown("slices", "language", name, known) if known else f"{path}: missing."
        raise BuildError(f"{hint} Run `dvc repro`, which composes it.") from err
    except msgspec.MsgspecError as err:
        raise BuildError(f"{path}: {err}. Run `dvc repro -f compose`.") from err


def _identify(root: Path, conf: Config, engine: type[Engine]) -> tuple[ModelIdentity, dict[str, float]]:
    """Return the model's identity, and for each language how many times English's tokens its text takes."""
    reference = config.load_named(root, "language", ENGLISH, Language).sample
    samples = {name: language.sample for name, language in conf.language.items()}
    if engine.local:
        known = models.inspected(root, conf.model, sorted({reference, *samples.values()}))
        content = f"sha256:{known.sha256}"
        sizes = {text: known.tokens[digest(text)] for text in {reference, *samples.values()}}
        template = known.chat_template
        if conf.frame.kind == "chat" and template is None:
            raise ConfigError(
                f"conf/model/{conf.model.name}.yaml: the GGUF has no chat template, but the frame is a chat. "
                f"Use frame=completion."
            )
    else:
        content = engine.content(conf.model.name, conf.engine)
        sizes = {text: len(text.encode()) for text in {reference, *samples.values()}}
        template = None
    identity = ModelIdentity(name=conf.model.name, content=content, chat_template=template, backend=engine.backend())
    return identity, {name: max(1.0, sizes[text] / sizes[reference]) for name, text in samples.items()}


def _slice(root: Path, conf: Config, name: str, identity: ModelIdentity, factor: float, code: str) -> Slice:
    language = conf.language[name]
    seeds, aside = _seeds(root, conf, name)
    used = tuple(seed for task in sorted(conf.task) for seed in _of_task(seeds, task)[: conf.recipe.seeds_per_task])
    for task in sorted(conf.task):
        if not _of_task(seeds, task):
            raise ConfigError(f"data/seeds: no seed of task {task!r} in {name}. Add one, or drop the task.")
    shown = conf.frame.shots + 1
    examples = tuple(seed for task in sorted(conf.task) for seed in _of_task(seeds, task)[:shown])
    values = {"language": {"name": language.name, "own_name": language.own_name}}
    budget = {step: math.ceil(getattr(conf.recipe.max_tokens, step) * factor) for step in MaxTokens.__struct_fields__}
    return Slice(
        code=code,
        language_code=name,
        language=language,
        task=conf.task,
        operator={
            key: Directive(
                family=operator.family,
                applies_to=operator.applies_to,
                prompts=(_directive(operator.prompt, name, values, f"conf/operator/{key}.yaml"),),
            )
            for key, operator in conf.operator.items()
        },
        variation={
            key: Directive(
                family=variation.family,
                prompts=tuple(
                    _directive(turn.prompt, name, values, f"conf/variation/{key}.yaml") for turn in variation.turns
                ),
            )
            for key, variation in conf.variation.items()
        },
        frame=conf.frame,
        model=conf.model,
        identity=identity,
        engine=conf.engine,
        sampling=msgspec.structs.replace(
            conf.model.sampling, dry_allowed_length=round(conf.model.sampling.dry_allowed_length * factor)
        ),
        max_tokens=MaxTokens(**budget),
        variations_per_instruction=conf.recipe.variations_per_instruction,
        seeds=used,
        examples=examples,
        quarantined=tuple(aside),
        filter=conf.filter,
    )


def _seeds(root: Path, conf: Config, language: str) -> tuple[list[Seed], list[Quarantined]]:
    seeds: list[Seed] = []
    aside: list[Quarantined] = []
    for name, target in conf.seed_source.items():
        source = config.instantiate(target, SeedSource, where=f"conf/seed_source/{name}.yaml")
        found, put_aside = source.read(root, language, conf.task)
        seeds += found
        aside += put_aside
    return seeds, aside


def _of_task(seeds: list[Seed], task: str) -> list[Seed]:
    return [seed for seed in seeds if seed.task == task]


def _directive(forms: dict[str, str], language: str, values: Mapping[str, object], where: str) -> str:
    key = language if language in forms else ENGLISH
    if key not in forms:
        raise ConfigError(f"{where}: prompt has no form in {language} or {ENGLISH}. Add one.")
    templates.check(forms[key], frozenset(values), where=f"{where}: prompt.{key}")
    text = templates.render(forms[key], values, where=f"{where}: prompt.{key}")
    if not text:
        raise ConfigError(f"{where}: prompt.{key} is empty. Write it.")
    return text


def _check_references(root: Path, conf: Config) -> None:
    tasks = config.options(root, "task")
    for name, operator in conf.operator.items():
        for task in operator.applies_to:
            if task not in tasks:
                raise ConfigError(unknown(f"conf/operator/{name}.yaml", "task", task, tasks))
    for task in conf.task:
        if not any(task in operator.applies_to for operator in conf.operator.values()):
            raise ConfigError(f"conf/recipe: no operator applies to task {task!r}. Add one, or drop the task.")
    languages = config.options(root, "language")
    forms = {f"conf/operator/{name}.yaml": operator.prompt for name, operator in conf.operator.items()}
    for name, variation in conf.variation.items():
        for number, turn in enumerate(variation.turns):
            forms[f"conf/variation/{name}.yaml: turns.{number}"] = turn.prompt
    for where, prompt in forms.items():
        for language in prompt:
            if language not in languages:
                raise ConfigError(unknown(where, "language", language, languages))
    for name, target in conf.filter.items():
        config.instantiate(target, Filter, where=f"conf/filter/{name}.yaml")
    for name, target in conf.exporter.items():
        config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml")
    for step, allowed in prompts.VARIABLES.items():
        frame_step = getattr(conf.frame, step)
        if frame_step is not None:
            templates.check(frame_step.template, allowed, where=f"conf/frame: {step}.template")


def _check_prompts(piece: Slice) -> None:
    """Render a request of every kind, so that one that cannot be rendered stops before a model loads."""
    writer = prompts.Prompts(piece)
    drafts = evolve.drafts(piece)
    for draft in drafts:
        writer.evolve(draft)
    first = replace(drafts[0], turns=(Turn("user", "?"), Turn("assistant", "?")), instruction="?")
    writer.respond(first)
    for name, variation in piece.variation.items():
        talk = replace(first, variation=name, variation_family=variation.family, variation_prompts=variation.prompts)
        writer.user_turn(talk)
        writer.assistant_turn(talk)
