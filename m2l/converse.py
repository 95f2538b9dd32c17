"""Step 2: dialogue variations make evolved instructions into conversations, turn by turn."""

from collections.abc import Sequence
from dataclasses import replace

from m2l.digest import drawn
from m2l.draft import Draft
from m2l.prompts import directives
from m2l.spec import Slice


def drafts(evolved: Sequence[Draft], piece: Slice) -> list[Draft]:
    """Return one draft for each evolved instruction and each variation that it draws.

    An instruction draws the variations of the highest digest of its id and their
    name (rendezvous hashing), so that adding a variation moves only the
    conversations that it wins, and no position matters.
    """
    result = []
    for draft in evolved:
        evolved_id = draft.evolved_id
        for name in sorted(drawn(piece.variation, evolved_id)[: piece.variations_per_instruction]):
            result.append(
                replace(
                    draft,
                    variation=name,
                    variation_family=piece.variation[name].family,
                    variation_prompts=directives(piece, name, evolved_id),
                )
            )
    return result


def longest(piece: Slice) -> int:
    """Return the number of user turns after the first in the longest variation."""
    return max((len(variation.turns) for variation in piece.variation.values()), default=0)
