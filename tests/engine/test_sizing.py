"""Settings from the model and the machine."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2l.engine.sizing import Settings, choose, context
from m2l.errors import EngineError
from m2l.gguf import Header
from m2l.machine import Machine

GB = 1_000_000_000
OPEN = Settings(n_slots=None, n_ctx=4096, n_batch=None, n_threads=None, n_gpu_layers=None)


def model(size: int, n_layer: int, heads: int, length: int = 128) -> Header:
    """A model of so many bytes, whose token takes 4 * n_layer * heads * length bytes of KV."""
    values = {
        "general.architecture": "x", "x.block_count": n_layer, "x.attention.head_count": heads,
        "x.attention.key_length": length, "x.attention.value_length": length,
    }  # fmt: skip
    return Header(values=values, parameters=0, size=size)


EIGHT_B = model(5 * GB, 32, 8)


def test_the_context_is_the_models_up_to_a_bound() -> None:
    """A short one is taken whole, a long one is cut, one that says nothing gets the bound."""
    assert [context(number) for number in (2048, 131072, 0)] == [2048, 4096, 4096]


def test_slots_follow_memory_and_cores() -> None:
    """A small model gets slots by the cores, a large one by what is free."""
    small = choose(OPEN, model(GB // 4, 18, 1), Machine(cores=2, memory=16 * GB))
    assert (small.n_slots, small.n_ahead, small.n_threads, small.n_batch, small.n_gpu_layers) == (24, 4, 2, 512, 0)
    large = choose(OPEN, EIGHT_B, Machine(cores=16, memory=32 * GB))
    assert large.n_slots + large.n_ahead == int((16 * GB - 5 * GB) / (4096 * 131072)) == 20
    assert large.n_ahead == 3
    assert large.n_threads == 16


@given(
    st.integers(1, 40), st.integers(1, 12 * GB), st.integers(1, 48), st.integers(1, 64), st.integers(0, 80),
    st.sampled_from([None, 1, 7, 300]),
)  # fmt: skip
def test_what_is_chosen_fits(memory: int, size: int, n_layer: int, cores: int, gpu: int, n_slots: int | None) -> None:
    """Weights and KV never take more than half of what is free, and what is asked for stands."""
    header = model(size, n_layer, 8)
    machine = Machine(cores=cores, memory=memory * GB, gpu_memory=gpu * GB)
    asked = msgspec.structs.replace(OPEN, n_slots=n_slots)
    try:
        chosen = choose(asked, header, machine)
    except EngineError:
        assert n_slots is None
        assert size + 2 * header.kv_bytes * 4096 > memory * GB * 0.5 or gpu > 0
        return
    assert 1 <= chosen.n_ahead <= max(1, chosen.n_slots)
    taken = size + (chosen.n_slots + chosen.n_ahead) * chosen.n_ctx * header.kv_bytes
    if n_slots is not None:
        assert chosen.n_slots == n_slots
    elif chosen.n_gpu_layers < 0:
        assert taken <= gpu * GB * 0.85
    else:
        assert taken <= memory * GB * 0.5
    assert 0 <= chosen.n_gpu_layers <= n_layer or (chosen.n_gpu_layers == -1 and gpu)


def test_rows_that_are_filled_up_need_streams() -> None:
    """Batch-invariant, slots are whole groups, and where eight do not fit that is said, with the way out."""
    asked = msgspec.structs.replace(OPEN, batch_invariant=True)
    assert choose(asked, EIGHT_B, Machine(cores=16, memory=31 * GB)).n_slots == 16
    assert choose(OPEN, EIGHT_B, Machine(cores=16, memory=31 * GB)).n_slots == 19 - 3
    fewest = choose(asked, EIGHT_B, Machine(cores=16, memory=19 * GB))
    assert (fewest.n_slots, fewest.n_ahead) == (7, 1)
    with pytest.raises(EngineError, match=r"8 slots of 4096 tokens 4\.3 GB.* say engine\.batch_invariant=false"):
        choose(asked, EIGHT_B, Machine(cores=2, memory=16 * GB))


def test_what_is_left_of_memory_is_for_conversations() -> None:
    """Half of what weights and slots leave of the share; or what is asked for."""
    small = choose(OPEN, model(GB, 18, 1), Machine(cores=2, memory=16 * GB))
    assert small.keep == (8 * GB - GB - (24 + 4) * 4096 * 4 * 18 * 128) // 2
    assert (
        choose(msgspec.structs.replace(OPEN, keep_gb=0.5), model(GB, 18, 1), Machine(cores=2, memory=16 * GB)).keep
        == GB // 2
    )


def test_layers_go_to_a_gpu_as_far_as_they_fit() -> None:
    """All of them on a large one, some on a small one, none where there is none."""
    machines = [Machine(cores=8, memory=64 * GB, gpu_memory=size * GB) for size in (80, 4, 0)]
    chosen = [choose(OPEN, EIGHT_B, machine) for machine in machines]
    assert chosen[0].n_gpu_layers == -1
    assert chosen[0].n_batch == 2048
    assert 0 < chosen[1].n_gpu_layers < 32
    assert chosen[2].n_gpu_layers == 0


def test_a_model_that_does_not_fit_is_one_line() -> None:
    """It says what takes how much, and what to do."""
    with pytest.raises(EngineError) as error:
        choose(OPEN, EIGHT_B, Machine(cores=2, memory=8 * GB))
    assert str(error.value) == (
        "the model takes 5.0 GB, 2 slots of 4096 tokens 1.1 GB, and m2l would use 4.0 GB of what is free. Lower "
        "engine.n_ctx, use a smaller model, or set engine.n_slots to try all the same."
    )
