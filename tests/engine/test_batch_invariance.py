"""With `batch_invariant` the text of a request depends on nothing but the request, on each bundled model."""

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from m2l.engine.base import ModelFile
from m2l.engine.llama import Llama
from m2l.records import Completion, Request, SamplingParams, Turn
from tests.engine.test_llama import GEMMA, GREEDY, SHOTS, SMOLLM, ask

pytestmark = pytest.mark.model

WARM = SamplingParams(
    temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.1, repeat_last_n=64,
    dry_multiplier=1.0, dry_base=1.75, dry_allowed_length=2,
)  # fmt: skip
NAMES = ("Spain", "Germany", "Egypt", "Kenya", "China", "Greece", "Poland", "Peru", "الأردن", "日本")
TOLD = "The river rises in the hills, passes three mills and a town, and ends in a lake that few people have seen. "


def hundred(chat: bool) -> list[Request]:
    """Requests of 10 to 200 tokens that share much, little or nothing; greedy and sampled."""
    prompts: list[str] = []
    for number in range(100):
        name, kind = NAMES[number % 10], number // 10 % 4
        prompts.append(
            [f"{SHOTS}Country: {name} {number}\nCapital:", f"{name} {number} is", TOLD * (number % 7 + 1) + name,
             f"{SHOTS}{TOLD * 3}\nCountry: {name}\nRiver {number}:"][kind]
        )  # fmt: skip
    return [
        ask((Turn("user", prompt),) if chat else prompt, 4 + number % 9, WARM if number % 3 else GREEDY)
        for number, prompt in enumerate(prompts)
    ]


def answers(
    path: Path, requests: Sequence[Request], slots: int, threads: int, stop_after: int | None = None
) -> dict[str, str]:
    """Return the text of each request by its key, as far as `stop_after` answers."""
    engine = Llama(
        ModelFile(name="m", path=path), n_ctx=256, n_slots=slots, n_batch=128, n_threads=threads, keep_gb=0.2
    )
    engine.going_on = True
    try:
        found: list[tuple[int, Completion]] = list(islice(engine.generate(requests), stop_after))
    finally:
        engine.close()
    assert all(completion.error is None for _, completion in found)
    return {requests[index].key: completion.text for index, completion in found}


@pytest.mark.parametrize(("path", "chat"), [(GEMMA, False), (SMOLLM, True)], ids=["gemma3_270m", "smollm2_135m"])
def test_a_text_depends_on_its_request_alone(path: Path, chat: bool) -> None:
    """100 requests at 1, 3, 16 and 32 slots, in other orders, with one thread, interrupted and resumed: identical."""
    requests = hundred(chat)
    first = answers(path, requests, slots=16, threads=2)
    assert len(set(first.values())) > 60
    for slots, threads in ((1, 2), (3, 2), (32, 1)):
        mixed = random.Random(slots).sample(requests, len(requests))
        assert answers(path, mixed, slots, threads) == first
    half = answers(path, requests, slots=16, threads=2, stop_after=40)
    rest = [request for request in requests if request.key not in half]
    assert half | answers(path, rest[::-1], slots=12, threads=2) == first


def test_a_turn_is_the_same_whether_its_conversation_was_kept_or_not() -> None:
    """Across the sliding window of 512 tokens, too: what was copied, put aside or evaluated anew says the same."""
    talks = [f"{TOLD * count}Tell me about {NAMES[count % 10]}." for count in (3, 12, 18, 20, 20, 21)]
    engines = [
        Llama(ModelFile(name="m", path=GEMMA), n_ctx=1024, n_slots=slots, n_batch=256, keep_gb=keep)
        for slots, keep in ((3, 0.3), (16, 0.0))
    ]
    try:
        for turn in range(2):
            requests = [ask(talk, 24, WARM) for talk in talks]
            found = []
            for engine in engines:
                engine.going_on = turn == 0
                found.append({index: completion.text for index, completion in engine.generate(requests)})
            fresh = Llama(ModelFile(name="m", path=GEMMA), n_ctx=1024, n_slots=8, n_batch=1024, keep_gb=0.0)
            engines.append(fresh)
            found.append({index: completion.text for index, completion in fresh.generate(requests)})
            assert found[0] == found[1] == found[2]
            talks = [f"{talk}{found[0][index]} And then?" for index, talk in enumerate(talks)]
        assert engines[0].counts.evaluated < 0.75 * engines[0].counts.prompt
    finally:
        for engine in engines:
            engine.close()
