"""What the logits of a sequence depend on besides its tokens: `python -m bench.invariance`, on both bundled models.

Each line compares bits: the same tokens are evaluated in two ways, and what llama.cpp then
says of the last one is equal or not. docs/engine.md tells what follows from it.
"""

import ctypes
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from bench.build import _machine
from bench.tables import ROOT
from m2l.engine.llama import _Batch, _load, _tokenize

MODELS = {
    "gemma3_270m (Q4_K_M)": "gemma-3-270m-q4_k_m.gguf",
    "smollm2_135m (Q4_1)": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
STREAMS, N_CTX, LENGTH = 32, 512, 200
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 20, 31, 32)
SPLITS = {
    "one call": [200], "100 + 100": [100, 100], "60 + 60 + 60 + 20": [60, 60, 60, 20], "8 each": [8] * 25,
    "12 each, and 8": [*[12] * 16, 8], "40 each": [40] * 5, "4 each": [4] * 50, "one by one": [1] * 200,
    "63 + 63 + 63 + 11": [63, 63, 63, 11], "16 + 184": [16, 184],
}  # fmt: skip


class Context:
    """A context of llama.cpp with many streams, by name of what is switched."""

    def __init__(
        self, path: Path, *, unified: bool = False, flash: bool = True, swa_full: bool = True, threads: int = 2
    ):
        self.model = _load(path, vocab_only=False, n_gpu_layers=0)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.n_outputs_max = N_CTX * STREAMS, STREAMS, STREAMS
        params.n_batch = params.n_ubatch = N_CTX
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified, params.swa_full, params.no_perf = unified, swa_full, True
        kinds = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED, llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = kinds[0] if flash else kinds[1]
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = _Batch(N_CTX)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def close(self) -> None:
        """Free it."""
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def call(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], sampled: Sequence[int]
    ) -> None:
        """Evaluate rows in one call."""
        self.batch.fill(tokens, positions, slots)
        self.batch.sampled[list(sampled)] = 1
        assert llama_cpp.llama_decode(self.context, self.batch.struct) == 0

    def said(self, row: int) -> str:
        """Return a digest of the logits of a row."""
        logits = llama_cpp.llama_get_logits_ith(self.context, row)
        return hashlib.sha256(np.ctypeslib.as_array(logits, shape=(self.size,)).tobytes()).hexdigest()[:8]

    def prefill(self, tokens: Sequence[int], splits: Sequence[int], slot: int = 0) -> str:
        """Evaluate a sequence in calls of so many tokens."""
        llama_cpp.llama_memory_seq_rm(self.memory, slot, -1, -1)
        start = 0
        for rows in splits:
            self.call(tokens[start : start + rows], range(start, start + rows), [slot] * rows, [rows - 1])
            start += rows
        return self.said(rows - 1)

    def copy(self, source: int, target: int) -> None:
        """Copy a sequence by its state, as the engine does."""
        size = llama_cpp.llama_state_seq_get_size(self.context, source)
        data = (ctypes.c_uint8 * size)()
        llama_cpp.llama_state_seq_get_data(self.context, data, size, source)
        llama_cpp.llama_memory_seq_rm(self.memory, target, -1, -1)
        llama_cpp.llama_state_seq_set_data(self.context, data, size, target)

    def decode(self, tokens: Sequence[int], start: int, rows: int) -> dict[int, str]:
        """Write 6 tokens of one sequence in even rows, of a shorter one in odd rows; return what each even row says."""
        for slot in range(1, rows):
            self.copy(0, slot)
            llama_cpp.llama_memory_seq_rm(self.memory, slot, start - 50 if slot % 2 else start, -1)
        llama_cpp.llama_memory_seq_rm(self.memory, 0, start, -1)
        for step in range(6):
            at = [(start - 50 if slot % 2 else start) + step for slot in range(rows)]
            self.call([tokens[place] for place in at], at, range(len(at)), range(len(at)))
        return {row: self.said(row) for row in range(0, rows, 2)}


