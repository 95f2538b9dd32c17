"""Continuous batching, in pure Python: which sequence stands in which slot, and what is evaluated next.

Requests are admitted along the prefix tree of their tokens, so that neighbours share the
longest prefixes; the one admitted last is always still in some slot, and what a prompt
shares with it, with any other slot, or with a sequence put aside, is copied instead of
evaluated. A slot is refilled as soon as its sequence ends, and a prompt that is longer
than a step may be is evaluated in parts, between which the others go on. Its last token
is evaluated in a step, together with those that the others have written: what follows a
single token costs all of the output layer, which a step shares. The running
sequences always stand in the first slots, without a gap, because llama.cpp decodes only
consecutive sequences as one batch.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from m2l.engine.aside import Aside, Saved
from m2l.engine.loops import LoopWatch
from m2l.engine.prefixes import WIDTH, along_the_tree, common, packed
from m2l.records import Completion, FinishReason, LoopRule


class Decoder(Protocol):
    """What the scheduler needs of a model: slots that hold tokens, and a way to extend them."""

    @property
    def n_slots(self) -> int:
        """How many sequences stand side by side."""

    @property
    def n_ctx(self) -> int:
        """How many tokens a slot holds."""

    @property
    def n_batch(self) -> int:
        """How many prompt tokens may be evaluated before those that write go on."""

    def copy(self, source: int, target: int) -> None:
        """Make the content of a slot that of another."""

    def trim(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a slot."""

    def save(self, slot: int) -> Saved:
        """Return the content of a slot, to be loaded later."""

    def load(self, slot: int, saved: Saved) -> None:
        """Make the content of a slot what was saved of some slot."""

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Evaluate tokens of a prompt that follow what a slot holds."""

    @property
    def n_saved(self) -> int:
        """How many tokens of a sequence, its first ones, can be saved."""

    @property
    def reads_what_it_wrote(self) -> bool:
        """Whether a token that was written may stand for the same one of a prompt."""

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
class _Filling:
    """A job whose prompt is evaluated in parts, and how much of it is."""

    job: Job
    slot: int
    done: int


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
        # What a slot holds and a prompt may begin with; what was written after it may be there, too.
        self._held: list[bytearray] = [bytearray() for _ in range(decoder.n_slots)]
        self._slots: list[_Running | None] = [None] * decoder.n_slots
        self._going_on = False
        # The run in which a sequence ended that goes on, by the slot that holds it; 0 where there is none.
        self._ended = [0] * decoder.n_slots
        self._filling: _Filling | None = None
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
        waiting = deque(fitting[place] for place in order)
        del fitting, order
        self._aside.begin()
        self._going_on, self._filling = going_on, None
        self._slots = [None] * self.decoder.n_slots
        self._ended = [run if self._aside.lasts(run) else 0 for run in self._ended]
        for slot, held in enumerate(self._held):  # a run that was given up may have gone a step further
            self.decoder.trim(slot, len(held) // WIDTH)
        while waiting or self._filling or any(self._slots):
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

    def _fill(self, waiting: deque[Job]) -> None:
        """Admit jobs into free slots until a step's share of prompt tokens is evaluated.

        A prompt that is longer than what is left of it goes on being evaluated before the
        next steps.
        """
        left = self.decoder.n_batch
        while left > 0:
            if self._filling is None:
                free = [slot for slot, running in enumerate(self._slots) if running is None]
                if not free or not waiting:
                    return
                self._filling = self._begin(waiting.popleft(), free)
            part = self._filling
            last = len(part.job.tokens) - 1
            end = min(part.done + left, last)
            tokens = part.job.tokens[part.done : end]
            if tokens:
                self.decoder.extend(part.slot, tokens)
                self._held[part.slot] += packed(tokens)
                self.counts.calls += 1
            self.counts.evaluated += len(tokens)
            left -= len(tokens)
            part.done = end
            if end == last:
                watch = LoopWatch(part.job.loop) if part.job.loop else None
                self._slots[part.slot] = _Running(part.job, last=part.job.tokens[last], watch=watch)
                self.counts.evaluated += 1
                self._filling = None

    def _begin(self, job: Job, free: Sequence[int]) -> _Filling:
        """Give a free slot the longest prefix of a prompt that any slot holds or that was put aside.

        It is the first one, or that which holds more of the prompt than could be put aside.
        """
        prompt = packed(job.tokens)
        shares = [common(held, prompt) for held in self._held]
        slot = max(free, key=lambda place: (max(shares[place], self.decoder.n_saved), -place))
        if shares[slot] <= self.decoder.n_saved:
            self._put_aside(slot)
        self._ended[slot] = 0
        shared, _, source = max((share, index == slot, index) for index, share in enumerate(shares))
        saved = self._aside.take(prompt, more_than=shared)
        if saved is not None:
            shared = common(saved.tokens, prompt)
            self.decoder.load(slot, saved.content)
        elif shared and source != slot:
            self.decoder.copy(source, slot)
        shared = min(shared, len(job.tokens) - 1)
        self.decoder.trim(slot, shared)
        self._held[slot] = bytearray(packed(job.tokens[:shared]))
        self.counts.prompt += len(job.tokens)
        return _Filling(job, slot, shared)

    def _close_gaps(self) -> None:
        """Move the last running sequences into free slots before them, but for those that hold more than can be saved.

        To evaluate that again would take as long as the idle row does.
        """
        busy = self._filling.slot if self._filling else None
        most = self.decoder.n_saved * WIDTH
        free = [
            slot
            for slot, running in enumerate(self._slots)
            if running is None and slot != busy and not (self._ended[slot] and len(self._held[slot]) > most)
        ]
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
            if self.decoder.reads_what_it_wrote:
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
