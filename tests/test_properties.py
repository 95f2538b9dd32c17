"""What a rebuild costs and gives, for every leaf of a declaration and for random edits, against independent oracles."""

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from m2l import assemble, build, config, slices
from m2l.build import Quiet, Runner, write_drafts
from m2l.errors import M2LError
from m2l.records import Request
from m2l.spec import Config
from m2l.store import Store
from tests.conftest import ROOT
from tests.helpers import Counting, tree

SMALL = (
    "recipe=starter", "engine=fake", "language=[eng_Latn]", "task=[general,summarization]",
    "operator=[general_deepening,general_dialect,summarization_constraint]", "variation=[refinement,language_change]",
    "recipe.seeds_per_task=1", "recipe.repairs=1",
)  # fmt: skip


def plain(request: Request) -> bytes:
    """Return a request as JSON made by other means than its key: field by field, by the standard library."""
    return json.dumps(msgspec.to_builtins(request), sort_keys=True, ensure_ascii=False).encode()


def asked(root: Path, conf: Config, store: Path) -> set[bytes]:
    """Return the requests that reach the engine when every slice is walked over a store."""
    found: set[bytes] = set()
    for piece in slices.resolve(root, conf).slices.values():
        engine = Counting()
        with Store(store) as kept:
            write_drafts(piece, Runner(piece, root, kept, Quiet(), engine))
        requests = [plain(request) for request in engine.requests]
        assert len(requests) == len(set(requests))
        found.update(requests)
    return found


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every leaf of a tree of plain values."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def mutated(tree_: Any, path: tuple[Any, ...]) -> Any:
    """Return a copy of a tree with another value at a leaf."""
    copy = json.loads(json.dumps(tree_))
    at = copy
    for key in path[:-1]:
        at = at[key]
    old = at[path[-1]]
    if isinstance(old, bool):
        at[path[-1]] = not old
    elif isinstance(old, int | float):
        at[path[-1]] = old + 1
    elif isinstance(old, str):
        at[path[-1]] = f"{old} more"
    return copy


def test_every_leaf_costs_exactly_what_renders_differently(project: Path, tmp_path: Path) -> None:
    """For each leaf: what a build makes after an edit of it is what a fresh one makes and the old one had not made."""
    conf = _shortened(config.compose(project, SMALL))
    whole = msgspec.to_builtins(conf)
    before = asked(project, conf, tmp_path / "before.sqlite")
    changing = unchanging = refused = 0
    for number, path in enumerate(leaves(whole)):
        try:
            after = msgspec.convert(mutated(whole, path), Config)
            fresh = asked(project, after, tmp_path / f"fresh{number}.sqlite")
        except (msgspec.ValidationError, M2LError):
            refused += 1
            continue
        incremental = tmp_path / f"edited{number}.sqlite"
        incremental.write_bytes((tmp_path / "before.sqlite").read_bytes())
        made = asked(project, after, incremental)
        assert made == fresh - before, path
        changing += bool(made)
        unchanging += not made
        for leftover in tmp_path.glob(f"*{number}.sqlite*"):
            leftover.unlink()
    assert changing > 25
    assert unchanging > 100
    assert refused > 10


def _shortened(conf: Config) -> Config:
    """Return a configuration with the worked examples that it uses, and one of each."""
    language = conf.language["eng_Latn"]
    evolve = {name: language.shots.evolve[name][:1] for name in ("depth", "dialect", "constraint")}
    dialogue = {name: language.shots.dialogue[name][:1] for name in ("refinement", "language_change", "follow_up")}
    shots = msgspec.structs.replace(language.shots, evolve=evolve, dialogue=dialogue)
    return msgspec.structs.replace(conf, language={"eng_Latn": msgspec.structs.replace(language, shots=shots)})


@cache
def _wide() -> Config:
    """Return two languages and all that there is of the general task."""
    wide = ["language=[eng_Latn,swh_Latn]", "task=[general]", "operator=[all]", "variation=[all]"]
    return config.compose(ROOT, [*SMALL[:2], *wide, *SMALL[6:]])


