"""What a recipe asks a source for, in small."""

from m2l import config, spec
from m2l.seed_sources.base import Wanted
from m2l.spec import Language, Task
from tests.conftest import ROOT

TASKS = ("general", "summarization", "multiple_choice", "natural_language_inference", "translation")


def wanted(languages: tuple[str, ...] = ("eng_Latn",), tasks: tuple[str, ...] = TASKS) -> Wanted:
    """Return a wish for some shipped languages and tasks; `conf/` has all the shipped ones."""
    names = config.options(ROOT, "language")
    every = {name: config.load_named(ROOT, "language", name, spec.Language) for name in names}
    return Wanted(
        languages={name: every[name] for name in languages},
        tasks={name: load_task(name) for name in tasks},
        all_languages=every,
        all_codes=frozenset(names),
        all_tasks=frozenset(config.options(ROOT, "task")),
    )


def load_task(name: str) -> Task:
    """Return a shipped task."""
    return config.load_named(ROOT, "task", name, spec.Task)


def load_language(name: str) -> Language:
    """Return a shipped language."""
    return config.load_named(ROOT, "language", name, spec.Language)
