"""Rows that hold text of a benchmark, on which a model trained on them could not be measured any more."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from m2l.errors import ConfigError
from m2l.filters.base import Context, Files, Filter, each
from m2l.spec import Positive
from m2l.text import fold, words

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".jsonl": pl.read_ndjson,
    ".parquet": pl.read_parquet,
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".txt": lambda path: pl.DataFrame({"text": path.read_text(encoding="utf-8").splitlines()}),
}


class Contamination(Filter):
    """Reject a turn that has `min_words` words in a row of a text in `files`, or that is such a text.

    `files` are patterns of jsonl, parquet, csv and txt files below the project, of which
    every text counts, whatever its column. Only exact runs of words are found: neither
    a paraphrase nor a translation is.
    """

    sentences: ClassVar[dict[str, str]] = {
        "contaminated": "A turn holds text of a benchmark.",
    }

    def __init__(self, min_words: Positive, files: Files) -> None:
        self.min_words = min_words
        self.files = dict(files) if isinstance(files, Mapping) else dict.fromkeys(files, "")

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47
        grams, whole = _known(context.root, tuple(sorted(self.files.items())), self.min_words, locale)

        def unknown(text: str) -> bool:
            return grams.isdisjoint(_grams(text, self.min_words, locale)) and hash(fold(text)) not in whole

        return {"contaminated": each(unknown, "content")}


@lru_cache(maxsize=4)
def _known(
    root: Path, files: tuple[tuple[str, str], ...], min_words: int, locale: str
) -> tuple[frozenset[int], frozenset[int]]:
    grams: set[int] = set()
    whole: set[int] = set()
    for name, _ in files:
        try:
            table = _READERS[Path(name).suffix](root / name)
        except (KeyError, OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as err:
            raise ConfigError(
                f"{name}: cannot be read as a benchmark ({str(err).splitlines()[0]}). "
                f"Name a jsonl, parquet, csv or txt file."
            ) from err
        for text in _texts(table.rows()):
            grams.update(_grams(text, min_words, locale))
            if len(words(text, locale)) * 2 >= min_words:
                whole.add(hash(fold(text)))
    return frozenset(grams), frozenset(whole)


def _grams(text: str, size: int, locale: str) -> Iterator[int]:
    found = words(text, locale)
    return map(hash, zip(*(found[start:] for start in range(size)), strict=False))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value of a table, however deep it lies."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