class Edits:
    """Random edits of a configuration and of a seed file, and their reverts."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.rng, self.root = rng, root
        self.every = _wide()
        operators = {n: o for n, o in self.every.operator.items() if "general" in o.applies_to}
        self.all_operators, self.all_variations = operators, self.every.variation
        self.conf = msgspec.structs.replace(
            self.every,
            language={"eng_Latn": self.every.language["eng_Latn"]},
            operator={"general_deepening": operators["general_deepening"]},
            variation={"refinement": self.all_variations["refinement"]},
        )
        self.past = [self.conf]

    def step(self) -> None:
        """Make one random edit."""
        kinds: list[Callable[[], Config]] = [
            self.toggle_language, self.toggle_operator, self.toggle_variation, self.reword, self.threshold, self.revert,
            self.rename, self.seed,
        ]  # fmt: skip
        self.conf = self.rng.choice(kinds)()
        self.past.append(self.conf)

    def toggle_language(self) -> Config:
        """Add Swahili, or drop it."""
        have = dict(self.conf.language)
        if have.pop("swh_Latn", None) is None:
            have["swh_Latn"] = self.every.language["swh_Latn"]
        return msgspec.structs.replace(self.conf, language=have)

    def toggle_operator(self) -> Config:
        """Add an operator, or drop one."""
        return msgspec.structs.replace(self.conf, operator=self._toggled(dict(self.conf.operator), self.all_operators))

    def toggle_variation(self) -> Config:
        """Add a variation, or drop one."""
        return msgspec.structs.replace(
            self.conf, variation=self._toggled(dict(self.conf.variation), self.all_variations)
        )

    def _toggled(self, have: dict[str, Any], every: dict[str, Any]) -> dict[str, Any]:
        name = self.rng.choice(sorted(every))
        if name in have and len(have) > 1:
            del have[name]
        else:
            have[name] = every[name]
        return have

    def reword(self) -> Config:
        """Edit the prompt of an operator."""
        name = self.rng.choice(sorted(self.conf.operator))
        old = self.conf.operator[name]
        prompt = old.prompt | {"eng_Latn": old.prompt["eng_Latn"] + f" Point {self.rng.randrange(3)}."}
        return msgspec.structs.replace(
            self.conf, operator=self.conf.operator | {name: msgspec.structs.replace(old, prompt=prompt)}
        )

    def rename(self) -> Config:
        """Give an operator another name."""
        have = dict(self.conf.operator)
        name = self.rng.choice(sorted(have))
        have[f"{name}_too"] = have.pop(name)
        return msgspec.structs.replace(self.conf, operator=have)

    def threshold(self) -> Config:
        """Edit a filter."""
        length = self.conf.filter["length"] | {"max_words": self.rng.randrange(5, 40)}
        return msgspec.structs.replace(self.conf, filter=self.conf.filter | {"length": length})

    def revert(self) -> Config:
        """Go back to some earlier declaration."""
        return self.rng.choice(self.past)

    def seed(self) -> Config:
        """Put another seed first, or take it away again; the declaration stays."""
        path = self.root / "data/seeds/starter/eng_Latn.jsonl"
        header, first, *rest = path.read_text(encoding="utf-8").splitlines()
        extra = json.dumps({"task": "general", "instruction": "Name a tree.", "response": "The oak is a tree."})
        lines = [header, *rest] if first == extra else [header, extra, first, *rest]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.conf


@pytest.mark.parametrize("batch", range(8))
def test_edits_in_any_order_end_where_a_fresh_build_does(project: Path, batch: int) -> None:
    """25 random sequences of edits a batch, 200 in all: tables and dataset are byte-equal to a build from nothing."""
    for number in range(25):
        rng = random.Random(f"{batch}.{number}")
        edits = Edits(project, rng)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (project / build.STORE).unlink(missing_ok=True)
            for _ in range(rng.randrange(2, 5)):
                edits.step()
                _build(project, edits.conf, folder / "edited")
            (project / build.STORE).unlink()
            _build(project, edits.conf, folder / "fresh")
            for part in (*(f"tables/{language}" for language in edits.conf.language), "dist"):
                assert tree(folder / "edited" / part) == tree(folder / "fresh" / part), (batch, number, part)


def _build(root: Path, conf: Config, folder: Path) -> None:
    composed = slices.resolve(root, conf)
    assemble.run_all(
        root, composed, tables=folder / "tables", dist=folder / "dist", kept=folder / "parts", engine=Counting()
    )
