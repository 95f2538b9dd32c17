"""What a server is told of a request: the OpenAI API, and what each kind of server knows beyond it."""

import json
from collections.abc import Callable
from typing import Any

from m2l.errors import EngineError
from m2l.records import JsonSchema, Request, SamplingParams

Body = dict[str, Any]

_NO_BREAKER = "\ue000"
"""Where a repeated sequence may be broken: at a character that no text has, as the server wants at least one."""


def body(request: Request, model: str, api: str) -> Body:
    """Return the body of a call; raises EngineError for a grammar that such a server does not know.

    Other parameters that it does not know are left out, as `docs/models.md` lists.
    """
    sampling = request.sampling
    result: Body = {
        "model": model,
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.rng_seed & 0x7FFFFFFF,
    }
    if request.stop:
        result["stop"] = list(request.stop)
    if sampling.presence_penalty:
        result["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty:
        result["frequency_penalty"] = sampling.frequency_penalty
    if sampling.logit_bias:
        result["logit_bias"] = {str(entry.token): entry.bias for entry in sampling.logit_bias}
    result |= _SAMPLING[api](sampling)
    if request.grammar is not None:
        result |= _GRAMMAR[api](request.grammar, chat=not isinstance(request.prompt, str))
    if isinstance(request.prompt, str):
        return result | {"prompt": request.prompt}
    return result | {"messages": [{"role": turn.role, "content": turn.content} for turn in request.prompt]}


def _any(sampling: SamplingParams) -> Body:
    return {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "repetition_penalty": sampling.repeat_penalty,
    }


def _openai(_: SamplingParams) -> Body:
    return {}


def _vllm(sampling: SamplingParams) -> Body:
    return {
        "top_k": sampling.top_k if sampling.top_k > 0 else -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repeat_penalty,
    }


def _llama_server(sampling: SamplingParams) -> Body:
    known = {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "repeat_last_n": sampling.repeat_last_n,
    }
    if sampling.dry_multiplier <= 0:
        return known
    return known | {
        "dry_multiplier": sampling.dry_multiplier,
        "dry_base": sampling.dry_base,
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_sequence_breakers": [_NO_BREAKER],
    }


_SAMPLING: dict[str, Callable[[SamplingParams], Body]] = {
    "any": _any, "openai": _openai, "vllm": _vllm, "llama_server": _llama_server,
}  # fmt: skip
APIS = tuple(_SAMPLING)


def _response_format(grammar: JsonSchema) -> Body:
    schema = {"name": "answer", "strict": True, "schema": json.loads(grammar.json_schema)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _openai_grammar(grammar: str | JsonSchema, *, chat: bool) -> Body:
    if isinstance(grammar, str) or not chat:
        raise EngineError(
            "the OpenAI API takes a JSON schema, in a chat, and no other grammar. Use frame=chat, or set engine.api to "
            "what the server is: llama_server or vllm."
        )
    return _response_format(grammar)


def _any_grammar(grammar: str | JsonSchema, *, chat: bool) -> Body:
    return {"grammar": grammar} if isinstance(grammar, str) else _response_format(grammar)


def _vllm_grammar(grammar: str | JsonSchema, *, chat: bool) -> Body:
    """`structured_outputs` from 0.12 on, `guided_` before; each passes over what the other knows."""
    if isinstance(grammar, str):
        return {"structured_outputs": {"grammar": grammar}, "guided_grammar": grammar}
    schema = json.loads(grammar.json_schema)
    return {"structured_outputs": {"json": schema}, "guided_json": schema}


def _llama_server_grammar(grammar: str | JsonSchema, *, chat: bool) -> Body:
    if isinstance(grammar, str):
        return {"grammar": grammar}
    return _response_format(grammar) if chat else {"json_schema": json.loads(grammar.json_schema)}


_GRAMMAR: dict[str, Callable[..., Body]] = {
    "any": _any_grammar, "openai": _openai_grammar, "vllm": _vllm_grammar, "llama_server": _llama_server_grammar,
}  # fmt: skip
