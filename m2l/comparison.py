"""What the variants of a sweep are like: numbers side by side, and the same seeds side by side on a page.

All of it is read from the datasets that the variants wrote. Generated text is data: the
page has no script, and its policy lets the browser run and fetch nothing.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import polars as pl

from m2l import slices
from m2l.errors import BuildError
from m2l.process import writing
from m2l.spec import Slice

RESULT = "variant.json"
PAGE = "index.html"
SHOWN = 48
"""Seeds that the page shows side by side."""

_ROW = (
    "row_id", "seed_id", "language", "task", "task_evol_type", "multiturn_evol_type", "seed_prompt", "conversation",
)  # fmt: skip


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of a sweep: what the build did, and what the dataset says of itself.

    `name` are the overrides that tell it from the others. Ratios are means over
    languages of all that the model wrote, as in `metrics.json`; `error` says why there are none.
    """

    name: str
    overrides: tuple[str, ...]
    folder: str
    made: int = 0
    reused: int = 0
    tokens_per_second: float | None = None
    rows: int = 0
    kept: float | None = None
    in_language: float | None = None
    distinct_2: float | None = None
    self_similarity: float | None = None
    reasons: dict[str, int] = {}
    error: str | None = None


class Cell(msgspec.Struct, frozen=True):
    """One variant's row of a seed: `turns` are (role, content, language tag), `reasons` why it was rejected."""

    operator: str
    variation: str
    turns: tuple[tuple[str, str, str], ...]
    reasons: tuple[str, ...]


class Line(msgspec.Struct, frozen=True):
    """The rows of one seed, a cell for each variant: None where it has no row of it."""

    language: str
    tag: str
    task: str
    seed: str
    cells: tuple[Cell | None, ...]


def variants(root: Path, folders: Sequence[Path]) -> list[Variant]:
    """Read what the variants in some folders say of themselves, in this order."""
    results = [msgspec.json.decode((folder / RESULT).read_bytes()) for folder in folders]
    shared = set.intersection(*(set(result["overrides"]) for result in results)) if results else set()
    found = []
    for result, folder in zip(results, folders, strict=True):
        name = " ".join(item for item in result["overrides"] if item not in shared) or "(as it is)"
        told: dict[str, Any] = {
            "name": name,
            "overrides": tuple(result["overrides"]),
            "folder": str(folder.relative_to(root)),
        }
        told |= {"error": result["error"]} if "error" in result else _told(folder, result)
        found.append(Variant(**told))
    return found


