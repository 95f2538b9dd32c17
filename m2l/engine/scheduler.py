"""Continuous batching, in pure Python: which sequence stands in which slot, and what is evaluated next.

Requests are admitted in the order of their tokens, so that neighbours share the longest
prefixes; the one admitted last is always still in some slot, and what a prompt shares
with it, or with any other slot, is copied instead of evaluated. A slot is refilled as
soon as its sequence ends. The running sequences always stand in the first slots, without
a gap, because llama.cpp decodes only consecutive sequences as one batch.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from m2l.engine.loops import LoopWatch
from m2l.records import Completion, FinishReason, LoopRule


class Decoder(Protocol):
    """What the scheduler needs of a model: slots that hold tokens, and a way to extend them."""

    @property
    def n_slots(self) -> int:
        """How many sequences stand side by side."""

    @property
    def n_ctx(self) -> int:
        """How many tokens a slot holds."""

    def copy(self, source: int, target: int) -> None:
        """Make the content of a slot that of another."""

    def trim(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a slot."""

    def prefill(self, slot: int, tokens: Sequence[int], start: int, job: int) -> int:
        """Evaluate tokens from position `start` on and return the first token of the answer of `job`."""

    def step(self, tokens: Sequence[int], positions: Sequence[int], jobs: Sequence[int]) -> list[int]:
        """Evaluate one token in each of the first slots and return the next token of each."""

    def is_end(self, token: int) -> bool:
        """Say whether a token ends an answer."""

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""


@dataclass(slots=True)
class Job:
    """A request as the scheduler sees it: tokens in, at most `max_tokens` out, an end at any of `stop` or in a loop."""

    index: int
    tokens: list[int]
    max_tokens: int
    stop: tuple[bytes, ...]
    loop: LoopRule | None = None


@dataclass(slots=True)
class _Running:
    job: Job
    written: int = 0
    last: int = -1
    data: bytearray = field(default_factory=bytearray)
    watch: LoopWatch | None = None


@dataclass(slots=True)
class Counts:
    """What was done, in tokens: `evaluated` prompt tokens against `prompt` ones, and `written`."""

    prompt: int = 0
    evaluated: int = 0
    written: int = 0
    steps: int = 0


class Scheduler:
    """Runs jobs on a decoder; `counts` tells afterwards what it cost."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.counts = Counts()
        self._held: list[list[int]] = [[] for _ in range(decoder.n_slots)]
        self._slots: list[_Running | None] = [None] * decoder.n_slots

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) for every job once, as they end."""
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
        waiting = deque(sorted(fitting, key=lambda job: (job.tokens, job.index)))
        while waiting or any(self._slots):
            for slot in range(self.decoder.n_slots):
                while waiting and self._slots[slot] is None:
                    yield from self._admit(waiting.popleft(), slot)
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

    def _admit(self, job: Job, slot: int) -> Iterator[tuple[int, Completion]]:
        """Put a job into a free slot, copying the longest prefix that any slot holds."""
        shared, _, source = max(
            (_common(held, job.tokens), index == slot, index) for index, held in enumerate(self._held)
        )
        shared = min(shared, len(job.tokens) - 1)
        if shared and source != slot:
            self.decoder.copy(source, slot)
        self.decoder.trim(slot, shared)
        first = self.decoder.prefill(slot, job.tokens[shared:], shared, job.index)
        self._held[slot] = list(job.tokens)
        self.counts.prompt += len(job.tokens)
        self.counts.evaluated += len(job.tokens) - shared
        sequence = _Running(job, watch=LoopWatch(job.loop) if job.loop else None)
        done = self._accept(sequence, first)
        if done is None:
            self._slots[slot] = sequence
        else:
            yield job.index, done

    def _close_gaps(self) -> None:
        """Move the last running sequences into free slots before them."""
        free = [slot for slot, sequence in enumerate(self._slots) if sequence is None]
        taken = [slot for slot, sequence in enumerate(self._slots) if sequence is not None]
        while free and taken and free[0] < taken[-1]:
            gap, last = free.pop(0), taken.pop()
            self.decoder.copy(last, gap)
            self._held[gap] = list(self._held[last])
            self._slots[gap], self._slots[last] = self._slots[last], None

    def _step(self) -> Iterator[tuple[int, Completion]]:
        """Decode one token of every running sequence."""
        running = [sequence for sequence in self._slots if sequence is not None]
        if not running:
            return
        tokens = [sequence.last for sequence in running]
        positions = [len(held) for held in self._held[: len(running)]]
        following = self.decoder.step(tokens, positions, [sequence.job.index for sequence in running])
        self.counts.steps += 1
        for slot, (sequence, token) in enumerate(zip(running, following, strict=True)):
            self._held[slot].append(sequence.last)
            done = self._accept(sequence, token)
            if done is not None:
                self._slots[slot] = None
                yield sequence.job.index, done

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


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the common prefix, by bisection over slices, which compare fast."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _first_stop(data: bytearray, stops: tuple[bytes, ...], before: int) -> int | None:
    """Return where the earliest stop string begins that ends after `before`, or None."""
    found = [data.find(stop, max(0, before - len(stop) + 1)) for stop in stops]
    return min((place for place in found if place >= 0), default=None)
