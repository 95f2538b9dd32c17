"""What each reason for a rejection means, in a sentence for a person who reads what was rejected."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import TypeVar

from m2l import checks, config, filters
from m2l.checks.base import Check
from m2l.errors import ConfigError
from m2l.filters.base import Filter
from m2l.spec import Target

T = TypeVar("T")

_BUILD = {"no_answer": "The model gave no answer: what stands here is as far as it came."}
"""Reasons that no filter gives."""


def sentences(reasons: Iterable[str], declared: Mapping[str, Target]) -> dict[str, str]:
    """Return a sentence for each reason; one that nobody has worded is told by its name.

    `declared` are the filters of a dataset, which may be somebody's own.
    """
    known = dict(_BUILD)
    for name, target in declared.items():
        with suppress(ConfigError):  # a filter of another clone, or one that is gone since
            known |= config.load_class(target, Filter, where=f"conf/filter/{name}.yaml").sentences
    for cls in _all(filters, Filter):
        known |= cls.sentences
    known |= {cls.reason: cls.sentence for cls in _all(checks, Check) if cls.sentence}
    return {reason: known.get(reason, f"It fails the rule “{reason.replace('_', ' ')}”.") for reason in reasons}


def _all(package: ModuleType, base: type[T]) -> Iterator[type[T]]:
    """Yield every class of a package that is of a kind."""
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value is not base:
                yield value
