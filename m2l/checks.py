"""All of `conf/`, proved: every file is read, every prompt renders in every language, every class is there."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from m2l import config, slices
from m2l.engine.base import Engine
from m2l.errors import ConfigError, M2LError
from m2l.spec import Slice


def check(root: Path) -> Iterator[str]:
    """Yield what was checked, a line each, and the coverage of every language.

    Raises ConfigError with the number of problems after yielding each of them.
    """
    problems: list[str] = []
    overrides = config.effective_overrides(config.read_params(root), [])
    for recipe in config.options(root, "recipe"):
        _try(problems, partial(config.compose, root, [f"recipe={recipe}"]))
    for model in config.options(root, "model"):
        _try(problems, partial(config.compose, root, [*overrides, f"model={model}"]))
    for engine in config.options(root, "engine"):
        _try(problems, partial(_engine, root, [*overrides, f"engine={engine}"]))
    everything = [f"{group}=[{','.join(config.options(root, group))}]" for group in (*config.NAMED, *config.TARGETS)]
    pieces: list[Slice] = []
    for frame in config.options(root, "frame"):
        try:
            whole = config.compose(root, [*overrides, *everything, f"frame={frame}", "engine=fake"])
        except M2LError as err:
            problems.append(str(err))
            continue
        for name, language in whole.language.items():
            alone = msgspec.structs.replace(whole, language={name: language})
            try:
                pieces.append(slices.resolve(root, alone).slices[name])
            except M2LError as err:
                problems.append(str(err))
    problems = list(dict.fromkeys(problems))
    yield from problems
    yield from _coverage({piece.language_code: piece for piece in pieces})
    if problems:
        raise ConfigError(f"conf: {len(problems)} problems, named above. Correct them and run `m2l check` again.")
    counts = ", ".join(f"{len(config.options(root, group))} {group}" for group in config.GROUPS)
    yield f"conf: all is well ({counts})."


def _try(problems: list[str], attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except M2LError as err:
        problems.append(str(err))


def _engine(root: Path, overrides: list[str]) -> None:
    config.load_class(config.compose(root, overrides).engine, Engine, where="conf/engine")


def _coverage(pieces: dict[str, Slice]) -> Iterator[str]:
    for name, piece in pieces.items():
        tasks = Counter(seed.task for seed in piece.examples)
        rows = ", ".join(f"{task} {count}" for task, count in sorted(tasks.items()))
        aside = f"; {len(piece.quarantined)} seed rows put aside" if piece.quarantined else ""
        yield f"{name}: {len(piece.operator)} operators, {len(piece.variation)} variations; seeds: {rows}{aside}"
