"""The rule of loops, against a plain reading of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from m2l.engine.loops import LoopWatch
from m2l.records import LoopRule


def is_loop(tokens: list[int], rule: LoopRule) -> bool:
    """Say by trying every period whether the last tokens are a loop: the rule as it is written down."""
    for period in range(1, rule.max_period + 1):
        size = max(rule.repeats * period, rule.min_tokens)
        tail = tokens[-size:]
        if len(tail) == size and all(tail[place] == tail[place % period] for place in range(size)):
            return True
    return False


rules = st.builds(LoopRule, max_period=st.integers(1, 6), repeats=st.integers(2, 4), min_tokens=st.integers(2, 12))
blocks = st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 8))
answers = st.lists(blocks, max_size=5).map(lambda found: [token for block, times in found for token in block * times])


@given(answers, rules)
@settings(max_examples=500, deadline=None)
def test_it_says_so_at_the_token_that_meets_the_rule(tokens: list[int], rule: LoopRule) -> None:
    """After every token of an answer made of repeated blocks, the watch agrees with the rule."""
    watch = LoopWatch(rule)
    for end, token in enumerate(tokens, start=1):
        assert watch.take(token) == is_loop(tokens[:end], rule)


def test_a_text_that_repeats_words_is_no_loop() -> None:
    """A refrain that comes twice among other text is none, and neither is a short row of one token."""
    rule = LoopRule(max_period=64, repeats=4, min_tokens=48)
    refrain = list(range(100, 130))
    watch = LoopWatch(rule)
    assert not any(watch.take(token) for token in [*refrain, 1, 2, 3, *refrain, 4, *[9] * 40, 5])
