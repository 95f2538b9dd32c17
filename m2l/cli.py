"""The command line. Everything heavy is imported inside the command that needs it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from m2l import __version__, complete
from m2l.errors import EXIT_CODE, M2LError
from m2l.groups import GROUPS, Json, Overrides, check_name, compose, here
from m2l.process import end_on_interrupt

app = typer.Typer(
    name="m2l",
    help="Build multilingual, multi-turn instruction data. `dvc repro` makes the dataset; this shows what and why.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


def run() -> None:
    """Run the command line; an expected error is one line on stderr and exit code 2."""
    end_on_interrupt("Interrupted. All completions up to here are kept; the same command goes on from them.")
    try:
        app()
    except M2LError as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as err:
        print(f"OSError: {err.filename}: {err.strerror}. Correct its rights, or free some space.", file=sys.stderr)
        sys.exit(EXIT_CODE)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def plan(
    overrides: Overrides = None,
    as_json: Json = False,
    tasks: Annotated[bool | None, typer.Option(help="Print each task; by default up to 12 languages.")] = None,
) -> None:
    """Say what `dvc repro` would do, what it would cost, and which edits are the reason."""
    from m2l import dvc_rwlock, forecast
    from m2l import plan as plans

    root, composed = compose(overrides)
    found = plans.plan(root, composed)
    pace = plans.pace(root, next(iter(composed.slices.values())))
    if as_json:
        print(json.dumps(forecast.for_scripts(found, composed, pace), ensure_ascii=False, indent=1))
        return
    for line in (*forecast.lines(found, composed, pace, tasks=tasks), *dvc_rwlock.explained(root)):
        print(line)


@app.command()
def preview(
    language: Annotated[str, typer.Argument(help="A name from conf/language.", autocompletion=complete.languages)],
    task: Annotated[
        str | None,
        typer.Argument(
            help="A name from conf/task; of --operator, one that it applies to.", autocompletion=complete.tasks
        ),
    ] = None,
    overrides: Overrides = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="Use this operator; without --variation, no conversation follows.", autocompletion=complete.operators
        ),
    ] = None,
    variation: Annotated[
        str | None, typer.Option(help="Use this dialogue variation.", autocompletion=complete.variations)
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="Use this seed: its number among those of the task, or its id's first digits.")
    ] = None,
    records: Annotated[int, typer.Option(min=1, help="How many to write.")] = 1,
    repairs: Annotated[int, typer.Option(min=0, help="How often a text that fails a check is asked for again.")] = 0,
    prompts: Annotated[bool, typer.Option(help="Print each prompt as the model sees it.")] = True,
    watch: Annotated[bool, typer.Option("--watch", help="Write them again whenever a YAML of conf/ is saved.")] = False,
    as_json: Json = False,
) -> None:
    """Write a few records to the screen, with prompts and the filters' verdicts, and nothing to data/.

    A text that a build has written is shown as it is. Others are decoded in the way that is quickest
    for one request (engine.batch_invariant=false), so that a build may word one otherwise; no build
    reads them. With engine.batch_invariant=true they are what a build writes.
    """
    from m2l import preview as previews
    from m2l import watch as watching

    if task is not None and "=" in task:
        overrides, task = [task, *(overrides or [])], None
    asked = previews.Asked(
        language=language, task=task, operator=operator, variation=variation, seed=seed,
        records=records, repairs=repairs, overrides=tuple(overrides or ()),
    )  # fmt: skip
    with previews.Session(here(), asked) as session:
        if watch:
            watching.watch(session.root, lambda: previews.lines(session.look(), prompts=prompts))
        elif as_json:
            print(previews.as_json(session.look()))
        else:
            for line in previews.lines(session.look(), prompts=prompts):
                print(line)


@app.command()
def show(
    row_id: str,
    prompts: Annotated[bool, typer.Option(help="Print the prompt of every call.")] = True,
    as_json: Json = False,
) -> None:
    """Show a row's way from its seed, with every prompt; the first digits of its id are enough."""
    from m2l import lineage
    from m2l.terminal import visible

    if as_json:
        print(json.dumps(lineage.find(here(), row_id), ensure_ascii=False, indent=1))
        return
    for line in lineage.describe(here(), row_id, prompts=prompts):
        print(visible(line))


@app.command()
def why(
    what: Annotated[str, typer.Argument(help="A row's id or its first digits, a language, or language/task.")],
) -> None:
    """Say why a row, a language or a task of it was made: by which build, for which edit; and why it was reused."""
    from m2l import why as reasons

    for line in reasons.why(here(), what):
        print(line)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A git revision, or a folder that holds a dataset.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="The folder to compare with, instead of data/dist.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Rows to show of each change.")] = 3,
    as_json: Json = False,
) -> None:
    """Say which rows a dataset gained, lost and changed since a git revision or another dataset, with examples."""
    import msgspec

    from m2l import build as builds
    from m2l import diff as diffs

    root = here()
    new = diffs.read_folder(to or root / builds.DIST, str(to or builds.DIST))
    report = diffs.compare(diffs.read(root, old), new, examples=examples)
    if as_json:
        print(json.dumps(msgspec.to_builtins(report), ensure_ascii=False, indent=1))
    else:
        diffs.say(report)


@app.command()
def check(
    languages: Annotated[
        list[str] | None,
        typer.Argument(help="Languages whose text to check.", show_default=False, autocompletion=complete.languages),
    ] = None,
) -> None:
    """Check all of conf/: every file composes and every prompt renders. With languages: their text and their seeds."""
    from m2l import audit

    root = here()
    for line in audit.check_languages(root, languages) if languages else audit.check(root):
        print(line)


