"""What is chosen of a language is kept while nothing of it has changed, and never in place of what would be chosen."""

from pathlib import Path
from typing import Any

import pytest

from m2l import assemble, build, parts
from tests.helpers import compose, run, tree

KEPT = Path("parts")


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The languages that are sampled, in the order in which they are."""
    asked: list[str] = []
    real = parts.sampled

    def spy(folder: Path, language: str, dataset: Any) -> parts.Part:
        asked.append(language)
        return real(folder, language, dataset)

    monkeypatch.setattr(parts, "sampled", spy)
    return asked


def again(project: Path, *overrides: str) -> dict[str, str]:
    """Assemble the tables as they are with what is kept, then without; both give the same bytes, which are returned."""
    dataset = compose(project, *overrides).dataset
    assemble.assemble(project, dataset, kept=KEPT)
    found = tree(project / build.DIST)
    assemble.assemble(project, dataset)
    assert tree(project / build.DIST) == found
    return found


def test_a_language_is_sampled_again_only_when_something_of_it_changes(project: Path, sampled: list[str]) -> None:
    """Nothing changed: none; the tables of French: French alone; the quota: both."""
    languages = "language=[eng_Latn,fra_Latn]"
    run(project, languages)
    again(project, languages)
    sampled.clear()
    dataset = compose(project, languages).dataset
    assemble.assemble(project, dataset, kept=KEPT)
    assert sampled == []
    run(project, languages, "filter.length.max_words=12")  # rejects in both
    sampled.clear()
    assemble.assemble(project, dataset, kept=KEPT)
    assert sampled == ["eng_Latn", "fra_Latn"]
    english = project / build.TABLES / "eng_Latn"
    before = {path.name: path.read_bytes() for path in english.iterdir()}
    run(project, languages)
    for name, data in before.items():
        (english / name).write_bytes(data)
    sampled.clear()
    assemble.assemble(project, dataset, kept=KEPT)
    assert sampled == ["fra_Latn"]
    sampled.clear()
    assemble.assemble(project, compose(project, languages, "recipe.quota.conversation=5").dataset, kept=KEPT)
    assert sampled == ["eng_Latn", "fra_Latn"]


@pytest.mark.parametrize(
    "overrides", [[], ["recipe.validation=0.5"], ["recipe.quota.evolved=5", "recipe.quota.conversation=4"]]
)
def test_what_is_kept_gives_the_dataset_that_sampling_gives(project: Path, overrides: list[str]) -> None:
    """Splits and quotas included, the bytes are those of sampling anew, whether the part was just made or read."""
    run(project)
    assert again(project, *overrides) == again(project, *overrides)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: b"", lambda data: data.replace(b"train", b"trajn")]
)
def test_a_damaged_part_is_made_again(project: Path, sampled: list[str], damage: Any) -> None:
    """A torn or altered file counts for nothing."""
    run(project)
    found = again(project)
    path = project / KEPT / "eng_Latn.msgpack"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    sampled.clear()
    for _ in range(2):
        assemble.assemble(project, compose(project).dataset, kept=KEPT)
        assert sampled == ["eng_Latn"]
        assert tree(project / build.DIST) == found


def test_the_part_of_a_language_that_is_no_longer_built_goes(project: Path) -> None:
    """Only what the recipe builds is kept."""
    run(project, "language=[eng_Latn,fra_Latn]")
    again(project, "language=[eng_Latn,fra_Latn]")
    again(project)
    assert sorted(path.stem for path in (project / KEPT).iterdir()) == ["eng_Latn"]
