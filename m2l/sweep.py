"""Variants by Hydra multirun: each is built apart, all share the store, and a table compares them."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from m2l import assemble, comparison, config, slices
from m2l.build import Progress, Quiet
from m2l.errors import BuildError, M2LError
from m2l.progress import Overall

FOLDER = "multirun"
_BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def run(root: Path, arguments: Sequence[str], *, as_json: bool = False) -> None:
    """Build every combination of the swept overrides below `multirun/`, and compare them.

    Raises BuildError, after all variants have run, if one of them failed.
    """
    import hydra
    from omegaconf import OmegaConf

    flags = [item for item in arguments if item.startswith("-")]
    asked = [item for item in arguments if not item.startswith("-")]
    overrides = config.effective_overrides(config.read_params(root), asked)
    if not {"-m", "--multirun"} & set(flags):
        flags.append("--multirun")
    quiet = [f"hydra/{name}=disabled" for name in ("hydra_logging", "job_logging")]
    overrides = [*(item for item in quiet if item.partition("=")[0] not in " ".join(asked)), *overrides]
    before = set((root / FOLDER).glob("*/*"))

    def job(composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        alone = settings.launcher["_target_"] == _BASIC
        _variant(root, OmegaConf.create(composed), folder, list(settings.overrides.task), alone=alone)

    sys.argv = ["m2l sweep", *flags, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise what is wrong instead of printing it
    with config.shadow(root, overrides) as conf, config.composition(root, overrides):
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(job)()
    if not {"--cfg", "-c", "--info", "-i", "--hydra-help"} & set(flags):
        _compare(root, before, as_json=as_json)


def _compare(root: Path, before: set[Path], *, as_json: bool) -> None:
    """Print the table of the variants that were just built, and write their page."""
    made = [path.parent for path in (root / FOLDER).glob(f"*/*/*/{comparison.RESULT}")]
    made = [folder for folder in made if folder.parent not in before]
    if not made:
        raise BuildError(f"{FOLDER}: no variant was built below it. Leave hydra.sweep.dir as it is.")
    made.sort(key=lambda folder: (folder.parent, len(folder.name), folder.name))
    found = comparison.variants(root, made)
    page = comparison.page(root, found, made[0].parent).relative_to(root)
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=1))
    else:
        for line in comparison.table(found):
            print(line)
        print(f"Read them side by side: {page}. Keep one by a name: m2l experiment save NAME {found[0].folder}")
    failed = [variant for variant in found if variant.error is not None]
    if failed:
        raise BuildError(f"{len(failed)} of {len(found)} variants failed, named above. Correct them and sweep again.")


def _variant(root: Path, composed: Any, folder: Path, overrides: list[str], *, alone: bool) -> None:
    """Build one variant into its folder, and write down there what the build did."""
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"overrides": overrides}
    try:
        resolved = slices.resolve(root, config.parse(root, composed, overrides))
        slices.write(resolved, folder / "slices")
        progress: Callable[[str], Progress] = (
            Overall(f"variant {folder.name}", len(resolved.slices)) if alone else lambda name: Quiet()
        )
        reports, _ = assemble.run_all(root, resolved, tables=folder / "tables", dist=folder / "dist", progress=progress)
        for count in ("made", "reused", "tokens", "seconds"):
            result[count] = sum(getattr(report, count) for report in reports.values())
    except M2LError as err:
        result["error"] = str(err)
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    (folder / comparison.RESULT).write_text(text, encoding="utf-8")
    if not alone:
        print(f"variant {folder.name}: {'failed' if 'error' in result else 'built'}", file=sys.stderr)
