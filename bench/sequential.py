"""What a user would write first: one call after the other over `Llama.create_completion`; and distilabel's class.

It imports nothing of m2l, so that distilabel may live in another environment:
`python bench/sequential.py distilabel MODEL < calls.json`.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

Rounds = list[list[dict[str, Any]]]
N_CTX = 1536


def sequential(model: str, rounds: Rounds) -> dict[str, Any]:
    """Complete all calls in their order; prefixes are reused from the call before, as the class does by itself."""
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=N_CTX, n_threads=len(os.sched_getaffinity(0)), flash_attn=True, verbose=False)

    def complete(call: dict[str, Any]) -> int:
        answer: Any = llama.create_completion(**call)
        return int(answer["usage"]["completion_tokens"])

    return _timed(complete, rounds)


def distilabel(model: str, rounds: Rounds) -> dict[str, Any]:
    """Complete all calls by distilabel's LlamaCppLLM, which takes conversations: a prompt becomes one turn."""
    from distilabel.models.llms import LlamaCppLLM

    llm = LlamaCppLLM(model_path=model, n_ctx=N_CTX, chat_format="chatml", extra_kwargs={
        "n_threads": len(os.sched_getaffinity(0)), "flash_attn": True})  # fmt: skip
    llm.load()

    def complete(call: dict[str, Any]) -> int:
        [output] = llm.generate_outputs(
            inputs=[[{"role": "user", "content": call["prompt"]}]], max_new_tokens=call["max_tokens"],
            temperature=call["temperature"], top_p=call["top_p"],
        )  # fmt: skip
        return int(sum(output["statistics"]["output_tokens"]))

    return _timed(complete, rounds)


def _timed(complete: Callable[[dict[str, Any]], int], rounds: Rounds) -> dict[str, Any]:
    start, first, written = time.perf_counter(), None, 0
    for calls in rounds:
        for call in calls:
            written += complete(call)
            first = first if first is not None else time.perf_counter() - start
    seconds = time.perf_counter() - start
    return {"requests": sum(map(len, rounds)), "written": written, "seconds": seconds, "rate": written / seconds,
            "first": first, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(distilabel(sys.argv[2], json.load(sys.stdin))))
