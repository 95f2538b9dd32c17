"""Continuous batching, in pure Python: which sequence stands in which slot, and what is evaluated next.

Requests are admitted along the prefix tree of their tokens, so that neighbours share the
longest prefixes; what a prompt shares with any that a slot holds, or with a sequence put
aside, is copied instead of evaluated. Prompts are evaluated a few at a time in slots of
their own, behind those that write: a call costs something beside its rows, and most prompts
have only some twenty tokens of their own. A prompt that was read waits there until a
sequence ends, and takes its slot at once. One that is longer than a step may be is read in
parts, between which the others go on. Its last token is evaluated in a step, together with
those that the others have written: what follows a single token costs all of the output
layer, which a step shares. The running sequences always stand in the first slots, without a
gap, because llama.cpp decodes only consecutive sequences as one batch.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from m2l.engine.aside import Aside, Saved
from m2l.engine.loops import LoopWatch
from m2l.engine.prefixes import WIDTH, along_the_tree, common, packed
from m2l.records import Completion, FinishReason, LoopRule

CALL = 6
"""What a call costs beside its rows, in rows of a prompt (`python -m bench.attention`)."""

CUT = 4
"""Parts of prompts are cut at multiples of so many tokens: llama.cpp fills up to that (see `llama`)."""

LOOK = 12
"""Among so many places of the tree's order are those that are read together."""

MOST = 2 / 3
"""The share of the slots that write from which on they do not wait for more than a step's share of prompts."""


