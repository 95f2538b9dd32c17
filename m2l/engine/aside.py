"""Sequences that were put aside because their slot was needed, until a prompt begins with them again."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Any

from m2l.engine.prefixes import WIDTH, common


@dataclass(slots=True)
class Saved:
    """What a slot held: so many tokens, in so many bytes of the decoder's own."""

    length: int
    size: int
    data: Any


@dataclass(slots=True)
class Kept:
    """Packed tokens, what a decoder saved of them, and the run in which they ended."""

    tokens: bytes
    content: Saved
    run: int


class Aside:
    """Holds sequences of `room` bytes together.

    Every run admits prompts in about the order of their tokens. So, of all that is here,
    what this run has passed over is needed last, if ever; before that what this run itself
    put here, the highest tokens last; and first what this run has yet to come to.
    """

    def __init__(self, room: int) -> None:
        self.room, self.used = room, 0
        self._kept: dict[bytes, Kept] = {}
        self._order: list[bytes] = []
        self.run, self._here = 0, b""

    def begin(self) -> None:
        """Begin a run; what ended before the two runs before it is let go."""
        self.run, self._here = self.run + 1, b""
        for tokens in [tokens for tokens, kept in self._kept.items() if not self.lasts(kept.run)]:
            self._drop(tokens)

    def lasts(self, run: int) -> bool:
        """Say whether what ended in a run may still go on."""
        return run >= self.run - 2

    def wants(self, tokens: bytes | bytearray) -> bool:
        """Say whether a sequence that has ended is to be put here: if none that goes further is."""
        place = bisect_left(self._order, bytes(tokens))
        return bool(self.room) and not (place < len(self._order) and self._order[place].startswith(tokens))

    def put(self, tokens: bytes, content: Saved, run: int) -> None:
        """Take in a sequence that ended in a run, in place of what it goes on from; let others go until all fit."""
        place = bisect_left(self._order, tokens)
        while place and tokens.startswith(self._order[place - 1]):
            place -= 1
            self._drop(self._order[place])
        self._kept[tokens] = Kept(tokens, content, run)
        insort(self._order, tokens)
        self.used += content.size
        while self.used > self.room:
            self._drop(max(self._order, key=self._needed))

    def share(self, prompt: bytes) -> int:
        """Return how many tokens of a prompt the sequence has that shares most with it; the last one does not count."""
        best = self._nearest(prompt)
        return min(common(best, prompt), len(prompt) // WIDTH - 1)

    def take(self, prompt: bytes, more_than: int) -> Kept | None:
        """Return the sequence that shares most with a prompt, if that is more than so many tokens; it stays here."""
        self._here = prompt
        return self._kept[self._nearest(prompt)] if self.share(prompt) > more_than else None

    def _nearest(self, prompt: bytes) -> bytes:
        place = bisect_left(self._order, prompt)
        near = self._order[max(0, place - 1) : place + 1]
        return max(near, key=lambda tokens: common(tokens, prompt), default=b"")

    def _needed(self, tokens: bytes) -> tuple[int, bytes]:
        """Return when a sequence is needed again, for comparison."""
        if self._kept[tokens].run == self.run:
            return 1, tokens
        return (0 if tokens >= self._here else 2), tokens

    def _drop(self, tokens: bytes) -> None:
        self.used -= self._kept.pop(tokens).content.size
        del self._order[bisect_left(self._order, tokens)]
