"""What is proved before a model loads: every name exists, every class can be made, every prompt renders."""

from dataclasses import replace
from pathlib import Path

from m2l import config, judging, prompts, templates
from m2l.checks.declared import instances
from m2l.draft import Draft
from m2l.engine.base import Engine
from m2l.errors import ConfigError, unknown
from m2l.exporters.base import Exporter
from m2l.filters.base import Filter
from m2l.records import Turn
from m2l.spec import Config, JudgeSpec, Slice, Task
from m2l.text import knows_script


def check(root: Path, conf: Config) -> None:
    """Raise ConfigError or TemplateError for a name that does not exist, or a class that cannot be made."""
    tasks = config.options(root, "task")
    for name, operator in conf.operator.items():
        for task in operator.applies_to:
            if task not in tasks:
                raise ConfigError(unknown(f"conf/operator/{name}.yaml", "task", task, tasks))
    for task in conf.task:
        if not any(task in operator.applies_to for operator in conf.operator.values()):
            raise ConfigError(f"conf/recipe: no operator applies to task {task!r}. Add one, or drop the task.")
    languages = config.options(root, "language")
    for name, language in conf.language.items():
        where = f"conf/language/{name}.yaml"
        if not knows_script(language.script):
            raise ConfigError(
                f"{where}: script {language.script!r} is no script. Use its ISO 15924 code, such as Latn."
            )
        for key, words in (
            ("varieties", language.varieties),
            ("anchors", language.anchors.all),
            ("formats", language.formats),
        ):
            if not words:
                raise ConfigError(f"{where}: {key} is empty, from which directives draw. Write at least one.")
        if language.neighbour.code not in languages:
            raise ConfigError(unknown(where, "language", language.neighbour.code, languages))
    forms = {f"conf/operator/{name}.yaml": operator.prompt for name, operator in conf.operator.items()}
    forms |= {f"conf/task/{name}.yaml": task.prompt for name, task in conf.task.items()}
    for name, variation in conf.variation.items():
        for number, turn in enumerate(variation.turns):
            forms[f"conf/variation/{name}.yaml: turns.{number}"] = turn.prompt
            instances(turn.checks, f"conf/variation/{name}.yaml")
    for name, declared in conf.task.items():
        instances(declared.checks, f"conf/task/{name}.yaml")
        _check_fields(name, declared)
    for name, operator in conf.operator.items():
        instances(operator.checks, f"conf/operator/{name}.yaml")
    for task in conf.recipe.seeds_of_task:
        if task not in tasks:
            raise ConfigError(unknown(f"conf/recipe/{conf.recipe.name}.yaml", "task", task, tasks))
    _check_weights(root, conf)
    for where, prompt in forms.items():
        for form in prompt:
            if form not in languages:
                raise ConfigError(unknown(where, "language", form, languages))
    for name, target in conf.filter.items():
        made = config.instantiate(target, Filter, where=f"conf/filter/{name}.yaml")
        if made.needs_scores and conf.judge is None:
            raise ConfigError(f"conf/filter/{name}.yaml: no judge gives marks. Choose one, such as judge=quality.")
    if conf.judge is not None:
        _check_judge(root, conf.judge)
    config.arguments(conf.engine, Engine, where="conf/engine")
    for name, target in conf.exporter.items():
        config.instantiate(target, Exporter, where=f"conf/exporter/{name}.yaml")
    for step, allowed in prompts.VARIABLES.items():
        frame_step = getattr(conf.frame, step)
        if frame_step is not None:
            templates.check(frame_step.template, allowed, where=f"conf/frame: {step}.template")


def _check_judge(root: Path, judge: JudgeSpec) -> None:
    """Raise ConfigError or TemplateError for a judge whose marks, criteria, examples or templates cannot be."""
    where = f"conf/judge/{judge.name}.yaml"
    if list(judge.scale) != sorted(set(judge.scale)) or len(judge.scale) < 2:
        raise ConfigError(f"{where}: scale is no list of two marks or more, the worst first. Correct it.")
    names = [criterion.name for criterion in judge.criteria]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"{where}: criteria are none, or one stands twice. Name each once.")
    if not judge.kinds:
        raise ConfigError(f"{where}: kinds is empty, so that nothing is judged. Name one, or choose no judge.")
    for language, shots in judge.shots.items():
        for number, shot in enumerate(shots):
            if set(shot.marks) != set(names) or not set(shot.marks.values()) <= set(judge.scale):
                raise ConfigError(
                    f"{where}: shots.{language}.{number}.marks are not one mark of the scale for each criterion "
                    f"({', '.join(names)}). Correct them."
                )
    languages = config.options(root, "language")
    for form in {*judge.rubric, *judge.shots, *(form for criterion in judge.criteria for form in criterion.text)}:
        if form not in languages:
            raise ConfigError(unknown(where, "language", form, languages))
    for kind in ("chat", "completion"):
        templates.check(getattr(judge, kind), judging.VARIABLES, where=f"{where}: {kind}")


def _check_weights(root: Path, conf: Config) -> None:
    """Raise ConfigError if the recipe weighs something that `conf/` does not declare."""
    for axis in conf.recipe.quota.weight.__struct_fields__:
        known = config.options(root, axis)
        for name in getattr(conf.recipe.quota.weight, axis):
            if name not in known:
                raise ConfigError(unknown(f"conf/recipe/{conf.recipe.name}.yaml: quota.weight", axis, name, known))


def _check_fields(name: str, task: Task) -> None:
    """Raise ConfigError if a check of a task, or its prompt, names a field that the task does not have."""
    where = f"conf/task/{name}.yaml"
    for check in task.checks:
        if check.get("field", next(iter(task.fields), None)) not in {*task.fields, None}:
            raise ConfigError(unknown(where, "field", check["field"], list(task.fields)))
    for form, text in task.prompt.items():
        templates.check(text, frozenset(task.fields), where=f"{where}: prompt.{form}")


def check_prompts(piece: Slice) -> None:
    """Render every directive, and every frame for each family, so that what fails stops before a model loads."""
    writer = prompts.Prompts(piece)
    seed_of = {seed.task: seed for seed in reversed(piece.seeds)}
    families: dict[str, Draft] = {}
    for name, operator in piece.operator.items():
        prompt = prompts.directive(operator.prompt, piece.language, name)
        if operator.family not in families:
            task = next(task for task in operator.applies_to if task in seed_of)
            families[operator.family] = Draft(
                seed=seed_of[task], operator=name, operator_family=operator.family, evolve_prompt=prompt
            )
    for draft in families.values():
        writer.evolve(draft)
    first = replace(next(iter(families.values())), turns=(Turn("user", "?"), Turn("assistant", "?")), instruction="?")
    writer.respond(first)
    seen: set[str] = set()
    for name, variation in piece.variation.items():
        directives = prompts.directives(piece, name, first.evolved_id)
        if variation.family not in seen:
            seen.add(variation.family)
            talk = replace(first, variation=name, variation_family=variation.family, variation_prompts=directives)
            writer.user_turn(talk)
            writer.assistant_turn(talk)
    if piece.judge is not None:
        judging.request(piece, piece.judge, first)
