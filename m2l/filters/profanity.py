"""Words that a person does not want to see, from a list that they bring for a language."""

from pathlib import Path
from typing import ClassVar

import polars as pl

from m2l.filters.base import Context, Files, Filter, each
from m2l.text import words


class Profanity(Filter):
    """Reject a turn with a word or phrase of its language's own list.

    `files` are patterns of lists, one phrase a line, each named for its language
    (`swh_Latn.txt`); `#` begins a remark. A language without a list is not judged:
    one list for all languages takes good words of some for bad words of others.
    """

    sentences: ClassVar[dict[str, str]] = {
        "profanity": "A turn holds a word of the list of bad words.",
    }

    def __init__(self, files: Files) -> None:
        self.files = files

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        locale = context.language.bcp47
        lists = [context.root / name for name in self.files if Path(name).stem == context.language_code]
        lines = [line.partition("#")[0] for path in lists for line in path.read_text(encoding="utf-8").splitlines()]
        phrases = {words(line, locale) for line in lines} - {()}
        sizes = {len(phrase) for phrase in phrases}

        def clean(text: str) -> bool:
            found = words(text, locale)
            return all(
                phrases.isdisjoint(zip(*(found[start:] for start in range(size)), strict=False)) for size in sizes
            )

        return {"profanity": each(clean, "content")}
