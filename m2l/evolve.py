"""Step 1: every operator of its task evolves every seed instruction; `pipeline` walks the way."""

from m2l.draft import Draft
from m2l.spec import Slice


def drafts(piece: Slice) -> list[Draft]:
    """Return one draft for each seed and each operator that applies to its task."""
    return [
        Draft(seed=seed, operator=name, operator_family=operator.family, evolve_prompt=operator.prompts[0])
        for seed in piece.seeds
        for name, operator in sorted(piece.operator.items())
        if seed.task in operator.applies_to
    ]
