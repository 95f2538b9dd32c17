"""Prompts are rendered in a sandbox, and a mistake is one line."""

import pytest

from m2l.errors import TemplateError
from m2l.templates import check, render, render_chat, variables


def test_variables_are_listed() -> None:
    """What a prompt needs is known without rendering it."""
    assert variables("{{ a }}{% for x in b %}{{ x.y }}{% endfor %}", where="t") == {"a", "b"}


def test_an_unknown_variable_is_named_with_the_nearest() -> None:
    """Checked before anything is rendered."""
    with pytest.raises(TemplateError) as error:
        check("Hello {{ instructoin }}", frozenset({"instruction", "prompt"}), where="conf/x.yaml")
    assert str(error.value) == (
        "conf/x.yaml: unknown template variable 'instructoin'. Did you mean 'instruction'? "
        "Available: instruction, prompt."
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ a.b }}", "t: 'dict object' has no attribute 'b'. Correct the template."),
        ("{{ missing }}", "t: 'missing' is undefined. Correct the template."),
        (
            "{{ ''.__class__.__mro__ }}",
            "t: access to attribute '__class__' of 'str' object is unsafe. Correct the template.",
        ),
    ],
)
def test_what_cannot_be_rendered_is_one_line(source: str, message: str) -> None:
    """Undefined names and ways out of the sandbox are errors with a place."""
    with pytest.raises(TemplateError) as error:
        render(source, {"a": {}}, where="t")
    assert str(error.value) == message


def test_syntax_is_an_error_with_its_line() -> None:
    """A template that does not parse says where."""
    with pytest.raises(TemplateError, match=r"^t: line 2 of the template: .*\. Correct the template\.$"):
        render("a\n{{ b", {}, where="t")


def test_text_is_data() -> None:
    """What is put into a prompt is not rendered again."""
    assert render("{{ a }}", {"a": "{{ b }}{% raw %}"}, where="t") == "{{ b }}{% raw %}"


TEMPLATE = """{{ bos_token }}{% for m in messages %}
{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}
<{{ m.role }}>{{ m.content }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


def test_a_chat_template_is_rendered_up_to_the_answer() -> None:
    """Marks of the model, messages, and the beginning of the answer."""
    text = render_chat(TEMPLATE, [{"role": "user", "content": "नमस्ते"}], bos="[B]", eos="[E]")
    assert text.replace("\n", "") == "[B]<user>नमस्ते[E]<assistant>"


def test_a_chat_template_that_refuses_or_escapes_is_an_error() -> None:
    """A role that the template does not take, and code that comes with the weights."""
    with pytest.raises(TemplateError, match=r"^chat template: no system\. Use a model whose template takes"):
        render_chat(TEMPLATE, [{"role": "system", "content": "x"}], bos="", eos="")
    with pytest.raises(TemplateError, match="unsafe"):
        render_chat("{{ messages.__class__.__base__ }}", [], bos="", eos="")