def _told(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    metrics = msgspec.json.decode((folder / "dist" / "metrics.json").read_bytes())
    return {
        "made": result["made"],
        "reused": result["reused"],
        "tokens_per_second": round(result["tokens"] / result["seconds"], 1) if result["seconds"] else None,
        "rows": metrics["rows"]["full_data"],
        "kept": metrics["yield"],
        "reasons": metrics["rejected_for"],
        **{name: metrics[name] for name in ("in_language", "distinct_2", "self_similarity")},
    }


def table(found: Sequence[Variant]) -> Iterator[str]:
    """Yield a line for each variant."""
    yield (
        f"{'made':>6} {'reused':>6} {'tokens/s':>8} {'yield':>6} {'in language':>11} {'distinct-2':>10} {'alike':>6} "
        f"{'rows':>6}  variant"
    )
    for variant in found:
        if variant.error is not None:
            yield f"{'failed':>67}  {variant.name}: {variant.error}"
            continue
        pace = "-" if variant.tokens_per_second is None else f"{variant.tokens_per_second:.0f}"
        yield (
            f"{variant.made:>6} {variant.reused:>6} {pace:>8} {_share(variant.kept):>6} "
            f"{_share(variant.in_language):>11} {_number(variant.distinct_2):>10} "
            f"{_number(variant.self_similarity):>6} {variant.rows:>6}  {variant.name}  -> {variant.folder}"
        )
        worst = sorted(variant.reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
        yield f"{'':>67}  rejected for {', '.join(f'{name} {rows}' for name, rows in worst) or 'nothing'}"


def lines(root: Path, found: Sequence[Variant], *, most: int = SHOWN) -> list[Line]:
    """Return the same seeds of all variants, dealt in turn over the tasks and languages, at most so many."""
    tables = [_rows(root / variant.folder) if variant.error is None else None for variant in found]
    known = [table for table in tables if table is not None]
    if not known:
        return []
    whole = pl.concat(known).select("language", "task", "seed_id", "row_id")
    common = whole.group_by("language", "task", "seed_id", "row_id").len()
    best = common.sort(["len", "seed_id", "row_id"], descending=[True, False, False])
    seeds = best.unique(["language", "task", "seed_id"], keep="first", maintain_order=True)
    ranked = seeds.with_columns(rank=pl.int_range(pl.len()).over("language", "task"))
    turn = ranked.sort("rank", "task", "language").head(most)
    result = []
    for language, rows in turn.sort("language", "task", "rank").group_by("language", maintain_order=True):
        pieces = [_piece(root / variant.folder, str(language[0])) for variant in found]
        for row in rows.iter_rows(named=True):
            result.append(_line(row, tables, pieces))
    return result


def page(root: Path, found: Sequence[Variant], folder: Path) -> Path:
    """Write the page of a sweep into its folder and return its path."""
    source = resources.files("m2l").joinpath("comparison.html").read_text(encoding="utf-8")
    style = resources.files("m2l").joinpath("comparison.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"share": _share, "number": _number}
    reasons = sorted({name for variant in found for name in variant.reasons})
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = environment.from_string(source).render(
        variants=found, reasons=reasons, lines=lines(root, found), title=str(folder.relative_to(root)), style=style,
        style_digest=digest, languages=_languages(root, found),
    )  # fmt: skip
    with writing(folder / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    return folder / PAGE


def _languages(root: Path, found: Sequence[Variant]) -> dict[str, list[dict[str, Any] | None]]:
    """Return by language the numbers of each variant, None where it has none."""
    result: dict[str, list[dict[str, Any] | None]] = {}
    for number, variant in enumerate(found):
        if variant.error is None:
            path = root / variant.folder / "dist" / "numbers" / "languages.csv"
            for row in pl.read_csv(path).iter_rows(named=True):
                result.setdefault(str(row["language"]), [None] * len(found))[number] = row
    return dict(sorted(result.items()))


def _rows(folder: Path) -> pl.DataFrame:
    """Return the conversations of a variant, kept and rejected, or the evolved instructions if it has none."""
    try:
        kept = {kind: _scan(folder, kind) for kind in ("conversation", "evolved")}
        rejected = pl.concat([pl.scan_parquet(path) for path in sorted((folder / "tables").glob("*/rejected.parquet"))])
        for kind, table in kept.items():
            mine = [
                table.select(*_ROW, reasons=pl.lit([], dtype=pl.List(pl.String))),
                rejected.filter(pl.col("kind") == kind).select(*_ROW, "reasons"),
            ]
            rows = pl.concat(mine).sort("row_id").collect()
            if rows.height:
                return rows
        return rows
    except (OSError, pl.exceptions.PolarsError) as err:
        raise BuildError(f"{folder}: its tables cannot be read ({str(err).splitlines()[0]}). Sweep again.") from err


def _scan(folder: Path, kind: str) -> pl.LazyFrame:
    return pl.concat([pl.scan_parquet(path) for path in sorted((folder / "tables").glob(f"*/{kind}.parquet"))])


def _piece(folder: Path, language: str) -> Slice | None:
    path = folder / "slices"
    return slices.read(path, language) if (path / f"{language}.json").is_file() else None


def _line(chosen: dict[str, Any], tables: Sequence[pl.DataFrame | None], pieces: Sequence[Slice | None]) -> Line:
    """Return a cell for each variant: the chosen row, or another one of the same seed where it has not got that."""
    cells: list[Cell | None] = []
    seed = ""
    for rows, piece in zip(tables, pieces, strict=True):
        mine = [] if rows is None else rows.filter(pl.col("seed_id") == chosen["seed_id"]).to_dicts()
        if not mine or piece is None:
            cells.append(None)
            continue
        row = next((row for row in mine if row["row_id"] == chosen["row_id"]), mine[0])
        seed = row["seed_prompt"]
        turns = tuple(
            (turn["role"], turn["content"], _tag(piece, row, at)) for at, turn in enumerate(row["conversation"])
        )
        cells.append(Cell(row["task_evol_type"], row["multiturn_evol_type"], turns, tuple(row["reasons"])))
    tag = next(piece.language.bcp47 for piece in pieces if piece is not None)
    return Line(chosen["language"], tag, chosen["task"], seed, tuple(cells))


def _tag(piece: Slice, row: dict[str, Any], at: int) -> str:
    """Return the BCP 47 tag of the language that a turn is to be in; empty where there are two."""
    own = piece.language.bcp47
    if at % 2 == 0:
        return own
    seed = next((seed for seed in piece.seeds if seed.seed_id == row["seed_id"]), None)
    code = piece.task[row["task"]].target(seed) if seed is not None else None
    target = piece.others[code].bcp47 if code in piece.others else None
    if at == 1:
        return target or own
    if piece.variation[row["multiturn_evol_type"]].turns[at // 2 - 1].answer_in == "neighbour":
        return piece.others[piece.language.neighbour.code].bcp47
    return own if target is None else ""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