def main() -> None:
    """Measure and print."""
    print(f"{_machine()}\n")
    for name, file in MODELS.items():
        path = ROOT / "cache/models" / file
        print(f"## {name}\n")
        print("| what | digest of the logits |")
        print("|---|---|")
        for what, said in measured(path).items():
            print(f"| {what} | {said} |", flush=True)
        print()


def measured(path: Path) -> dict[str, str]:
    """Return what was compared and how it came out."""
    found: dict[str, str] = {}
    context = Context(path)
    tokens = _tokenize(context.vocab, (ROOT / "README.md").read_text(encoding="utf-8"), special=False, add=True)
    tokens = tokens[: LENGTH + 8]
    by_split = {name: context.prefill(tokens[:LENGTH], splits) for name, splits in SPLITS.items()}
    for digest in dict.fromkeys(by_split.values()):
        found["prompt evaluated in calls of: " + "; ".join(n for n, d in by_split.items() if d == digest)] = digest
    start = 152
    context.prefill(tokens[:start], [40, 40, 40, 32])
    first: dict[int, str] = {}
    rest: dict[int, str] = {}
    for rows in ROWS:
        said = context.decode(tokens, start, rows)
        first[rows], rest[rows] = said[0], said[max(said)]
    for digest in dict.fromkeys(first.values()):
        found[f"first row of a call of {', '.join(str(r) for r, d in first.items() if d == digest)} rows"] = digest
    for digest in dict.fromkeys(rest.values()):
        found[f"last even row of a call of {', '.join(str(r) for r, d in rest.items() if d == digest)} rows"] = digest
    found["the same tokens as a prompt, in calls of 40, 40, 40, 38 (2 over)"] = context.prefill(
        tokens[: start + 6], [40, 40, 40, 38]
    )
    found["the same, in calls of 40, 40, 40, 32, and 6 filled up to 8"] = _filled(context, tokens[: start + 6], start)
    found["the same, beside three shorter sequences in each call"] = _beside(context, tokens[: start + 6])
    context.close()
    switches: dict[str, dict[str, Any]] = {
        "one thread": {"threads": 1}, "unified KV": {"unified": True}, "no flash attention": {"flash": False},
        "sliding window cut": {"swa_full": False},
    }  # fmt: skip
    for what, options in switches.items():
        found[what] = _same_among(Context(path, **options), tokens, start)
    return found


def _filled(context: Context, tokens: Sequence[int], start: int) -> str:
    """Evaluate the last tokens in a call that is filled up behind them, as the engine does."""
    context.prefill(tokens[:start], [40, 40, 40, 32])
    part = tokens[start:]
    rows = -(-len(part) // 8) * 8
    context.call([*part, *[0] * (rows - len(part))], range(start, start + rows), [0] * rows, [len(part) - 1])
    return context.said(len(part) - 1)


def _beside(context: Context, tokens: Sequence[int]) -> str:
    """Evaluate a prompt in calls that hold as many tokens of three other ones, the last call filled up."""
    for slot in range(4):
        llama_cpp.llama_memory_seq_rm(context.memory, slot, -1, -1)
    for begin in range(0, len(tokens), 40):
        part = tokens[begin : begin + 40]
        rows = -(-len(part) // 4) * 4
        others = [tokens[shift : shift + rows] for shift in (3, 5, 7)]
        told = [[*part, *[0] * (rows - len(part))], *([*other, *[0] * (rows - len(other))] for other in others)]
        context.call(
            [token for row in told for token in row],
            [*range(begin, begin + rows)] * 4,
            [slot for slot in range(4) for _ in range(rows)],
            [len(part) - 1],
        )
    return context.said(len(part) - 1)


def _same_among(context: Context, tokens: Sequence[int], start: int) -> str:
    """Return what whole groups of rows say with a switch set, and whether 8, 12, 16 and 32 rows agree."""
    try:
        context.prefill(tokens[:start], [40, 40, 40, 32])
        said = {rows: set(context.decode(tokens, start, rows).values()) for rows in (8, 12, 16, 32)}
    finally:
        context.close()
    together = set.union(*said.values())
    return (
        f"{'8, 12, 16 and 32 rows agree' if len(together) == 1 else 'rows do not agree'}: {', '.join(sorted(together))}"
    )


if __name__ == "__main__":
    main()
