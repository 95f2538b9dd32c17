"""Commands of two words, and what all commands share; everything heavy is imported inside them."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m2l import complete
from m2l.errors import BuildError, unknown

if TYPE_CHECKING:
    from m2l.slices import Composed

model_app = typer.Typer(help="Model files.", no_args_is_help=True, rich_markup_mode=None)
store_app = typer.Typer(help="The store of completions.", no_args_is_help=True, rich_markup_mode=None)
seeds_app = typer.Typer(help="Seeds and where they come from.", no_args_is_help=True, rich_markup_mode=None)
experiment_app = typer.Typer(help="Variants under a name.", no_args_is_help=True, rich_markup_mode=None)
GROUPS = {"model": model_app, "store": store_app, "seeds": seeds_app, "experiment": experiment_app}

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Hydra overrides, such as model.sampling.temperature=0.9",
        show_default=False,
        autocompletion=complete.overrides,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def here() -> Path:
    """Return the project that the working directory is in."""
    from m2l import config

    return config.project_root()


def compose(overrides: list[str] | None) -> "tuple[Path, Composed]":
    """Return the project and its slices, with the overrides of params.yaml and some more."""
    from m2l import config, slices

    root = config.project_root()
    return root, slices.compose(root, config.effective_overrides(config.read_params(root), overrides or []))


def check_name(root: Path, group: str, name: str) -> None:
    """Raise BuildError if a config group has no such name."""
    from m2l import config

    known = config.options(root, group)
    if name not in known:
        raise BuildError(unknown("command line", group, name, known))


@experiment_app.command("save")
def experiment_save(
    name: str, variant: Annotated[Path, typer.Argument(help="Its folder, such as multirun/DATE/TIME/0.")]
) -> None:
    """Write conf/experiment/NAME.yaml, which says what a variant of a sweep was built with."""
    from m2l import experiment

    for line in experiment.save(here(), name, variant):
        print(line)


@model_app.command("get")
def model_get(
    name: Annotated[str | None, typer.Argument(help="A name from conf/model.", autocompletion=complete.models)] = None,
) -> None:
    """Put a model's file in place and verify its sha256; without a name, the configured model's."""
    from m2l import config, models

    root = here()
    if name is not None:
        check_name(root, "model", name)
    overrides = config.effective_overrides(config.read_params(root), [f"model={name}"] if name else [])
    models.get(root, config.compose(root, overrides).model, say=print)
    if name is not None:
        print(f"Look at it: m2l preview eng_Latn general model={name}. Build with it: overrides of params.yaml.")


@model_app.command("list")
def model_list() -> None:
    """List the models that conf/model declares, and which files are here."""
    from m2l import catalogue

    for line in catalogue.table(here()):
        print(line)


@model_app.command("inspect")
def model_inspect(
    what: Annotated[
        str,
        typer.Argument(
            help="A name from conf/model, or a GGUF file.", show_default=False, autocompletion=complete.models
        ),
    ],
    text: Annotated[str, typer.Option(help="Print the token ids of a text, such as logit_bias needs.")] = "",
    fertility: Annotated[bool, typer.Option(help="Count the tokens that each language takes.")] = True,
    as_json: Json = False,
) -> None:
    """Say what a model's file is: architecture, quantisation, context, languages, and tokens by language."""
    from m2l import catalogue

    found = catalogue.inspect(here(), what, text=text, fertility=fertility)
    for line in [catalogue.as_json(found)] if as_json else catalogue.describe(found):
        print(line)


@seeds_app.command("report")
def seeds_report(overrides: Overrides = None, as_json: Json = False) -> None:
    """Say what the chosen seed sources give: seeds by language and task, rows put aside by reason."""
    from m2l import config, slices

    root = config.project_root()
    conf = config.compose(root, config.effective_overrides(config.read_params(root), overrides or []))
    found = slices.read_seeds(root, conf)
    reasons = {name: Counter(row.reason for row in rows) for name, rows in found.quarantined.items() if rows}
    if as_json:
        counts = {name: Counter(seed.task for seed in rows) for name, rows in found.seeds.items()}
        print(json.dumps({"seeds": counts, "quarantined": reasons}, ensure_ascii=False, indent=1))
        return
    for name, rows in found.seeds.items():
        tasks = ", ".join(f"{task} {count}" for task, count in sorted(Counter(seed.task for seed in rows).items()))
        print(f"{name}: {len(rows)} seeds ({tasks or 'none'})")
    for name, found_reasons in reasons.items():
        for reason, count in sorted(found_reasons.items()):
            print(f"{name or 'no language'}: {count} rows put aside: {reason}")
    total = sum(len(rows) for rows in found.seeds.values())
    aside = sum(sum(counter.values()) for counter in reasons.values())
    print(f"In all: {total} seeds, {aside} rows put aside.")


@seeds_app.command("get")
def seeds_get(
    name: Annotated[str, typer.Argument(help="A name from conf/seed_source.", autocompletion=complete.seed_sources)],
    overrides: Overrides = None,
) -> None:
    """Fetch the dataset of a seed source once, so that builds can read it offline; needs the network."""
    from m2l import config
    from m2l.errors import SeedError
    from m2l.seed_sources.base import SeedSource
    from m2l.seed_sources.hub import Hub

    root = here()
    check_name(root, "seed_source", name)
    conf = config.compose(root, [f"seed_source=[{name}]", *(overrides or [])])
    where = f"conf/seed_source/{name}.yaml"
    source = config.instantiate(conf.seed_source[name], SeedSource, where=where)
    if not isinstance(source, Hub):
        raise SeedError(f"{where}: its rows are a file of the project, there is nothing to fetch. Put the file there.")
    source.get(root, print)
    print(f"See what it gives: m2l seeds report 'seed_source=[{name}]'")


@store_app.command("export")
def store_export(path: Path) -> None:
    """Write all completions to a file, gzipped JSON lines, for a teammate's clone."""
    from m2l import upkeep

    print(f"{path}: {upkeep.export(here(), path)} completions. Take them in with `m2l store import {path.name}`.")


@store_app.command("import")
def store_import(path: Path) -> None:
    """Take in the completions of an exported file; what stands already stays."""
    from m2l import upkeep

    new, known, bad = upkeep.load(here(), path)
    print(f"{path}: {new} new completions, {known} known, {bad} lines that could not be used.")


@store_app.command("upgrade")
def store_upgrade() -> None:
    """Bring a store of an older version to this one; every completion is kept."""
    from m2l.build import STORE
    from m2l.store import Store

    root = here()
    with Store(root / STORE) as store:
        print(f"{STORE}: {len(store)} completions.")


@store_app.command("pin")
def store_pin(name: str) -> None:
    """Keep what the present slices need, under a name, whatever `m2l gc` is run later."""
    from m2l import upkeep

    print(f"{upkeep.PINS}: {upkeep.pin(here(), name)} slices kept as {name!r}. Remove the name there to let them go.")
