"""What the shell completes, and that a key press does not wait for anything heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = (
    "import sys; sys.argv[0] = 'm2l'\n"
    "from m2l.__main__ import main\n"
    "try:\n    main()\n"
    "finally:\n"
    "    heavy = {'polars', 'hydra', 'omegaconf', 'dvc', 'llama_cpp', 'msgspec', 'jinja2'} & set(sys.modules)\n"
    "    print(sorted(heavy), file=sys.stderr)\n"
)


def complete(folder: Path, line: str) -> list[str]:
    """Return what bash is given for the last word of a line."""
    environment = os.environ | {
        "_M2L_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == "[]\n"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m2l prev", ["preview"]),
        ("m2l preview eng_", ["eng_Latn"]),
        ("m2l preview eng_Latn summ", ["summarization"]),
        ("m2l preview eng_Latn --operator general_dee", ["general_deepening"]),
        ("m2l preview eng_Latn --variation more_", ["more_detail"]),
        ("m2l check hin_", ["hin_Deva"]),
        ("m2l model get smol", ["smollm2_135m"]),
        ("m2l seeds get aya_d", ["aya_dataset"]),
        ("m2l export alp", ["alpaca"]),
        ("m2l plan rec", ["recipe="]),
        ("m2l plan model=smol", ["model=smollm2_135m"]),
        ("m2l plan language=[eng_Latn,hin", ["language=[eng_Latn,hin_Deva"]),
        ("m2l sweep -m model=smollm2_135m,gemma3_2", ["model=smollm2_135m,gemma3_270m"]),
        ("m2l plan nothing=", []),
    ],
)
def test_names_of_conf_are_completed(project: Path, line: str, expected: list[str]) -> None:
    """Commands, languages, tasks, operators, variations, models, sources and overrides, with nothing heavy imported."""
    assert complete(project, line) == expected


def test_a_file_that_was_just_written_is_completed_and_outside_of_a_project_nothing(
    project: Path, tmp_path: Path
) -> None:
    """Names are those of conf/ at hand, from a folder below as well."""
    (project / "conf/operator/general_mine.yaml").write_text("# @package operator.general_mine\n")
    assert complete(project / "conf", "m2l preview eng_Latn --operator general_m") == ["general_mine"]
    assert complete(tmp_path, "m2l preview eng_") == []
