"""Sequences that were put aside because their slot was needed, until a prompt begins with them again."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Any

from m2l.engine.prefixes import common


@dataclass(slots=True)
class Saved:
    """What a slot held: so many tokens, in so many bytes of the decoder's own."""

    length: int
    size: int
    data: Any


@dataclass(slots=True)
class Kept:
    """Packed tokens, what a decoder saved of them, and the run in which it did."""

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
        self._run, self._going_on, self._here = 0, False, b""

    def begin(self, *, going_on: bool) -> None:
        """Begin a run; what the two runs before it did not put here is let go."""
        self._run, self._going_on, self._here = self._run + 1, going_on, b""
        for tokens in [tokens for tokens, kept in self._kept.items() if kept.run < self._run - 2]:
            self._drop(tokens)

    def wants(self, tokens: bytes | bytearray) -> bool:
        """Say whether a sequence that has ended is to be put here: if its run goes on, and none goes further."""
        if not self._going_on or not self.room:
            return False
        place = bisect_left(self._order, bytes(tokens))
        return not (place < len(self._order) and self._order[place].startswith(tokens))

    def put(self, tokens: bytes, content: Saved) -> None:
        """Take a sequence in, in place of what it goes on from; let go what is needed last until there is room."""
        place = bisect_left(self._order, tokens)
        while place and tokens.startswith(self._order[place - 1]):
            place -= 1
            self._drop(self._order[place])
        self._kept[tokens] = Kept(tokens, content, self._run)
        insort(self._order, tokens)
        self.used += content.size
        while self.used > self.room:
            self._drop(max(self._order, key=self._needed))

    def take(self, prompt: bytes, more_than: int) -> Kept | None:
        """Return the sequence that shares most with a prompt, if that is more than so many tokens; it stays here."""
        self._here = prompt
        place = bisect_left(self._order, prompt)
        near = self._order[max(0, place - 1) : place + 1]
        best = max(near, key=lambda tokens: common(tokens, prompt), default=b"")
        return self._kept[best] if common(best, prompt) > more_than else None

    def _needed(self, tokens: bytes) -> tuple[int, bytes]:
        """Return when a sequence is needed again, for comparison."""
        if self._kept[tokens].run == self._run:
            return 1, tokens
        return (0 if tokens >= self._here else 2), tokens

    def _drop(self, tokens: bytes) -> None:
        self.used -= self._kept.pop(tokens).content.size
        del self._order[bisect_left(self._order, tokens)]
