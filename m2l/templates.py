"""Sandboxed Jinja: prompts are data, and a variable that does not exist is an error."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m2l.errors import TemplateError, unknown


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=False, autoescape=False
    )


@lru_cache(maxsize=4096)
def _compiled(source: str) -> jinja2.Template:
    return _environment().from_string(source)


@lru_cache(maxsize=16384)
def _undeclared(source: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


def variables(source: str, *, where: str) -> frozenset[str]:
    """Return the names of the variables that a template needs.

    Raises TemplateError, beginning with `where`, for a template that does not parse.
    """
    if "{" not in source:
        return frozenset()
    try:
        return _undeclared(source)
    except jinja2.TemplateSyntaxError as err:
        raise TemplateError(
            f"{where}: line {err.lineno} of the template: {err.message}. Correct the template."
        ) from err


def check(source: str, known: frozenset[str], *, where: str) -> None:
    """Raise TemplateError if a template does not parse or needs a variable outside `known`."""
    for name in sorted(variables(source, where=where) - known):
        raise TemplateError(unknown(where, "template variable", name, sorted(known)))


def render(source: str, values: Mapping[str, object], *, where: str) -> str:
    """Render a template, stripped of the blank space around it.

    Raises TemplateError, beginning with `where`, if it does not parse, misses a
    variable, or tries to leave the sandbox.
    """
    try:
        return _compiled(source).render(values).strip()
    except jinja2.TemplateSyntaxError as err:
        raise _syntax(err, where) from err
    except jinja2.TemplateError as err:
        message = (err.message or type(err).__name__).rstrip(".")
        raise TemplateError(f"{where}: {message}. Correct the template.") from err
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as err:
        raise TemplateError(f"{where}: {str(err).rstrip('.')}. Correct the template, or what it is given.") from err


def _syntax(err: jinja2.TemplateSyntaxError, where: str) -> TemplateError:
    message = (err.message or "").rstrip(".")
    return TemplateError(f"{where}: line {err.lineno} of the template: {message}. Correct the template.")


def render_chat(template: str, messages: Sequence[Mapping[str, str]], *, bos: str, eos: str) -> str:
    """Render messages by the chat template inside a GGUF, up to where the answer begins.

    The template comes with the weights and is not trusted: it runs in the sandbox and
    is told no date. Raises TemplateError if it refuses the messages or fails.
    """
    try:
        return _chat_template(template).render(
            messages=messages, bos_token=bos, eos_token=eos, add_generation_prompt=True, tools=None
        )
    except Exception as err:
        raise TemplateError(f"chat template: {err}. Use a model whose template takes these roles.") from err


@lru_cache(maxsize=8)
def _chat_template(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise
    return environment.from_string(source)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
