"""Step 1: operators of its task evolve every seed instruction; `pipeline` walks the way."""

from m2l.digest import drawn
from m2l.draft import Draft
from m2l.prompts import directive
from m2l.spec import Slice


def drafts(piece: Slice) -> list[Draft]:
    """Return one draft for each seed and each operator that it draws of those that apply to its task.

    A seed draws the operators of the highest digest of its id and their name
    (rendezvous hashing), so that adding one moves only what it wins.
    """
    by_task = {
        task: [name for name, operator in sorted(piece.operator.items()) if task in operator.applies_to]
        for task in piece.task
    }
    result = []
    for seed in piece.seeds:
        names = by_task[seed.task]
        if piece.operators_per_seed is not None and piece.operators_per_seed < len(names):
            names = sorted(drawn(names, seed.seed_id)[: piece.operators_per_seed])
        for name in names:
            operator = piece.operator[name]
            prompt = directive(operator.prompt, piece.language, seed.seed_id, name)
            result.append(Draft(seed=seed, operator=name, operator_family=operator.family, evolve_prompt=prompt))
    return result
