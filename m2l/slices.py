"""From declarations to slices: each language's share of the recipe, resolved and digested."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec

from m2l import config, models, prompts, references, templates
from m2l.digest import canonical, digest, digest_bytes
from m2l.engine.base import Engine
from m2l.errors import BuildError, ConfigError, SeedError, unknown
from m2l.process import writing
from m2l.seed_sources.base import Found, SeedSource, Wanted
from m2l.spec import (
    ENGLISH,
    Config,
    CriterionForm,
    DatasetSpec,
    JudgeForm,
    Language,
    LanguageFacts,
    MaxTokens,
    Model,
    ModelIdentity,
    OperatorForm,
    Quarantined,
    Seed,
    Slice,
    Target,
    TurnForm,
    VariationForm,
)

T = TypeVar("T")

FOLDER = Path("cache/slices")
DATASET = "dataset"

_NO_EFFECT_ON_ROWS = {
    "__main__.py", "assemble.py", "audit.py", "catalogue.py", "changes.py", "cli.py", "comparison.py", "complete.py",
    "diff.py", "download.py", "dvc_lock.py", "dvc_rwlock.py", "engine", "experiment.py", "export.py", "exporters",
    "forecast.py", "gguf.py", "groups.py", "ledger.py", "lineage.py", "machine.py", "metrics.py", "models.py",
    "parts.py", "plan.py", "preview.py", "process.py", "progress.py", "reference.py", "report", "salvage.py",
    "sample.py", "sketch.py", "store.py", "store_tables.py", "sweep.py", "terminal.py", "upkeep.py", "watch.py",
    "why.py",
}  # fmt: skip
"""Parts of the package whose edits change no row; an engine's version is part of each key instead."""

_MAKES_THE_SAMPLE = {"assemble.py", "exporters", "metrics.py", "parts.py", "sample.py", "sketch.py"}
"""Parts of the package whose edits change the dataset, and no language's tables."""


class Composed(msgspec.Struct, frozen=True):
    """The slices of a recipe, by language code, what becomes of them, and how many seeds the recipe declares."""

    slices: dict[str, Slice]
    dataset: DatasetSpec
    seeds_wanted: int


def compose(root: Path, overrides: Sequence[str]) -> Composed:
    """Compose `conf/` with overrides and resolve it into slices.

    Raises ConfigError, TemplateError, SeedError or ModelError before any model loads.
    """
    return resolve(root, config.compose(root, overrides))


def resolve(root: Path, conf: Config) -> Composed:
    """Resolve a composed configuration into slices; raises what `compose` raises."""
    maker = Maker(root, conf)
    found = read_seeds(root, conf)
    slices = {name: maker.slice(name, found) for name in sorted(conf.language)}
    for name, piece in slices.items():
        if not _stands(root / FOLDER / f"{name}.json", content(piece)):  # else it was checked when it was written
            references.check_prompts(piece)
    dataset = DatasetSpec(
        code=code_digest(_NO_EFFECT_ON_ROWS - _MAKES_THE_SAMPLE),
        recipe=conf.recipe.name,
        languages={name: language.facts for name, language in sorted(conf.language.items())},
        model=conf.model.bare,
        identity=maker.identity,
        operators={
            task: tuple(sorted(name for name, operator in conf.operator.items() if task in operator.applies_to))
            for task in sorted(conf.task)
        },
        variations=tuple(sorted(conf.variation)),
        quota=conf.recipe.quota,
        validation=conf.recipe.validation,
        quarantined=tuple(found.quarantined.get("", ())),
        exporter=conf.exporter,
        filter=maker.filter,
        prompts=_prompts(slices),
        quantisation=maker.quantisation,
        citations={str(t["source"]): str(t["citation"]) for t in conf.seed_source.values() if "citation" in t},
    )
    wanted = sum(map(conf.recipe.seeds_wanted, conf.task)) * len(conf.language)
    return Composed(slices, dataset, wanted)


def write(composed: Composed, folder: Path) -> list[str]:
    """Write one file a slice, only where its content changed, drop those of no slice, and name the changed."""
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Slice | DatasetSpec] = {**composed.slices, DATASET: composed.dataset}
    changed = []
    for name, value in contents.items():
        path = folder / f"{name}.json"
        data = content(value)
        if not _stands(path, data):
            with writing(path) as part:
                part.write_bytes(data)
            changed.append(name)
    for path in folder.glob("*.json"):
        if path.stem not in contents:
            path.unlink()
    return changed


