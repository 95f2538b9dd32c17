"""What each reason for a rejection means, in a sentence for a person who reads what was rejected."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from m2l import checks, config
from m2l.checks.base import Check
from m2l.errors import ConfigError
from m2l.filters.base import Filter
from m2l.spec import Target

_BUILD = {"no_answer": "The model gave no answer: what stands here is as far as it came."}
"""Reasons that no filter gives."""


def sentences(root: Path, reasons: Iterable[str]) -> dict[str, str]:
    """Return a sentence for each reason; one that nobody has worded is told by its name.

    They are those of the project's own filters: what a dataset from elsewhere names is not loaded.
    """
    known = dict(_BUILD)
    for name in config.options(root, "filter"):
        with suppress(ConfigError):  # one that cannot be loaded words nothing
            target = config.load_named(root, "filter", name, Target)
            known |= config.load_class(target, Filter, where=f"conf/filter/{name}.yaml").sentences
    known |= {cls.reason: cls.sentence for cls in _checks() if cls.sentence}
    return {reason: known.get(reason, f"It fails the rule “{reason.replace('_', ' ')}”.") for reason in reasons}


def _checks() -> Iterator[type[Check]]:
    for found in pkgutil.iter_modules(checks.__path__):
        module = importlib.import_module(f"{checks.__name__}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Check) and not inspect.isabstract(value):
                yield value
