"""How an engine is set where its declaration leaves the choice: pure, from the model's header and the machine."""

import msgspec

from m2l.errors import EngineError
from m2l.gguf import Header
from m2l.machine import Machine

_LONGEST = 4096
"""Tokens of a slot at most: worked examples, a conversation of four turns and an answer, in a language that
takes many tokens. More would be paid for in every slot."""

_SLOTS, _SLOTS_PER_CORE, _MOST_SLOTS = 16, 4, 64
"""Slots to begin with, and for each core: 24 on two cores, where it was the best of those that were tried."""

_AHEAD = 4
"""Prompts that are read side by side at most, each in a slot behind those that write."""

SLACK = 16
"""Tokens of a slot beside its `n_ctx`, for what fills a call up."""

GROUP, FEWEST = 4, 8
"""Rows of a call whose results are not to depend on it: whole groups, and so many at least (see `llama`)."""

_SHARE = 0.5
"""The share of free memory that weights and KV may take together."""

_GPU_SHARE = 0.85
"""The same on a GPU, the rest of which holds what llama.cpp computes with."""


def context(n_ctx_train: int) -> int:
    """Return how many tokens a slot is given, from the longest context that the model was trained for (0: not said).

    It depends on the model alone, so that the same prompts fit on every machine.
    """
    return min(_LONGEST, n_ctx_train or _LONGEST)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How llama.cpp is set; None leaves the choice to `choose`, and `n_gpu_layers` -1 means all."""

    n_slots: int | None
    n_ctx: int
    n_batch: int | None
    n_threads: int | None
    n_gpu_layers: int | None
    keep_gb: float | None = None
    batch_invariant: bool = False


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """How llama.cpp is set; `n_ctx` is the tokens of one slot, `keep` the bytes for conversations without one.

    Behind the `n_slots` that write there are `n_ahead` in which prompts are read.
    """

    n_slots: int
    n_ahead: int
    n_ctx: int
    n_batch: int
    n_threads: int
    n_gpu_layers: int
    keep: int
    batch_invariant: bool


def choose(asked: Settings, model: Header, machine: Machine) -> Chosen:
    """Return settings that fit: what is asked for stands, the rest follows from the model and the machine.

    Less memory means fewer slots. Raises EngineError if not one slot fits.
    """
    n_ctx = asked.n_ctx
    on_gpu = machine.gpu_memory * _GPU_SHARE
    layers = asked.n_gpu_layers
    if layers is None:
        a_layer = (model.size + model.kv_bytes * n_ctx) / max(1, model.n_layer)
        fitting = int(on_gpu / a_layer)
        layers = -1 if fitting > model.n_layer else min(fitting, model.n_layer)
    room = on_gpu if layers < 0 and machine.gpu_memory else machine.memory * _SHARE
    a_slot = max(1, model.kv_bytes * n_ctx)
    fewest = FEWEST if asked.batch_invariant else 2
    if asked.n_slots is not None:
        n_slots, n_ahead = asked.n_slots, min(_AHEAD, asked.n_slots)
    else:
        wanted = _MOST_SLOTS if layers < 0 else min(_MOST_SLOTS, _SLOTS + _SLOTS_PER_CORE * machine.cores)
        fitting = min(wanted + _AHEAD, int((room - model.size) / a_slot))
        if fitting < fewest:
            raise EngineError(
                f"the model takes {_gb(model.size)}, {fewest} slots of {n_ctx} tokens {_gb(fewest * a_slot)}, and m2l "
                f"would use {_gb(room)} of what is free. Lower engine.n_ctx, use a smaller model, "
                f"{'say engine.batch_invariant=false, which needs two slots, ' if asked.batch_invariant else ''}"
                f"or set engine.n_slots to try all the same."
            )
        n_ahead = max(1, min(_AHEAD, fitting // 6))
        n_slots = fitting - n_ahead
        n_slots -= n_slots % GROUP if asked.batch_invariant and n_slots > FEWEST else 0
    host = machine.memory * _SHARE - (0 if layers < 0 else model.size + max(n_slots + n_ahead, fewest) * a_slot)
    return Chosen(
        n_slots=n_slots,
        n_ahead=n_ahead,
        n_ctx=n_ctx,
        n_batch=asked.n_batch or (2048 if layers < 0 else 512),
        n_threads=asked.n_threads or machine.cores,
        n_gpu_layers=layers,
        keep=int(max(0, host) / 2) if asked.keep_gb is None else int(asked.keep_gb * 1e9),
        batch_invariant=asked.batch_invariant,
    )


def filled(rows: int) -> int:
    """Return how many rows a call of so many is filled up to where its results are not to depend on it."""
    return max(FEWEST, -(-rows // GROUP) * GROUP)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