def content(value: Slice | DatasetSpec) -> bytes:
    """Return what the file of a slice holds."""
    return msgspec.json.format(canonical(value), indent=1) + b"\n"


def file_digest(data: bytes) -> str:
    """Return the digest by which `dvc.lock` names a file of these bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def read(folder: Path, language: str) -> Slice:
    """Read the slice of a language; raises BuildError if `compose` has not written it."""
    return _decode(folder / f"{language}.json", Slice, language)


def read_dataset(folder: Path) -> DatasetSpec:
    """Read what `assemble` needs; raises BuildError if `compose` has not written it."""
    return _decode(folder / f"{DATASET}.json", DatasetSpec, DATASET)


def code_digest(without: Collection[str] = _NO_EFFECT_ON_ROWS) -> str:
    """Return a digest of the sources that rows depend on, so that an edit of a parser or filter rebuilds tables."""
    package = Path(__file__).parent
    files = sorted(path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in without)
    return digest([[str(path.relative_to(package)), digest_bytes(path.read_bytes())] for path in files])


def _stands(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _decode(path: Path, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as err:
        known = [file.stem for file in path.parent.glob("*.json")]
        hint = unknown("slices", "language", name, known) if known else f"{path}: missing."
        raise BuildError(f"{hint} Run `dvc repro`, which composes it.") from err
    except msgspec.MsgspecError as err:
        raise BuildError(f"{path}: {err}. Run `dvc repro -f compose`.") from err


def identify(root: Path, conf: Config, model: Model, *, chat: bool) -> tuple[ModelIdentity, Target]:
    """Return the identity of a model on the chosen engine, and the engine's settings for it.

    Raises ModelError if the engine needs the model's file and it is not there, and
    ConfigError if it is to chat and cannot.
    """
    engine = config.load_class(conf.engine, Engine, where="conf/engine")
    if engine.local:
        known = models.inspected(root, model, [])
        content, template, n_ctx_train = f"sha256:{known.sha256}", known.chat_template, known.n_ctx_train
        if chat and template is None:
            raise ConfigError(
                f"conf/model/{model.name}.yaml: the GGUF has no chat template, but the frame is a chat. "
                f"Use frame=completion."
            )
    else:
        content, template, n_ctx_train = engine.content(model.name, conf.engine), None, 0
    settings = engine.resolved(conf.engine, n_ctx_train)
    backend = engine.backend_of(conf.engine)
    return ModelIdentity(name=model.name, content=content, chat_template=template, backend=backend), settings


def _prompts(slices: Mapping[str, Slice]) -> dict[str, str]:
    """Return a digest of each operator's and variation's directives, in all languages of the recipe, and the frame's.

    A language that the recipe lacks is no part of it, so that editing its form changes no dataset.
    """
    forms: dict[str, list[list[str]]] = {}
    for language, piece in sorted(slices.items()):
        for name, operator in sorted(piece.operator.items()):
            forms.setdefault(f"operator/{name}", []).append([language, operator.prompt])
        for name, variation in sorted(piece.variation.items()):
            forms.setdefault(f"variation/{name}", []).append([language, *(turn.prompt for turn in variation.turns)])
    frame = next(iter(slices.values())).frame
    return {name: digest(form) for name, form in forms.items()} | {"frame": digest(frame)}


def _fertility(root: Path, conf: Config) -> dict[str, float]:
    """Return by language how many times English's tokens its text takes, in the model's own tokenizer if it is here."""
    reference = config.load_named(root, "language", ENGLISH, Language).sample
    samples = {name: language.sample for name, language in conf.language.items()}
    texts = sorted({reference, *samples.values()})
    if config.load_class(conf.engine, Engine, where="conf/engine").local:
        known = models.inspected(root, conf.model, texts)
        sizes = {text: known.tokens[digest(text)] for text in texts}
    else:
        sizes = {text: len(text.encode()) for text in texts}
    return {name: max(1.0, sizes[text] / sizes[reference]) for name, text in samples.items()}


def read_seeds(root: Path, conf: Config) -> Found:
    """Return the seeds of all sources by language, and the rows that cannot be used; raises SeedError."""
    wanted = Wanted(
        languages=conf.language,
        tasks=conf.task,
        all_languages=_every_language(root) if _names_languages(conf) else conf.language,
        all_codes=frozenset(config.options(root, "language")),
        all_tasks=frozenset(config.options(root, "task")),
    )
    seeds: dict[str, dict[str, Seed]] = {name: {} for name in conf.language}
    aside: dict[str, list[Quarantined]] = {name: [] for name in ("", *conf.language)}
    for name, target in conf.seed_source.items():
        source = config.instantiate(target, SeedSource, where=f"conf/seed_source/{name}.yaml")
        found = source.read(root, wanted)
        for language, rows in found.seeds.items():
            for seed in rows:
                seeds[language].setdefault(seed.seed_id, seed)
        for language, put_aside in found.quarantined.items():
            aside[language] += put_aside
    for language, usable in seeds.items():
        if not usable and aside[language]:
            first = aside[language][0]
            raise SeedError(
                f"{first.where}: {first.reason}; no row of {len(aside[language])} is a seed for {language}. "
                f"Correct them, or add seeds."
            )
    return Found(seeds={name: list(rows.values()) for name, rows in seeds.items()}, quarantined=aside)


def _every_language(root: Path) -> dict[str, Language]:
    return {name: config.load_named(root, "language", name, Language) for name in config.options(root, "language")}


def _names_languages(conf: Config) -> bool:
    """Say whether a source tells languages by a column, so that all their names must be known."""
    return any("language" in target for target in conf.seed_source.values())


class Maker:
    """Makes the slices of one composed configuration; raises ConfigError or ModelError for what none can be made of."""

    def __init__(self, root: Path, conf: Config) -> None:
        references.check(root, conf)
        self.root, self.conf, self.code = root, conf, code_digest()
        self.identity, self._engine = identify(root, conf, conf.model, chat=conf.frame.kind == "chat")
        self._factors = _fertility(root, conf)
        local = config.load_class(conf.engine, Engine, where="conf/engine").local
        self.quantisation = models.inspected(root, conf.model, []).quantisation if local else ""
        self._judged_by = self._judge_model()
        self._operator = {
            name: operator for name, operator in conf.operator.items() if conf.task.keys() & {*operator.applies_to}
        }
        self._facts: dict[str, LanguageFacts] = {}
        self.filter = {name: _with_files(root, name, target) for name, target in conf.filter.items()}

    def slice(self, name: str, found: Found) -> Slice:
        """Return the slice of one language, with its share of the seeds that were found."""
        factor = self._factors[name]
        conf, language, recipe = self.conf, self.conf.language[name], self.conf.recipe
        by_task = {task: [seed for seed in found.seeds[name] if seed.task == task] for task in sorted(conf.task)}
        for task, rows in by_task.items():
            if not rows:
                raise ConfigError(f"data/seeds: no seed of task {task!r} in {name}. Add one, or drop the task.")
        used = tuple(seed for task, rows in by_task.items() for seed in rows[: recipe.seeds_wanted(task)])
        shown = conf.frame.shots + 1
        examples = tuple(seed for rows in by_task.values() for seed in rows[:shown])
        respond = recipe.max_tokens.respond
        sampling = conf.model.sampling
        return Slice(
            code=self.code,
            language_code=name,
            language=language,
            task=conf.task,
            operator={
                key: OperatorForm(
                    family=operator.family,
                    applies_to=operator.applies_to,
                    keeps_answer=operator.keeps_answer,
                    checks=operator.checks,
                    prompt=_form(operator.prompt, name, f"conf/operator/{key}.yaml"),
                )
                for key, operator in self._operator.items()
            },
            variation={
                key: VariationForm(
                    family=variation.family,
                    turns=tuple(
                        TurnForm(
                            prompt=_form(turn.prompt, name, f"conf/variation/{key}.yaml"),
                            answer_in=turn.answer_in,
                            checks=turn.checks,
                        )
                        for turn in variation.turns
                    ),
                )
                for key, variation in conf.variation.items()
            },
            others=self._others(name, used),
            frame=conf.frame,
            model=conf.model.bare,
            identity=self.identity,
            engine=self._engine,
            sampling=msgspec.structs.replace(sampling, dry_allowed_length=round(sampling.dry_allowed_length * factor)),
            max_tokens=MaxTokens(
                **{step: math.ceil(getattr(recipe.max_tokens, step) * factor) for step in MaxTokens.__struct_fields__}
            ),
            answer_tokens={
                task: math.ceil(min(respond, declared.max_tokens) * factor) for task, declared in conf.task.items()
            },
            operators_per_seed=recipe.operators_per_seed,
            variations_per_instruction=recipe.variations_per_instruction,
            repairs=recipe.repairs if sampling.temperature > 0 else 0,
            seeds=used,
            examples=examples,
            quarantined=tuple(found.quarantined.get(name, ())),
            filter=self.filter,
            filter_order=tuple(self.filter),
            judge=self._judge(name),
        )

    def _judge_model(self) -> tuple[Model, ModelIdentity, Target, bool] | None:
        """Return the judge's model, what it is, the engine that it is asked on, and whether it chats."""
        judge, conf = self.conf.judge, self.conf
        if judge is None:
            return None
        if judge.model is None:
            model, chat = conf.model, conf.frame.kind == "chat"
        else:
            declared = config.load_model(self.root, judge.model)
            model, chat = declared.model, declared.frame == "chat"
        on = msgspec.structs.replace(conf, engine=conf.engine | judge.engine)
        identity, engine = identify(self.root, on, model, chat=chat)
        return model.bare, identity, engine, chat

    def _judge(self, name: str) -> JudgeForm | None:
        """Return the judge in the form that serves a language."""
        judge = self.conf.judge
        if judge is None or self._judged_by is None:
            return None
        where = f"conf/judge/{judge.name}.yaml"
        model, identity, engine, chat = self._judged_by
        return JudgeForm(
            name=judge.name,
            kinds=judge.kinds,
            scale=judge.scale,
            max_tokens=judge.max_tokens,
            sampling=judge.sampling,
            rubric=_text(judge.rubric, name, f"{where}: rubric"),
            criteria=tuple(
                CriterionForm(name=criterion.name, text=_text(criterion.text, name, f"{where}: {criterion.name}"))
                for criterion in judge.criteria
            ),
            shots=() if chat else judge.shots.get(name, judge.shots.get(ENGLISH, ())),
            template=judge.chat if chat else judge.completion,
            chat=chat,
            model=model,
            identity=identity,
            engine=engine,
        )

    def _others(self, name: str, seeds: Sequence[Seed]) -> dict[str, LanguageFacts]:
        """Return the facts of the languages that a turn may be in beside its own."""
        codes = {self.conf.language[name].neighbour.code}
        for seed in seeds:
            target = self.conf.task[seed.task].target(seed)
            codes |= set() if target is None else {target}
        for code in sorted(codes - self._facts.keys()):
            if code in self.conf.language:
                self._facts[code] = self.conf.language[code].facts
            else:
                self._facts[code] = config.load_named(self.root, "language", code, Language).facts
        return {code: self._facts[code] for code in sorted(codes)}