class Decoder(Protocol):
    """What the scheduler needs of a model: slots that hold tokens, and a way to extend them."""

    @property
    def n_slots(self) -> int:
        """How many sequences write side by side."""

    @property
    def n_ahead(self) -> int:
        """How many prompts are read side by side, in slots behind those that write."""

    @property
    def n_ctx(self) -> int:
        """How many tokens a slot holds."""

    @property
    def n_batch(self) -> int:
        """How many prompt tokens may be evaluated before those that write go on."""

    @property
    def n_part(self) -> int:
        """How many tokens of one prompt may be evaluated in a call."""

    def copy(self, source: int, target: int) -> None:
        """Make the content of a slot that of another."""

    def trim(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a slot."""

    def save(self, slot: int) -> Saved:
        """Return the content of a slot, to be loaded later."""

    def load(self, slot: int, saved: Saved) -> None:
        """Make the content of a slot what was saved of some slot."""

    def extend(self, slots: Sequence[int], parts: Sequence[Sequence[int]]) -> None:
        """Evaluate in one call a part of a prompt for each of consecutive slots, after what it holds."""

    @property
    def n_saved(self) -> int:
        """How many tokens of a sequence, its first ones, can be saved."""

    def step(self, tokens: Sequence[int], jobs: Sequence[int | None]) -> list[int]:
        """Evaluate one token in each of the first slots and return the next token of each.

        A slot without a job is between others that have one; its content stays as it was.
        """

    def is_end(self, token: int) -> bool:
        """Say whether a token ends an answer."""

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""


@dataclass(slots=True)
class Job:
    """A request as the scheduler sees it: tokens in, at most `max_tokens` out, an end at any of `stop` or in a loop."""

    index: int
    tokens: Sequence[int]
    max_tokens: int
    stop: tuple[bytes, ...]
    loop: LoopRule | None = None


@dataclass(slots=True)
class _Running:
    """A job that writes, and the token that is evaluated next."""

    job: Job
    last: int
    written: int = 0
    data: bytearray = field(default_factory=bytearray)
    watch: LoopWatch | None = None


@dataclass(slots=True)
class _Reading:
    """A job whose prompt is evaluated, and how much of it is."""

    job: Job
    slot: int
    done: int

    @property
    def left(self) -> int:
        """How many tokens are to be evaluated yet; the last one of a prompt is left to a step."""
        return len(self.job.tokens) - 1 - self.done


@dataclass(slots=True)
class Counts:
    """What was done, in tokens: `evaluated` prompt tokens against `prompt` ones, and `written`.

    Prompts were evaluated in `calls`, tokens written in `steps`.
    """

    prompt: int = 0
    evaluated: int = 0
    written: int = 0
    calls: int = 0
    steps: int = 0


class Scheduler:
    """Runs jobs on a decoder; `counts` tells afterwards what it cost.

    Of sequences that are said to go on, as many as fit into `keep` bytes are put aside when
    their slot is needed.
    """

    def __init__(self, decoder: Decoder, keep: int = 0) -> None:
        self.decoder = decoder
        self.counts = Counts()
        slots = decoder.n_slots + decoder.n_ahead
        # What a slot holds and a prompt may begin with.
        self._held: list[bytearray] = [bytearray() for _ in range(slots)]
        self._slots: list[_Running | None] = [None] * decoder.n_slots
        self._going_on = False
        # The run in which a sequence ended that goes on, by the slot that holds it; 0 where there is none.
        self._ended = [0] * decoder.n_slots
        # The prompts in the slots behind, by slot.
        self._reading: list[_Reading] = []
        self._aside = Aside(keep)

    def run(self, jobs: Sequence[Job], *, going_on: bool = False) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) for every job once, as they end.

        `going_on` says that jobs of a later run will begin with the prompts and answers of these.
        """
        fitting = []
        for job in jobs:
            problem = self._problem(job)
            if problem is None:
                fitting.append(job)
            else:
                yield (
                    job.index,
                    Completion(text="", finish_reason=FinishReason.ERROR, prompt_tokens=len(job.tokens), error=problem),
                )
        order = along_the_tree([job.tokens for job in fitting], [job.max_tokens for job in fitting])
        waiting = deque(enumerate(fitting[place] for place in order))
        del fitting, order
        self._aside.begin()
        self._going_on, self._reading = going_on, []
        self._slots = [None] * self.decoder.n_slots
        self._ended = [run if self._aside.lasts(run) else 0 for run in self._ended]
        for slot, held in enumerate(self._held):  # a run that was given up may have gone a step further
            self.decoder.trim(slot, len(held) // WIDTH)
        while waiting or self._reading or any(self._slots):
            self._fill(waiting)
            self._close_gaps()
            yield from self._step()

    def _problem(self, job: Job) -> str | None:
        if not job.tokens:
            return "the prompt has no token"
        needed = len(job.tokens) + job.max_tokens
        if needed > self.decoder.n_ctx:
            return (
                f"context overflow: {len(job.tokens)} prompt + {job.max_tokens} answer tokens "
                f"exceed n_ctx {self.decoder.n_ctx}"
            )
        return None

    def _fill(self, waiting: deque[tuple[int, Job]]) -> None:
        """Read prompts for the free slots, as far as a step's share of tokens goes.

        Where most slots are free, few would wait for it, and a step would cost nearly as much
        as one of all: then they are filled first.
        """
        left = self.decoder.n_batch
        while True:
            self._place()
            writing = sum(map(bool, self._slots))
            if writing == len(self._slots):
                return
            if not self._reading:
                if not waiting:
                    return
                self._begin_together(waiting)
                continue
            parts, most = self._call()
            left -= len(parts) * most
            if left < 0 and writing >= MOST * len(self._slots):
                return
            self._read(parts, most)

    def _place(self) -> None:
        """Let the prompts that were read take free slots."""
        free = [slot for slot, running in enumerate(self._slots) if running is None]
        read = [part for part in self._reading if not part.left]
        for part in read[: len(free)]:
            slot = max(free, key=lambda place: self._fitness(place, self._held[part.slot]))
            free.remove(slot)
            self._reading.remove(part)
            self._put_aside(slot)
            self.decoder.copy(part.slot, slot)
            self._held[slot] = bytearray(self._held[part.slot])
            watch = LoopWatch(part.job.loop) if part.job.loop else None
            self._slots[slot] = _Running(part.job, last=part.job.tokens[-1], watch=watch)
            self.counts.evaluated += 1

    def _fitness(self, slot: int, prompt: bytearray) -> tuple[int, bool, int]:
        """Return for comparison how fit a free slot is for a prompt: the first one, as long as nothing is lost by it.

        Of what goes on and is longer than can be put aside, the prompt's own is no loss.
        """
        superseded = max(common(self._held[slot], prompt), self.decoder.n_saved)
        return superseded, not self._stays(slot), -slot

    def _stays(self, slot: int) -> bool:
        """Say whether a sequence goes on in a slot that is longer than can be put aside."""
        return bool(self._ended[slot]) and len(self._held[slot]) > self.decoder.n_saved * WIDTH

    def _call(self) -> tuple[list[_Reading], int]:
        """Return which prompts are read on in one call, and by how many tokens at most."""
        parts = [part for part in self._reading if part.left][: self.decoder.n_batch]
        while parts[-1].slot - parts[0].slot >= len(parts):  # those of one call are consecutive
            parts.pop()
        _, best = _cut([part.left for part in parts])
        return parts, min(best, self.decoder.n_part, self.decoder.n_batch // len(parts))

    def _read(self, parts: Sequence[_Reading], most: int) -> None:
        """Evaluate so many tokens of prompts, or what is left of them, in one call."""
        tokens = [part.job.tokens[part.done : part.done + min(most, part.left)] for part in parts]
        self.decoder.extend([part.slot for part in parts], tokens)
        for part, some in zip(parts, tokens, strict=True):
            self._held[part.slot] += packed(some)
            part.done += len(some)
        self.counts.calls += 1
        self.counts.evaluated += sum(map(len, tokens))

    def _begin_together(self, waiting: deque[tuple[int, Job]]) -> None:
        """Begin to read the next prompts side by side.

        One that shares with another what is not there yet has to wait: it is evaluated once.
        """
        begun: list[bytes] = []
        end, place = waiting[0][0] + LOOK, 0
        while place < len(waiting) and waiting[place][0] < end and len(begun) < self.decoder.n_ahead:
            job = waiting[place][1]
            prompt = packed(job.tokens)
            shares = self._shares(prompt)
            there = max(*shares, self._aside.share(prompt))
            if all(common(prompt, other) <= there for other in begun):
                del waiting[place]
                begun.append(prompt[:-WIDTH])
                self._begin(job, prompt, shares)
            else:
                place += 1
        self._reading.sort(key=lambda part: part.slot)

    def _shares(self, prompt: bytes) -> list[int]:
        """Return how many tokens of a prompt each slot holds; the last one is always evaluated."""
        last = len(prompt) // WIDTH - 1
        return [min(common(held, prompt), last) for held in self._held]

    def _begin(self, job: Job, prompt: bytes, shares: Sequence[int]) -> None:
        """Give a vacant slot behind the longest prefix of a prompt that any slot holds or that was put aside."""
        taken = {part.slot for part in self._reading}
        vacant = [slot for slot in range(self.decoder.n_slots, len(self._held)) if slot not in taken]
        slot = max(vacant, key=lambda place: (shares[place], -place))
        shared, _, source = max((share, index == slot, index) for index, share in enumerate(shares))
        saved = self._aside.take(prompt, more_than=shared)
        if saved is not None:
            shared = min(common(saved.tokens, prompt), len(job.tokens) - 1)
            self.decoder.load(slot, saved.content)
        elif shared and source != slot:
            self.decoder.copy(source, slot)
        self.decoder.trim(slot, shared)
        self._held[slot] = bytearray(prompt[: shared * WIDTH])
        self.counts.prompt += len(job.tokens)
        self._reading.append(_Reading(job, slot, shared))

    def _close_gaps(self) -> None:
        """Move the last running sequences into free slots before them, but for those that hold more than can be saved.

        To evaluate that again would take as long as the idle row does.
        """
        free = [slot for slot, running in enumerate(self._slots) if running is None and not self._stays(slot)]
        taken = [slot for slot, running in enumerate(self._slots) if running is not None]
        while free and taken and free[0] < taken[-1]:
            gap, last = free.pop(0), taken.pop()
            self._put_aside(gap)
            self.decoder.copy(last, gap)
            self._held[gap] = bytearray(self._held[last])
            self._slots[gap], self._slots[last] = self._slots[last], None

    def _step(self) -> Iterator[tuple[int, Completion]]:
        """Decode one token of every running sequence."""
        there = [slot for slot, sequence in enumerate(self._slots) if sequence is not None]
        if not there:
            return
        rows = self._slots[: there[-1] + 1]
        following = self.decoder.step(
            [sequence.last if sequence else 0 for sequence in rows],
            [sequence.job.index if sequence else None for sequence in rows],
        )
        self.counts.steps += 1
        for slot, (sequence, token) in enumerate(zip(rows, following, strict=True)):
            if sequence is None:
                continue
            self._held[slot] += packed((sequence.last,))
            done = self._accept(sequence, token)
            if done is not None:
                self._slots[slot] = None
                self._ended[slot] = self._aside.run if self._going_on else 0
                yield sequence.job.index, done

    def _put_aside(self, slot: int) -> None:
        """Save what can be of what a slot holds, which is about to be lost, if it is a sequence that goes on."""
        held, most, run = self._held[slot], self.decoder.n_saved, self._ended[slot]
        self._ended[slot] = 0
        if run and self._aside.wants(held[: most * WIDTH]):
            del held[most * WIDTH :]
            self.decoder.trim(slot, len(held) // WIDTH)
            self._aside.put(bytes(held), self.decoder.save(slot), run)

    def _accept(self, sequence: _Running, token: int) -> Completion | None:
        """Take the next token of a sequence; return its completion if it has ended."""
        sequence.written += 1
        sequence.last = token
        self.counts.written += 1
        if self.decoder.is_end(token):
            return self._completion(sequence, bytes(sequence.data), FinishReason.STOP)
        before = len(sequence.data)
        sequence.data += self.decoder.piece(token)
        end = _first_stop(sequence.data, sequence.job.stop, before)
        if end is not None:
            return self._completion(sequence, bytes(sequence.data[:end]), FinishReason.STOP)
        if sequence.watch is not None and sequence.watch.take(token):
            return self._completion(sequence, bytes(sequence.data), FinishReason.LOOP)
        if sequence.written >= sequence.job.max_tokens:
            return self._completion(sequence, bytes(sequence.data), FinishReason.LENGTH)
        return None

    def _completion(self, sequence: _Running, data: bytes, reason: FinishReason) -> Completion:
        return Completion(
            text=data.decode("utf-8", errors="ignore"),
            finish_reason=reason,
            prompt_tokens=len(sequence.job.tokens),
            completion_tokens=sequence.written,
        )


def _first_stop(data: bytearray, stops: tuple[bytes, ...], before: int) -> int | None:
    """Return where the earliest stop string begins that ends after `before`, or None."""
    found = [data.find(stop, max(0, before - len(stop) + 1)) for stop in stops]
    return min((place for place in found if place >= 0), default=None)


def _cut(left: Sequence[int], done: int = 0) -> tuple[int, int]:
    """Return what it costs to read on prompts of which more than `done` is left, and where to cut the next call.

    `left` is what is left of each. In a call all have as many rows: shorter ones are filled
    up, and calls follow until all are read.
    """
    sizes = [-(-size // CUT) * CUT for size in left if size > done]
    costs = [(CALL + len(sizes) * (cut - done) + _cut(left, cut)[0], cut) for cut in sorted(set(sizes))]
    return min(costs, default=(0, done))
