"""What the calls took: tokens and seconds, made and reused, from the store's ledger."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from m2l import slices
from m2l.build import STORE
from m2l.ledger import Ledger
from m2l.store import BATCH, Store

_TOKENS = (
    "SELECT count(*), total(json_extract(CAST(completion AS TEXT), '$.prompt_tokens')), "
    "total(json_extract(CAST(completion AS TEXT), '$.completion_tokens')) FROM completions WHERE key IN ({})"
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All that was ever asked of a model on a backend with this store."""

    model: str
    backend: str
    calls: int
    tokens: int
    seconds: float


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a language's tables rest on: calls, those that its last build made, and tokens read and written."""

    language: str
    calls: int
    made: int
    prompt_tokens: int
    tokens: int


class Cost(msgspec.Struct, frozen=True):
    """What was paid: by model, over the whole life of the store, and by language, for what stands now."""

    runs: list[Run]
    shares: list[Share]


def cost(root: Path, languages: Sequence[str]) -> Cost:
    """Return what the ledger tells; nothing where there is no store, or a language was not built with it."""
    query = (
        "SELECT model, backend, sum(calls), sum(tokens), sum(seconds) FROM runs GROUP BY model, backend ORDER BY 1, 2"
    )
    with Store(root / STORE, readonly=True) as store:
        runs = [
            Run(model=model, backend=backend, calls=calls, tokens=tokens, seconds=seconds)
            for model, backend, calls, tokens, seconds in store.rows(query)
        ]
        return Cost(runs, list(_shares(root, store, languages)))


def _shares(root: Path, store: Store, languages: Sequence[str]) -> Iterator[Share]:
    ledger = Ledger(store)
    for language in languages:
        path = root / slices.FOLDER / f"{language}.json"
        found = ledger.root(slices.file_digest(path.read_bytes())) if path.is_file() else None
        if found is None:
            continue
        keys = sorted(set().union(*found.values()))
        builds, made_by = ledger.builds(language), ledger.made_by(keys)
        last = builds[-1].id if builds else None
        calls, read, written = _tokens(store, keys)
        made = sum(number == last for number in made_by.values())
        yield Share(language=language, calls=calls, made=made, prompt_tokens=read, tokens=written)


def _tokens(store: Store, keys: Sequence[str]) -> tuple[int, int, int]:
    """Return how many of some calls the store has, and the tokens of their prompts and answers."""
    totals = [0, 0, 0]
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        for row in store.rows(_TOKENS.format(",".join("?" * len(part))), part):
            totals = [total + int(value) for total, value in zip(totals, row, strict=True)]
    return totals[0], totals[1], totals[2]
