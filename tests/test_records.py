"""Keys: everything that an answer may depend on changes them, and nothing else does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l.digest import canonical, digest
from m2l.records import JsonSchema, LoopRule, Request, SamplingParams, TokenBias, Turn
from tests.test_store import SAMPLING

BASE = Request(
    prompt=(Turn("user", "hello"),), model="sha256:1", chat_template="t", backend="b 1", sampling=SAMPLING,
    max_tokens=5, stop=("\n",), grammar=None,
)  # fmt: skip
CHANGES: dict[str, object] = {
    "prompt": "hello", "model": "sha256:2", "chat_template": None, "backend": "b 2",
    "sampling": msgspec.structs.replace(SAMPLING, top_k=41), "max_tokens": 6, "stop": (), "grammar": "root ::= x",
    "attempt": 1,
}  # fmt: skip


def test_every_field_is_tried() -> None:
    """A new field of a request needs its line in this test."""
    assert set(CHANGES) == set(Request.__struct_fields__)


@pytest.mark.parametrize("field", CHANGES)
def test_each_field_changes_the_key(field: str) -> None:
    """No two requests that differ share a key."""
    changed = msgspec.structs.replace(BASE, **{field: CHANGES[field]})
    assert changed.key != BASE.key
    assert changed.rng_seed == int(changed.key[:8], 16)


OTHER: dict[str, object] = {
    "logit_bias": (TokenBias(token=7, bias=-100.0),), "loop": LoopRule(max_period=8, repeats=3, min_tokens=24),
}  # fmt: skip


@pytest.mark.parametrize("field", SamplingParams.__struct_fields__)
def test_each_sampling_parameter_changes_the_key(field: str) -> None:
    """Nor do two ways of sampling."""
    other = OTHER.get(field) or getattr(SAMPLING, field) + 1
    sampling = msgspec.structs.replace(SAMPLING, **{field: other})
    assert msgspec.structs.replace(BASE, sampling=sampling).key != BASE.key


def test_a_parameter_at_its_default_is_in_no_key() -> None:
    """The key is that of the version of m2l before there were biases, loops and two of the penalties.

    It was written down from that version, commit 6a4915d, so that what its stores hold is found.
    """
    assert BASE.key == "a4ade48881e24998b0383516017df37e"
    assert msgspec.structs.replace(BASE, grammar="root ::= x").key == "2e0b0091ddd14d66beb51cefd73ed028"


def test_a_json_schema_is_not_a_grammar_of_the_same_text() -> None:
    """What a text stands for is part of the key."""
    one = msgspec.structs.replace(BASE, grammar="{}")
    other = msgspec.structs.replace(BASE, grammar=JsonSchema("{}"))
    assert one.key != other.key
    assert msgspec.convert(msgspec.json.decode(other.canonical)["request"], Request) == other


def test_roles_and_contents_do_not_run_together() -> None:
    """Messages that join to the same text are different requests."""
    one = msgspec.structs.replace(BASE, prompt=(Turn("user", "ab"), Turn("assistant", "c")))
    other = msgspec.structs.replace(BASE, prompt=(Turn("user", "a"), Turn("assistant", "bc")))
    assert one.key != other.key


def test_equal_content_has_an_equal_key() -> None:
    """A request read back from its canonical form is the same."""
    kept = msgspec.json.decode(BASE.canonical)["request"]
    assert msgspec.convert(kept, Request).key == BASE.key


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.lists(st.booleans()), max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    """Canonical JSON sorts keys."""
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_canonical_json_is_plain() -> None:
    """Sorted, no spaces, text as UTF-8."""
    assert canonical({"b": [1, 2.5], "a": "नि"}) == '{"a":"नि","b":[1,2.5]}'.encode()