@app.command()
def summary(as_json: Json = False) -> None:
    """Say what was made, how good each language is, where it lies, and what to try next."""
    from m2l import lineage

    if as_json:
        print(json.dumps(lineage.numbers(here()), ensure_ascii=False, indent=1))
        return
    for line in lineage.summary(here()):
        print(line)


@app.command(context_settings={"ignore_unknown_options": True})
def sweep(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Overrides, with the values to try separated by commas; what begins with - is for Hydra.",
            show_default=False,
            autocompletion=complete.overrides,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build variants over one store and compare them: `m2l sweep -m model.sampling.temperature=0.3,0.7`."""
    from m2l import sweep as sweeps

    sweeps.run(here(), arguments or [], as_json=as_json)


@app.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Make again what is damaged, and nothing else.")] = False,
    resample: Annotated[
        float | None,
        typer.Option(help="Ask again for a share of all texts (0.1: a tenth) and count the identical ones."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look whether store, outputs and DVC's cache are what was written; name what is damaged. Exit code 1 if any is."""
    from m2l import upkeep

    root = here()
    languages = upkeep.present(root)
    if resample is not None:
        for name, same, asked, engine in upkeep.resample(root, languages, resample):
            print(f"{name}: {same} of {asked} texts came out identical ({engine})")
        return
    damage = list(upkeep.verify(root))
    if as_json:
        import msgspec

        print(json.dumps(msgspec.to_builtins(damage), ensure_ascii=False, indent=1))
    else:
        for item in damage:
            state = "is stale" if "rwlock" in item.what else "is damaged"
            print(f"{item.kind}: {item.what} {state}" + (f" (stage {item.stage})" if item.stage else ""))
        print(f"{len(damage)} damaged." if damage else "All is as it was written: store, outputs, DVC's cache.")
    if damage and repair:
        for line in upkeep.repair(root, damage, languages):
            print(line)
        damage = list(upkeep.verify(root))
        print(f"{len(damage)} still damaged: run `dvc repro`." if damage else "All is as it was written again.")
    elif damage and not as_json:
        print("Run `m2l verify --repair`, which makes just that again.")
    if damage:
        raise typer.Exit(1)


@app.command()
def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False) -> None:
    """Drop completions that no git ref, pin, sweep or present slice needs."""
    from m2l import upkeep

    root = here()
    found = upkeep.garbage(root)
    for who, count in found.kept_for.items():
        print(f"kept for {who}: {count} entries")
    for line in found.unknown:
        print(f"unknown: {line}; what it needs may go")
    would = "would go" if dry_run else "dropped"
    if not dry_run:
        upkeep.collect(root, found)
    size = f"{found.size / 1e6:.1f} MB"
    print(f"{len(found.keys)} of {found.total} entries {would}, {size}; {len(found.slices)} old slices.")


@app.command("report")
def report_page(
    data: Annotated[Path | None, typer.Option(help="A folder that holds a dataset, instead of data/dist.")] = None,
    to: Annotated[Path | None, typer.Option(help="The file to write, instead of data/report/index.html.")] = None,
) -> None:
    """Write one page that shows what was made: coverage, yields, lengths, cost, and the conversations to read."""
    from m2l import build as builds
    from m2l.report import page

    root = here()
    size = page.write(root, data or root / builds.DIST, to or root / page.PAGE)
    print(f"{to or page.PAGE}: {size / 1e6:.1f} MB, opens from the disk in any browser.")


@app.command("export")
def export_dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="A name of conf/exporter.", show_default=False, autocompletion=complete.exporters
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="A folder that holds a dataset, instead of data/dist.")] = None,
    to: Annotated[Path | None, typer.Option(help="Where to write, instead of data/export.")] = None,
) -> None:
    """Write the dataset in a format of conf/exporter, from what is built: no model is asked."""
    from m2l import build as builds
    from m2l import export

    root = here()
    check_name(root, "exporter", name)
    export.export(root, name, data or root / builds.DIST, to or root / export.EXPORTS)
    print(f"{name}: written to {to or export.EXPORTS}")


@app.command("compose", hidden=True)
def compose_stage() -> None:
    """Resolve conf/ into slices; the first stage of dvc.yaml."""
    from m2l import slices
    from m2l.process import die_with_parent

    die_with_parent()
    root, composed = compose(None)
    changed = slices.write(composed, root / slices.FOLDER)
    print(f"{len(composed.slices)} slices, changed: {', '.join(changed) or 'none'}")


@app.command("build", hidden=True)
def build_stage(language: str) -> None:
    """Build one language from its slice; the stage build@<language> of dvc.yaml."""
    from m2l import build as builds
    from m2l import slices
    from m2l.process import die_with_parent
    from m2l.progress import Bar

    die_with_parent()
    root = here()
    piece = slices.read(root / slices.FOLDER, language)
    report = builds.build(root, piece, progress=Bar(language))
    talk: Any = report.counts["conversation"]
    rate = f", {report.tokens / report.seconds:.0f} tokens/s" if report.seconds else ""
    print(
        f"{language}: {report.made} calls made, {report.reused} reused{rate}; "
        f"{talk['kept']} of {talk['attempted']} conversations kept"
    )


@app.command("assemble", hidden=True)
def assemble_stage() -> None:
    """Sample and export the dataset; the last stage of dvc.yaml."""
    from m2l import assemble, slices
    from m2l.process import die_with_parent

    die_with_parent()
    root = here()
    metrics = assemble.assemble(root, slices.read_dataset(root / slices.FOLDER), kept=assemble.PARTS)
    print(", ".join(f"{name}: {rows} rows" for name, rows in metrics["rows"].items()))


for _command in (found for one in (app, *GROUPS.values()) for found in one.registered_commands):
    # Without one the list of commands would cut a sentence at the width of the terminal.
    _command.short_help = (_command.callback.__doc__ or "").strip().partition("\n")[0]
