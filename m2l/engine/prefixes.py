"""Token sequences as bytes that compare like them, and the order of prompts along their prefix tree."""

import struct
from collections.abc import Sequence
from itertools import pairwise

WIDTH = 4
"""Bytes of a packed token."""


def packed(tokens: Sequence[int]) -> bytes:
    """Return tokens as bytes, the high ones first, so that bytes compare and share prefixes as the tokens do."""
    return struct.pack(f">{len(tokens)}I", *tokens)


def common(first: bytes | bytearray, second: bytes | bytearray) -> int:
    """Return the length of the common prefix of packed tokens, by bisection over slices, which compare fast."""
    low, high = 0, min(len(first), len(second)) // WIDTH
    while low < high:
        middle = (low + high + 1) // 2
        if first[low * WIDTH : middle * WIDTH] == second[low * WIDTH : middle * WIDTH]:
            low = middle
        else:
            high = middle - 1
    return low


def along_the_tree(prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """Return the order in which prompts are best admitted: depth first through their prefix tree.

    So no prompt shares more with any before it than with its neighbour. Of the branches at a
    node that with the longest answer to be expected comes first, by `lengths`, as an answer
    that begins last should be short; then the order of the tokens.
    """
    keys = [packed(prompt) for prompt in prompts]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared = [0, *(common(keys[a], keys[b]) for a, b in pairwise(order))]
    result, ranges = [], [(0, len(order))] if order else []
    while ranges:
        start, end = ranges.pop()
        depth = min(shared[start + 1 : end], default=-1)
        if depth < 0:
            result.append(order[start])
            continue
        cuts = [start, *(place for place in range(start + 1, end) if shared[place] == depth), end]
        branches = list(pairwise(cuts))
        longest = {cut: max(lengths[order[place]] for place in range(*cut)) for cut in branches}
        ranges += sorted(branches, key=lambda cut: (-longest[cut], cut), reverse=True)
    return result
