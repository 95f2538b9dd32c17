"""Writing whole files, and what a full disk says."""

import os
from pathlib import Path

import polars as pl
import pytest

from m2l import schema
from m2l.errors import BuildError
from m2l.process import writing


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Readers see the old content or the new, and a writer that fails leaves the old."""
    path = tmp_path / "folder" / "x.txt"
    with writing(path) as part:
        part.write_text("one")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError):
        _half(path)
    assert path.read_text() == "one"
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    """The real error of a device without space."""
    path = tmp_path / "x.parquet"
    path.write_text("old")
    with pytest.raises(BuildError) as error:
        _to_a_full_device(path)
    assert str(error.value) == (
        f"{path}: No space left on device. Free some space or correct its rights, then run the same command again: "
        "all completions are kept."
    )
    assert path.read_text() == "old"


def test_a_table_is_written_whole(tmp_path: Path) -> None:
    """What is written is read back, and a folder that is a file is one line."""
    table = pl.DataFrame({"a": range(1000)})
    schema.write(table, tmp_path / "t.parquet")
    assert pl.read_parquet(tmp_path / "t.parquet").equals(table)
    with pytest.raises(BuildError, match=r"t\.parquet/x\.parquet: .*\. Free some space or correct its rights"):
        schema.write(table, tmp_path / "t.parquet" / "x.parquet")


def _half(path: Path) -> None:
    with writing(path) as part:
        part.write_text("tw")
        raise ZeroDivisionError


def _to_a_full_device(path: Path) -> None:
    with writing(path) as part:
        part.symlink_to("/dev/full")
        part.write_bytes(b"new")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A part of a process that has ended goes when its file is written again; one of a running process stays."""
    path = tmp_path / "train.parquet"
    dead, alive = tmp_path / f".train.parquet.{2**22 - 1}.part", tmp_path / f".train.parquet.{os.getppid()}.part"
    other = tmp_path / f".other.parquet.{2**22 - 1}.part"
    for part in (dead, alive, other):
        part.touch()
    with writing(path) as part:
        part.write_bytes(b"new")
    assert sorted(tmp_path.iterdir()) == sorted([path, alive, other])
