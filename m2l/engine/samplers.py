"""A request's own way of choosing tokens, as a chain of llama.cpp's samplers."""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
from llama_cpp.llama_grammar import json_schema_to_gbnf

from m2l.errors import EngineError
from m2l.records import JsonSchema, Request, SamplingParams, TokenBias

_DRY_RANGE = 4096
"""How many tokens back a repeated sequence is looked for."""

_COLUMN = 64
"""So many tokens of the vocabulary are looked at through the likeliest of them."""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """Chooses the tokens of one answer, seeded from the content of its request.

    `sample` chooses by the row of a batch; `check` comes first, as here nothing fails.
    """

    def __init__(self, request: Request, prompt: Sequence[int], vocab: Any) -> None:
        self._chain = _chain(request.sampling, request.rng_seed, prompt, vocab)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self._top_k = request.sampling.top_k
        self.sample: Callable[[Any, int], int] = self._freely
        if 0 < self._top_k <= self._n_vocab // _COLUMN and not request.sampling.logit_bias:
            self.sample = self._among_the_likeliest
        if request.grammar is not None:
            self._grammar = llama_cpp.llama_sampler_init_grammar(vocab, gbnf(request.grammar).encode(), b"root")
            self.sample = self._by_grammar

    def free(self) -> None:
        """Free what llama.cpp holds of it."""
        llama_cpp.llama_sampler_free(self._chain)
        if self.sample == self._by_grammar:
            llama_cpp.llama_sampler_free(self._grammar)

    def _freely(self, context: Any, row: int) -> int:
        return int(llama_cpp.llama_sampler_sample(self._chain, context, row))

    def _among_the_likeliest(self, context: Any, row: int) -> int:
        """Choose as `_freely` does, of those tokens alone that can be among the `top_k` which the chain begins with.

        llama.cpp looks at every token of the vocabulary one by one; for 262,144 of them that
        takes as long as a fifth of decoding.
        """
        logits = self._logits(context, row)
        found = likeliest(logits, self._top_k)
        token = self._apply(_candidates(found, logits[found]), self._chain)
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def _logits(self, context: Any, row: int) -> npt.NDArray[np.float32]:
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, row), shape=(self._n_vocab,))

    def _by_grammar(self, context: Any, row: int) -> int:
        """Choose freely, and anew under the grammar only if it does not allow that.

        To look through the whole vocabulary takes as long as to decode, and most
        tokens of a model that knows what is wanted are allowed.
        """
        logits = self._logits(context, row)
        token = self._apply(_candidates(np.arange(self._n_vocab), logits), self._chain)
        alone = _candidates(np.array([token]), np.zeros(1))
        self._apply(alone, self._grammar)
        if math.isinf(alone["logit"][0]):
            token = self._apply(_candidates(np.arange(self._n_vocab), logits), self._grammar, self._chain)
        llama_cpp.llama_sampler_accept(self._chain, token)
        llama_cpp.llama_sampler_accept(self._grammar, token)
        return token

    def _apply(self, candidates: Any, *samplers: Any) -> int:
        """Let samplers pass over candidates; return the token that they chose, or the first."""
        data = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        array = llama_cpp.llama_token_data_array(data, len(candidates), -1, False)
        for sampler in samplers:
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        return int(array.data[max(0, array.selected)].id)


def likeliest(logits: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.intp]:
    """Return the places of all logits that are as high as the `number`-th highest, and of some others, ascending.

    The vocabulary is seen as columns of `_COLUMN` tokens. The `number` highest of the columns'
    greatest are as many tokens, so none of those sought is lower than the last of them.
    Needs as many columns as `number`.
    """
    columns = logits[: len(logits) // _COLUMN * _COLUMN].reshape(_COLUMN, -1)
    greatest = columns.max(axis=0)
    bound = np.partition(greatest, -number)[-number]
    chosen = np.flatnonzero(greatest >= bound)
    row, column = np.nonzero(columns[:, chosen] >= bound)
    rest = np.flatnonzero(logits[columns.size :] >= bound) + columns.size
    return np.concatenate([row * columns.shape[1] + chosen[column], rest])


def check(requests: Sequence[Request], vocab: Any) -> None:
    """Raise EngineError for a grammar that does not parse, or a bias on a token that the vocabulary does not have."""
    for grammar in {gbnf(request.grammar) for request in requests if request.grammar is not None}:
        link = llama_cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
        if not link:
            raise EngineError("the grammar of a request does not parse. Correct it.")
        llama_cpp.llama_sampler_free(link)
    n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
    for entry in {entry for request in requests for entry in request.sampling.logit_bias}:
        if entry.token >= n_vocab:
            raise EngineError(
                f"model.sampling.logit_bias: the vocabulary has no token {entry.token}, only 0 to {n_vocab - 1}. "
                f"`m2l model inspect --text` says the ids of a text."
            )


def gbnf(grammar: str | JsonSchema) -> str:
    """Return a grammar in GBNF; raises EngineError for a JSON schema that has no grammar."""
    if isinstance(grammar, str):
        return grammar
    try:
        return str(json_schema_to_gbnf(grammar.json_schema))
    except Exception as err:
        raise EngineError(f"a JSON schema cannot be made a grammar ({type(err).__name__}: {err}). Correct it.") from err


def _chain(params: SamplingParams, rng_seed: int, prompt: Sequence[int], vocab: Any) -> Any:
    """Build a chain; the top k come first, so that the rest of it runs over k candidates, not the whole vocabulary."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
    links = []
    if params.logit_bias:
        links.append(_bias(params.logit_bias, n_vocab))
    if params.top_k > 0:
        links.append(llama_cpp.llama_sampler_init_top_k(params.top_k))
    links.append(
        llama_cpp.llama_sampler_init_penalties(
            n_vocab, params.repeat_last_n, params.repeat_penalty, params.frequency_penalty, params.presence_penalty
        )
    )
    if params.dry_multiplier > 0:
        links.append(_dry(params, prompt, vocab))
    if params.temperature > 0:
        links.append(llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
        links.append(llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
        links.append(llama_cpp.llama_sampler_init_temp(params.temperature))
        links.append(llama_cpp.llama_sampler_init_dist(rng_seed))
    else:
        links.append(llama_cpp.llama_sampler_init_greedy())
    for link in links:
        llama_cpp.llama_sampler_chain_add(chain, link)
    return chain


def _dry(params: SamplingParams, prompt: Sequence[int], vocab: Any) -> Any:
    """Build the sampler that discourages what would repeat a sequence of the prompt or the answer."""
    link = llama_cpp.llama_sampler_init_dry(
        vocab, params.dry_multiplier, params.dry_base, params.dry_allowed_length, _DRY_RANGE, None, 0
    )
    for token in prompt:
        llama_cpp.llama_sampler_accept(link, token)
    return link


def _bias(bias: Sequence[TokenBias], n_vocab: int) -> Any:
    entries = (llama_cpp.llama_logit_bias * len(bias))(
        *(llama_cpp.llama_logit_bias(entry.token, entry.bias) for entry in bias)
    )
    return llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(bias), entries)


def _candidates(tokens: Any, logits: Any) -> Any:
    found = np.zeros(len(tokens), dtype=_CANDIDATE)
    found["id"], found["logit"] = tokens, logits
    return found
