"""The engine that calls a function."""

import json

import msgspec

from m2l.engine.base import ModelFile
from m2l.engine.fake import Fake, reply
from m2l.records import JsonSchema
from tests.test_store import request


def test_answers_come_from_the_function() -> None:
    """Every request is given to the function."""
    engine = Fake(ModelFile(name="x", path=None), answer=reply("yes"))
    assert [completion.text for _, completion in engine.generate([request("a"), request("b")])] == ["yes", "yes"]


def test_the_default_depends_on_content_alone() -> None:
    """The same request gives the same words, another one gives others, whatever stands around it."""
    engine = Fake(ModelFile(name="x", path=None))
    one, two = request("drei vier fünf sechs sieben acht"), request("ein zwei drei vier fünf sechs")
    first = dict(engine.generate([one, two]))
    second = dict(engine.generate([two, one]))
    assert (first[0], first[1]) == (second[1], second[0])
    assert first[0].text != first[1].text


def test_a_schema_is_answered_by_a_value_of_it() -> None:
    """A request with a JSON schema gets one of its values, drawn by its content."""
    schema = JsonSchema(json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}, "b": {"type": "boolean"}}}))
    asked = [msgspec.structs.replace(request(str(number)), grammar=schema) for number in range(20)]
    answers = [json.loads(completion.text) for _, completion in Fake(ModelFile(name="x", path=None)).generate(asked)]
    assert {answer["a"] for answer in answers} == {1, 2}
    assert all(list(answer) == ["a", "b"] and answer["b"] is True for answer in answers)