def _text(forms: dict[str, str], language: str, where: str) -> str:
    """Return the form of a plain text that serves a language: its own, or the English one."""
    if language not in forms and ENGLISH not in forms:
        raise ConfigError(f"{where} has no form in {language} or {ENGLISH}. Add one.")
    return forms.get(language, forms.get(ENGLISH, "")).strip()


def _with_files(root: Path, name: str, target: Target) -> Target:
    """Return a filter with the digest of each file that it reads, so that an edit of one is seen as a change."""
    if "files" not in target:
        return target
    found: dict[str, str] = {}
    for pattern in target["files"]:
        paths = sorted(path for path in root.glob(pattern) if path.is_file())
        if not paths:
            hint = "Put it there, or leave the filter out of conf/config.yaml."
            raise ConfigError(f"conf/filter/{name}.yaml: no file is {pattern!r}. {hint}")
        found |= {str(path.relative_to(root)): digest_bytes(path.read_bytes()) for path in paths}
    return target | {"files": found}


def _form(forms: dict[str, str], language: str, where: str) -> str:
    """Return the form of a directive that serves a language: its own, or the English one."""
    key = language if language in forms else ENGLISH
    if key not in forms:
        raise ConfigError(f"{where}: prompt has no form in {language} or {ENGLISH}. Add one.")
    return _checked(forms[key], f"{where}: prompt.{key}")


@lru_cache(maxsize=16384)
def _checked(form: str, where: str) -> str:
    templates.check(form, prompts.DIRECTIVE_VARIABLES, where=where)
    if not form.strip():
        raise ConfigError(f"{where} is empty. Write it.")
    return form.strip()
