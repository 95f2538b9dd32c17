"""Filters that read a user's files: the slice knows each file, and says when there is none."""

from pathlib import Path

import pytest

from m2l import slices
from m2l.errors import ConfigError
from tests.conftest import Edit
from tests.helpers import compose, run


def with_contamination(edit: Edit) -> None:
    """Turn the filter on, as a person would."""
    edit("conf/config.yaml", "      - near_duplicates\n", "      - near_duplicates\n      - contamination\n")


def test_a_missing_file_is_named(project: Path, edit: Edit) -> None:
    """Without a file the build stops before it begins, in one line."""
    with_contamination(edit)
    with pytest.raises(ConfigError) as caught:
        compose(project)
    assert str(caught.value) == (
        "conf/filter/contamination.yaml: no file is 'data/reference/benchmarks/*'. "
        "Put it there, or leave the filter out of conf/config.yaml."
    )


def test_an_edit_of_a_file_changes_the_slice_and_makes_no_call(project: Path, edit: Edit) -> None:
    """The slice holds the digest of each file; what was generated stays as it is."""
    made = [len(run(project))]
    with_contamination(edit)
    path = project / "data/reference/benchmarks/mine.txt"
    path.parent.mkdir(parents=True)
    pieces = []
    for text in ("One question of a benchmark that nobody will ever ask here?", "Another one, just as unlikely?"):
        path.write_text(text, encoding="utf-8")
        piece = compose(project).slices["eng_Latn"]
        pieces.append(slices.content(piece))
        made.append(len(run(project)))
    assert pieces[0] != pieces[1]
    assert made[0] > 0
    assert made[1:] == [0, 0]
