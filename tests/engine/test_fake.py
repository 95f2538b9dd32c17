"""The engine that calls a function."""

from m2l.engine.base import ModelFile
from m2l.engine.fake import Fake, reply
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
