"""Variants by Hydra multirun: each is built apart, all share the store."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2l import assemble, config, slices
from m2l.errors import BuildError, M2LError
from m2l.progress import Bar

_RESULT = "variant.json"


def run(root: Path, arguments: Sequence[str]) -> None:
    """Build every combination of the swept overrides below `multirun/` and print a table of them.

    Raises BuildError, after all variants have run, if one of them failed.
    """
    import hydra
    from omegaconf import OmegaConf

    flags = [item for item in arguments if item.startswith("-")]
    asked = [item for item in arguments if not item.startswith("-")]
    overrides = config.effective_overrides(config.read_params(root), asked)
    if not {"-m", "--multirun"} & set(flags):
        flags.append("--multirun")
    before = set((root / "multirun").glob("*/*"))

    def job(composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        _variant(root, OmegaConf.create(composed), folder, list(settings.overrides.task))

    sys.argv = ["m2l sweep", *flags, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise what is wrong instead of printing it
    with config.shadow(root, overrides) as conf, config.composition(root, overrides):
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(job)()
    made = [path for path in sorted((root / "multirun").glob(f"*/*/*/{_RESULT}")) if path.parents[1] not in before]
    _table([json.loads(path.read_text(encoding="utf-8")) for path in made], root)


def _variant(root: Path, composed: Any, folder: Path, overrides: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"overrides": overrides, "folder": str(folder)}
    try:
        resolved = slices.resolve(root, config.parse(root, composed, overrides))
        slices.write(resolved, folder / "slices")
        reports, metrics = assemble.run_all(
            root, resolved, tables=folder / "tables", dist=folder / "dist", progress=lambda name: Bar(name)
        )
        talks: list[Any] = [report.counts["conversation"] for report in reports.values()]
        result |= {
            "made": sum(report.made for report in reports.values()),
            "reused": sum(report.reused for report in reports.values()),
            "attempted": sum(talk["attempted"] for talk in talks),
            "kept": sum(talk["kept"] for talk in talks),
            "rows": metrics["rows"],
        }
    except M2LError as err:
        result["error"] = str(err)
    (folder / _RESULT).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _table(results: list[dict[str, Any]], root: Path) -> None:
    shared = set.intersection(*(set(result["overrides"]) for result in results)) if results else set()
    print(f"{'made':>6} {'reused':>6} {'kept':>9}  variant")
    for result in results:
        name = " ".join(item for item in result["overrides"] if item not in shared) or "(as it is)"
        if "error" in result:
            print(f"{'failed':>23}  {name}: {result['error']}")
            continue
        kept = f"{result['kept']}/{result['attempted']}"
        where = Path(result["folder"]).relative_to(root)
        print(f"{result['made']:>6} {result['reused']:>6} {kept:>9}  {name}  -> {where}/dist")
    failed = [result for result in results if "error" in result]
    if failed:
        raise BuildError(f"{len(failed)} of {len(results)} variants failed, named above. Correct them and sweep again.")
