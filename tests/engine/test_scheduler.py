"""Continuous batching, over a decoder that really holds tokens and notices every wrong copy."""

import tracemalloc
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l.engine.aside import Aside, Saved
from m2l.engine.prefixes import along_the_tree, common, packed
from m2l.engine.scheduler import CALL, CUT, Job, Scheduler
from m2l.records import Completion, FinishReason, LoopRule

END = 0
ALPHABET = "abcdefgh éö水"


class Held:
    """A decoder whose next token follows from all that its slot holds, and by which way it came there."""

    def __init__(
        self,
        n_slots: int,
        n_ctx: int = 60,
        n_batch: int = 1000,
        n_saved: int = 1000,
        n_ahead: int = 3,
        n_part: int = 1000,
    ) -> None:
        self.n_slots, self.n_ahead, self.n_ctx, self.n_batch, self.n_saved = n_slots, n_ahead, n_ctx, n_batch, n_saved
        self.n_part = n_part
        self.slots: list[list[int]] = [[] for _ in range(n_slots + n_ahead)]
        self.rows: list[int] = []
        self.calls: list[int] = []
        self.evaluated = self.since_step = 0
        self.begun: set[int] = set()
        self.between: list[int] = []

    def copy(self, source: int, target: int) -> None:
        """Copy a slot whole."""
        assert source != target
        self.slots[target] = list(self.slots[source])

    def trim(self, slot: int, length: int) -> None:
        """Cut a slot."""
        assert length <= len(self.slots[slot])
        del self.slots[slot][length:]

    def save(self, slot: int) -> Saved:
        """Give what a slot holds away."""
        assert len(self.slots[slot]) <= self.n_saved
        return Saved(len(self.slots[slot]), len(self.slots[slot]), list(self.slots[slot]))

    def load(self, slot: int, saved: Saved) -> None:
        """Take it back."""
        self.slots[slot] = list(saved.data)

    def extend(self, slots: Sequence[int], parts: Sequence[Sequence[int]]) -> None:
        """Extend consecutive slots by parts of prompts."""
        assert all(parts)
        assert max(map(len, parts)) <= self.n_part
        assert max(map(len, parts)) < min(map(len, parts)) + CALL + CUT  # no slot has room for more
        assert list(slots) == list(range(slots[0], slots[0] + len(parts)))
        assert slots[0] >= self.n_slots
        for slot, tokens in zip(slots, parts, strict=True):
            self.slots[slot] += tokens
            self.evaluated += len(tokens)
            self.since_step += len(tokens)
        self.calls.append(len(parts))

    def step(self, tokens: Sequence[int], jobs: Sequence[int | None]) -> list[int]:
        """Extend the first slots by a token each, but for those without a job."""
        told = [job for job in jobs if job is not None]
        assert len(set(told)) == len(told) <= len(jobs) <= self.n_slots
        assert jobs[-1] is not None
        self.rows.append(len(told))
        self.evaluated += len(set(told) - self.begun)  # the last token of a prompt is evaluated in a step
        self.begun |= set(told)
        self.between.append(self.since_step)
        self.since_step = 0
        result = []
        for slot, (token, job) in enumerate(zip(tokens, jobs, strict=True)):
            assert len(self.slots[slot]) < self.n_ctx
            if job is not None:
                self.slots[slot].append(token)
            result.append(following(self.slots[slot]) if job is not None else -1)
        return result

    def is_end(self, token: int) -> bool:
        """Token 0 ends an answer."""
        return token == END

    def piece(self, token: int) -> bytes:
        """A byte a token, so that characters span tokens."""
        data = ALPHABET.encode()
        return data[token % len(data) : token % len(data) + 1]


def following(held: Sequence[int]) -> int:
    """Return a token that depends on every one before it."""
    value = 7
    for token in held:
        value = (value * 31 + token + 1) % 1_000_003
    return value % 23


def alone(job: Job, n_ctx: int) -> Completion:
    """Return what a job gives by itself, one token after the other: the reference."""
    decoder, history, data = Held(1, n_ctx), list(job.tokens), b""
    for count in range(1, job.max_tokens + 1):
        token = following(history)
        if token == END:
            return _done(job, data, count, FinishReason.STOP)
        data += decoder.piece(token)
        ends = [data.find(stop) for stop in job.stop if stop in data]
        if ends:
            return _done(job, data[: min(ends)], count, FinishReason.STOP)
        history.append(token)
    return _done(job, data, job.max_tokens, FinishReason.LENGTH)


def _done(job: Job, data: bytes, count: int, reason: FinishReason) -> Completion:
    text = data.decode("utf-8", errors="ignore")
    return Completion(text=text, finish_reason=reason, prompt_tokens=len(job.tokens), completion_tokens=count)


prompts = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=12), min_size=0, max_size=25)
stops = st.lists(st.sampled_from([b"ab", b"c", "é".encode(), b"hg", b"zzz"]), max_size=2).map(tuple)


@given(
    prompts, st.integers(1, 6), st.integers(1, 20), stops, st.sampled_from([1, 2, 5, 1000]),
    st.sampled_from([1, 4, 1000]), st.integers(1, 5), st.randoms(),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_every_job_ends_once_as_if_it_were_alone(
    tokens: list[list[int]], n_slots: int, max_tokens: int, stop: tuple[bytes, ...], n_batch: int, n_part: int,
    n_ahead: int, rng: object,
) -> None:  # fmt: skip
    """Slots, order, neighbours and the cuts of a prompt change no answer; each job is answered once.

    There are never more rows than slots.
    """
    jobs = [Job(index, prompt, max_tokens, stop) for index, prompt in enumerate(tokens)]
    rng.shuffle(jobs)  # type: ignore[attr-defined]
    decoder = Held(n_slots, n_batch=n_batch, n_part=n_part, n_ahead=n_ahead)
    found = list(Scheduler(decoder).run(jobs))
    assert len(found) == len(jobs)
    assert dict(found) == {job.index: alone(job, decoder.n_ctx) for job in jobs}
    assert all(rows <= n_slots for rows in decoder.rows)


@given(prompts, st.integers(6, 12))
@settings(max_examples=300, deadline=None)
def test_what_prompts_share_is_evaluated_once(tokens: list[list[int]], n_slots: int) -> None:
    """Tokens evaluated are the nodes of the prompts' prefix tree, and one more for a prompt that was all held.

    With fewer slots than that, what is read together may push out what the next ones share.
    """
    decoder = Held(n_slots)
    list(Scheduler(decoder).run([Job(index, prompt, 3, ()) for index, prompt in enumerate(tokens)]))
    nodes = {tuple(prompt[:end]) for prompt in tokens for end in range(1, len(prompt) + 1)}
    assert decoder.evaluated <= len(nodes) + len(tokens)
    assert decoder.evaluated >= len({tuple(prompt) for prompt in tokens})
    long = [[1, 2] * 10 + [number] for number in range(1, 9)]
    shared = Held(n_slots)
    list(Scheduler(shared).run([Job(index, prompt, 3, ()) for index, prompt in enumerate(long)]))
    assert shared.evaluated == 20 + 8


@given(prompts, prompts, st.integers(1, 6), st.sampled_from([3, 8, 1000]), st.sampled_from([2, 1000]))
@settings(deadline=None)
def test_a_second_round_builds_on_the_first(
    first: list[list[int]], second: list[list[int]], n_slots: int, n_saved: int, n_batch: int
) -> None:
    """One scheduler, three rounds, the last goes on from the first: answers stay right, however little can be saved."""
    decoder = Held(n_slots, n_saved=n_saved, n_batch=n_batch)
    scheduler = Scheduler(decoder, keep=40)
    for round_ in (first, second, [prompt + written(prompt, 2) + [1] for prompt in first]):
        jobs = [Job(index, prompt, 5, ()) for index, prompt in enumerate(round_)]
        expected = {job.index: alone(job, decoder.n_ctx) for job in jobs}
        assert dict(scheduler.run(jobs, going_on=True)) == expected


def test_a_conversation_that_goes_on_costs_its_new_turn() -> None:
    """A prompt that begins with all that a slot holds is evaluated from there on."""
    decoder = Held(4)
    scheduler = Scheduler(decoder)
    [(_, _)] = scheduler.run([Job(0, [1, 2, 3, 4, 5, 6], 1, ())])
    before = decoder.evaluated
    list(scheduler.run([Job(1, [1, 2, 3, 4, 5, 6, 2, 2], 1, ())]))
    assert decoder.evaluated - before == 2


def test_prompts_are_read_together() -> None:
    """Sixteen prompts that share a beginning: it is read once, and their own tokens by four in a call."""
    decoder = Held(20, n_ahead=4)
    jobs = [Job(index, [1, 2, 3, 4, 5, *[index + 6] * (4 + index % 3), 9], 4, ()) for index in range(16)]
    assert dict(Scheduler(decoder).run(jobs)) == {job.index: alone(job, decoder.n_ctx) for job in jobs}
    assert decoder.calls[0] == 1
    assert len(decoder.calls) <= 6
    assert decoder.calls.count(4) >= 3


class Endless(Held):
    """A decoder whose answers end by their budget alone."""

    def is_end(self, token: int) -> bool:
        """No token ends an answer."""
        return False


def test_a_long_prompt_does_not_hold_up_those_that_write() -> None:
    """It is evaluated in parts of a step's share, between which the others go on."""
    decoder = Endless(3, n_ctx=100, n_batch=5)
    jobs = [Job(0, [2, 2], 60, ()), Job(1, [3, 3], 60, ()), Job(2, [1, 4] * 20, 5, ()), Job(3, [5] * 30, 5, ())]
    order = [index for index, _ in Scheduler(decoder).run(jobs)]
    assert order == [2, 3, 0, 1]
    assert sum(decoder.between) == 1 + 1 + 39 + 29
    assert decoder.evaluated == 2 + 2 + 40 + 30
    assert max(decoder.between) <= 5


@given(prompts, st.randoms())
def test_neighbours_share_the_most(tokens: list[list[int]], rng: Any) -> None:
    """Along the tree no prompt shares more with any before it than with the one just before; none is left out."""
    lengths = [rng.randrange(1, 9) for _ in tokens]
    order = along_the_tree(tokens, lengths)
    assert sorted(order) == list(range(len(tokens)))
    keys = [packed(tokens[place]) for place in order]
    for place in range(1, len(keys)):
        shares = [common(keys[place], before) for before in keys[:place]]
        assert shares[-1] == max(shares)
    if order:
        branch = [length for prompt, length in zip(tokens, lengths, strict=True) if prompt[0] == tokens[order[0]][0]]
        assert max(branch) == max(lengths) or len({prompt[0] for prompt in tokens}) == 1


def conversations(number: int) -> Iterator[list[list[int]]]:
    """Yield the prompts of three rounds: each is what was said before, the answer, and two tokens more."""
    every = [list(talk_of([1, 1, 1, 1, index, index])) for index in range(2, 300)]
    lasting = [talk for talk in every if all(END not in written(prompt) for prompt in talk)]
    yield from map(list, zip(*lasting[:number], strict=True))


def talk_of(prompt: list[int]) -> Iterator[list[int]]:
    """Yield the prompts of one conversation."""
    for turn in range(3):
        yield prompt
        prompt = prompt + written(prompt) + [turn + 1, 2]


def written(prompt: list[int], count: int = 4) -> list[int]:
    """Return what the decoder writes after a prompt."""
    held = list(prompt)
    for _ in range(count):
        held.append(following(held))
    return held[len(prompt) :]


def test_conversations_that_go_on_are_put_aside() -> None:
    """Ten conversations over two slots: each turn costs its new tokens and the last one written, and no more."""
    costs = []
    for keep in (10_000, 0):
        decoder = Held(2, n_ctx=200)
        scheduler = Scheduler(decoder, keep)
        for prompts in conversations(10):
            before = decoder.evaluated
            decoder.begun.clear()
            jobs = [Job(index, prompt, 4, ()) for index, prompt in enumerate(prompts)]
            assert dict(scheduler.run(jobs, going_on=True)) == {job.index: alone(job, 200) for job in jobs}
            costs.append(decoder.evaluated - before)
    assert costs[:3] == [4 + 10 * 2, 10 * 3, 10 * 3]
    assert costs[4] > 60


def test_what_cannot_be_saved_whole_stays_in_its_slot() -> None:
    """Of conversations that are longer than can be saved, a turn costs its new tokens, though the first ends first."""
    anything = tuple(bytes([byte]) for byte in ALPHABET.encode())
    decoder = Endless(4, n_ctx=200, n_saved=3)
    scheduler = Scheduler(decoder, keep=10_000)
    talks = [[1, 1, 1, 1, 1, first, 4] for first in (1, 2, 3)]
    costs = []
    for _ in range(3):
        before = decoder.evaluated
        decoder.begun.clear()
        jobs = [Job(index, talk, 8, () if index else anything) for index, talk in enumerate(talks)]
        found = dict(scheduler.run(jobs, going_on=True))
        assert [found[index].completion_tokens for index in range(3)] == [1, 8, 8]
        costs.append(decoder.evaluated - before)
        talks = [[*talk, 5, 6, 7] for talk in talks]
    assert costs == [5 + 3 * 2, 3 * 3, 3 * 3]


def test_where_not_all_fit_what_is_needed_last_goes() -> None:
    """With room for four of six, four are taken up in every round; by age it would be none."""
    decoder, hits = Held(1, n_ctx=200), []
    scheduler = Scheduler(decoder, keep=0)
    for prompts in conversations(6):
        scheduler._aside.room = 4 * (len(prompts[0]) + 4)  # grows with them
        before = decoder.evaluated
        decoder.begun.clear()
        list(scheduler.run([Job(index, prompt, 4, ()) for index, prompt in enumerate(prompts)], going_on=True))
        alone_ = sum(len(prompt) for prompt in prompts)
        hits.append((decoder.evaluated - before, alone_))
    for evaluated, alone_ in hits[1:]:
        assert evaluated <= 4 * 3 + 2 * (alone_ // 6)


@given(st.lists(prompts, max_size=4), st.integers(1, 60))
def test_what_is_put_aside_keeps_to_its_room_and_is_found(runs: list[list[list[int]]], room: int) -> None:
    """It is never more than there is room for; what is found shares as much as anything that is there."""
    aside = Aside(room)
    for prompts in runs:
        aside.begin()
        for prompt in prompts:
            key = packed(prompt)
            there = [min(common(key, other), len(prompt) - 1) for other in aside._kept]
            found = aside.take(key, more_than=0)
            assert (min(common(found.tokens, key), len(prompt) - 1) if found else 0) == max(there, default=0)
            assert aside.share(key) == max(there, default=0)
            if aside.wants(key):
                aside.put(key, Saved(len(prompt), len(prompt), prompt), aside.run)
            assert aside.used == sum(kept.content.size for kept in aside._kept.values()) <= room
            assert aside._order == sorted(aside._kept)


def test_fifty_thousand_requests_hold_memory_flat() -> None:
    """What a run holds grows neither with what it has written nor with what it has put aside."""
    decoder = Held(24)
    jobs = [Job(n, array("i", [1, 2, 3, 4, n % 97, n % 89, n % 83, n]), 3, ()) for n in range(50_000)]
    run = Scheduler(decoder, keep=2_000).run(jobs, going_on=True)
    del jobs
    held = []
    tracemalloc.start()
    try:
        for count, (_, completion) in enumerate(run, start=1):
            assert completion.completion_tokens
            if count % 5_000 == 0:
                decoder.rows.clear()
                decoder.between.clear()
                decoder.begun.clear()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert len(held) == 10
    assert max(held) <= held[0] + 100_000


def test_a_run_that_is_given_up_leaves_nothing_wrong_behind() -> None:
    """After one answer of many the run is left; the next one on the same slots is right."""
    decoder = Held(4)
    scheduler = Scheduler(decoder)
    jobs = [Job(index, [1, 2, index + 1], 9 - index, ()) for index in range(6)]
    for given_up in range(1, 6):
        run = scheduler.run(jobs)
        for _ in range(given_up):
            next(run)
        run.close()  # type: ignore[attr-defined]
        assert dict(scheduler.run(jobs)) == {job.index: alone(job, decoder.n_ctx) for job in jobs}


def test_short_jobs_pass_an_early_long_one() -> None:
    """A long job in one slot does not hold up short ones that come after it."""
    decoder = Held(2)
    jobs = [Job(0, [1], 50, ()), *(Job(n, [2, n], 3, ()) for n in range(1, 9))]
    assert alone(jobs[0], 60).completion_tokens > 24
    order = [index for index, _ in Scheduler(decoder).run(jobs)]
    assert order[-1] == 0
    assert len(decoder.rows) <= 50


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "the prompt has no token"),
        ([1] * 55, "context overflow: 55 prompt + 10 answer tokens exceed n_ctx 60"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tokens: list[int], message: str) -> None:
    """An empty or oversize prompt is a completion with an error, without a decode, and the others go on."""
    decoder = Held(2)
    found = dict(Scheduler(decoder).run([Job(0, tokens, 10, ()), Job(1, [1, 2], 10, ())]))
    assert (found[0].finish_reason, found[0].error) == (FinishReason.ERROR, message)
    assert found[1] == alone(Job(1, [1, 2], 10, ()), 60)
    assert decoder.evaluated == 2


def test_counts_say_what_was_done() -> None:
    """Prompt tokens, those evaluated, and tokens written."""
    scheduler = Scheduler(Held(3))
    found = dict(scheduler.run([Job(n, [1, 2, 3, n], 4, ()) for n in range(1, 6)]))
    assert scheduler.counts.prompt == 20
    assert scheduler.counts.evaluated == 3 + 5
    assert scheduler.counts.written == sum(completion.completion_tokens for completion in found.values())


class Circling(Held):
    """A decoder that says the same three tokens for ever where a prompt begins with 9."""

    def step(self, tokens: Sequence[int], jobs: Sequence[int | None]) -> list[int]:
        """Go round."""
        following = super().step(tokens, jobs)
        return [
            token % 3 + 1 if self.slots[slot][0] == 9 else other
            for slot, (token, other) in enumerate(zip(tokens, following, strict=True))
        ]


def test_a_loop_ends_early_and_alone() -> None:
    """A sequence that goes round in circles ends at the token that meets the rule; the others, and no rule, go on."""
    rule = LoopRule(max_period=4, repeats=4, min_tokens=15)
    jobs = [Job(0, [9, 3], 40, (), rule), Job(1, [1, 2], 40, (), rule), Job(2, [9, 2], 40, ())]
    found = dict(Scheduler(Circling(2)).run(jobs))
    assert (found[0].finish_reason, found[0].completion_tokens) == (FinishReason.LOOP, 15)
    assert found[0].text == (ALPHABET.encode() * 2)[1:4].decode() * 5
    assert found[1] == alone(jobs[1], 60)
    assert (found[2].finish_reason, found[2].completion_tokens) == (FinishReason.LENGTH, 40)
