"""llama.cpp in this process; it and `samplers` are the only modules that import llama_cpp.

The low-level API decodes many sequences in one batch. Each slot is a KV stream of its own
(`kv_unified` off), prompts are evaluated in calls that hold nothing else, and the
sliding-window layers keep their whole cache, so that any prefix can be copied.

On CPUs llama.cpp chooses its kernels by the number of rows in a call: another for less
than 8, another for what is left over of groups of 4, and with flash attention another for
64 tokens of a sequence or more. So calls are filled up to whole groups, two at least, and
hold less than 64 tokens of a sequence: then a row's result depends on its own sequence
alone, and a token that was written is the same as one that was read. This is what
`batch_invariant` does; docs/engine.md has the measurements.
"""

import ctypes
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import llama_cpp
import msgspec
import numpy as np
import numpy.typing as npt
from llama_cpp import _ggml

from m2l import gguf
from m2l.engine import samplers
from m2l.engine.aside import Saved
from m2l.engine.base import Engine, ModelFile
from m2l.engine.samplers import Sampler
from m2l.engine.scheduler import Counts, Job, Scheduler
from m2l.engine.sizing import FEWEST, GROUP, SLACK, Chosen, Settings, choose, context, filled
from m2l.errors import EngineError, ModelError, TemplateError
from m2l.machine import this_machine
from m2l.records import Completion, FinishReason, Request
from m2l.spec import Positive
from m2l.templates import render_chat

LOOP = 4
"""Raised when a change of this module or of the scheduler may change a text; part of the backend's name."""

_PART = 60
"""Tokens of a sequence in a call at most, where its results are not to depend on it: whole groups, and below 64."""

_GPU = 1
"""ggml's `GGML_BACKEND_DEVICE_TYPE_GPU`."""

_BYTES = ctypes.POINTER(ctypes.c_uint8)

Bytes = npt.NDArray[np.uint8]

_messages: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _user: ctypes.c_void_p) -> None:
    if level >= 3:
        _messages.append(text.decode("utf-8", errors="replace").strip())
        del _messages[:-5]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's file says of itself; `tokens` counts those of each text asked for, `ids` are those of others."""

    architecture: str
    chat_template: str | None
    n_ctx_train: int
    tokens: dict[str, int]
    ids: dict[str, list[int]]


class Llama(Engine):
    """Continuous batching over a local GGUF.

    `n_ctx` is the tokens of one slot, prompt and answer. What is None follows from the
    model, the free memory and the cores that this process may use, when it is first
    needed. With `batch_invariant` the text of a request depends on no other request, nor on
    slots, batches, threads or interruption. Raises EngineError if the model does not load,
    or not one slot fits.
    """

    def __init__(
        self,
        model: ModelFile,
        n_ctx: Positive,
        n_slots: Positive | None = None,
        n_batch: Positive | None = None,
        n_threads: Positive | None = None,
        n_gpu_layers: int | None = None,
        keep_gb: float | None = None,
        batch_invariant: bool = True,
    ) -> None:
        super().__init__(model)
        if any(number is not None and number < 1 for number in (n_slots, n_ctx, n_batch, n_threads)):
            raise ValueError("n_slots, n_ctx, n_batch and n_threads are at least 1")
        if keep_gb is not None and keep_gb < 0:
            raise ValueError("keep_gb is 0 or more")
        self._asked = Settings(
            n_slots=n_slots, n_ctx=n_ctx, n_batch=n_batch, n_threads=n_threads, n_gpu_layers=n_gpu_layers,
            keep_gb=keep_gb, batch_invariant=batch_invariant,
        )  # fmt: skip
        self._decoder: _LlamaDecoder | None = None
        self._scheduler: Scheduler | None = None

    @classmethod
    def backend(cls) -> str:
        return f"llama-cpp-python {metadata.version('llama_cpp_python')} loop {LOOP}"

    @classmethod
    def backend_of(cls, target: dict[str, object]) -> str:
        return cls.backend() + ("" if target.get("batch_invariant", True) else ", not batch-invariant")

    @classmethod
    def resolved(cls, target: dict[str, object], n_ctx_train: int) -> dict[str, object]:
        return target | {"n_ctx": target.get("n_ctx") or context(n_ctx_train)}

    @classmethod
    def for_one(cls, target: dict[str, object]) -> dict[str, object]:
        return target | {"batch_invariant": False}

    @cached_property
    def chosen(self) -> Chosen:
        """How it is set on this machine."""
        assert self.model.path is not None
        machine = msgspec.structs.replace(this_machine(), gpu_memory=_gpu_memory())
        return choose(self._asked, gguf.read(self.model.path), machine)

    def describe(self) -> str:
        chosen = self.chosen
        on_gpu = {-1: "all layers on the GPU", 0: "no GPU"}.get(
            chosen.n_gpu_layers, f"{chosen.n_gpu_layers} on the GPU"
        )
        return (
            f"{self.model.name}: {chosen.n_slots} slots and {chosen.n_ahead} for prompts of {chosen.n_ctx} tokens, "
            f"batches of {chosen.n_batch}, "
            f"{chosen.n_threads} threads, {on_gpu}, {chosen.keep / 1e9:.1f} GB for conversations that go on"
            + ("" if chosen.batch_invariant else ", texts may depend on the batch")
        )

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.load()
        decoder = self._decoder
        assert decoder is not None
        scheduler = self._scheduler = self._scheduler or Scheduler(decoder, self.chosen.keep)
        jobs = []
        for index, request in enumerate(requests):
            try:
                tokens = array("i", decoder.tokens_of(request))
            except TemplateError as err:
                yield index, Completion(text="", finish_reason=FinishReason.ERROR, error=str(err))
                continue
            stop = tuple(text.encode() for text in request.stop)
            loop = request.sampling.loop
            jobs.append(Job(index=index, tokens=tokens, max_tokens=request.max_tokens, stop=stop, loop=loop))
        decoder.begin(requests, {job.index: job.tokens for job in jobs})
        for index, completion in scheduler.run(jobs, going_on=self.going_on):
            decoder.forget(index)
            yield index, completion

    def rendered(self, request: Request) -> str | None:
        decoder = self._decoder = self._decoder or _LlamaDecoder(self)
        return decoder.text_of(request)

    def load(self) -> None:
        """Load the model now, and not with the first request."""
        self._decoder = self._decoder or _LlamaDecoder(self)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = self._scheduler = None

    @property
    def counts(self) -> Counts:
        """What has been evaluated so far, in tokens."""
        return self._scheduler.counts if self._scheduler else Counts()

    @property
    def decoding_seconds(self) -> float:
        """How long llama.cpp itself has decoded; the rest is choosing tokens and this package."""
        return self._decoder.seconds if self._decoder else 0.0


def inspect(path: Path, texts: Mapping[str, str], ids: Sequence[str] = ()) -> Facts:
    """Read a model's metadata and vocabulary, without its weights, and count the tokens of `texts`."""
    model = _load(path, vocab_only=True, n_gpu_layers=0)
    vocab = llama_cpp.llama_model_get_vocab(model)
    template = llama_cpp.llama_model_chat_template(model, None)
    architecture = _meta(model, "general.architecture")
    facts = Facts(
        architecture=architecture,
        chat_template=template.decode() if template else None,
        n_ctx_train=int(_meta(model, f"{architecture}.context_length") or 0),
        tokens={name: len(_tokenize(vocab, text, special=False, add=False)) for name, text in texts.items()},
        ids={text: _tokenize(vocab, text, special=True, add=False) for text in ids},
    )
    llama_cpp.llama_model_free(model)
    return facts


class _LlamaDecoder:
    """A context with one KV stream a slot; the `Decoder` of the scheduler.

    There are as many streams as a call needs rows at least; those that are no slot only fill calls up.
    """

    def __init__(self, engine: Llama) -> None:
        chosen = engine.chosen
        self.n_slots, self.n_ahead = chosen.n_slots, chosen.n_ahead
        self.n_ctx, self.n_batch = chosen.n_ctx, chosen.n_batch
        self._invariant = chosen.batch_invariant
        assert engine.model.path is not None
        self._model = _load(engine.model.path, vocab_only=False, n_gpu_layers=chosen.n_gpu_layers)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        streams = max(self._filled(chosen.n_slots), chosen.n_slots + chosen.n_ahead)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = (chosen.n_ctx + SLACK) * streams
        params.n_seq_max = streams
        params.n_batch = params.n_ubatch = max(self._filled(chosen.n_batch + GROUP * chosen.n_ahead), streams)
        params.n_threads = params.n_threads_batch = chosen.n_threads
        params.n_outputs_max = streams
        params.kv_unified = False
        params.swa_full = True
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise EngineError(f"{engine.describe()}: no context ({_reason()}). Lower engine.n_slots or engine.n_ctx.")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(params.n_batch)
        self._lengths = [0] * streams
        self._scratch, self._room = np.empty(0, np.uint8), -1
        # What is further back than the window of the last token is not saved of the layers that have one.
        self.n_saved = llama_cpp.llama_model_n_swa(self._model) or chosen.n_ctx
        self.n_part = _PART if chosen.batch_invariant and chosen.n_gpu_layers >= 0 else self.n_batch
        self.seconds = 0.0
        self._samplers: dict[int, Sampler] = {}
        self._requests: Sequence[Request] = ()
        self._prompts: dict[int, Sequence[int]] = {}
        self._pieces: dict[int, bytes] = {}
        template = llama_cpp.llama_model_chat_template(self._model, None)
        self._template = template.decode() if template else None
        self._bos = self.piece_text(llama_cpp.llama_vocab_bos(self._vocab))
        self._eos = self.piece_text(llama_cpp.llama_vocab_eos(self._vocab))

    def begin(self, requests: Sequence[Request], prompts: dict[int, Sequence[int]]) -> None:
        """Take the requests that come next, and the tokens of their prompts, by index; raises EngineError."""
        samplers.check(requests, self._vocab)
        for job in list(self._samplers):  # of requests that were given up
            self.forget(job)
        self._requests, self._prompts = requests, prompts

    def tokens_of(self, request: Request) -> list[int]:
        """Return the tokens of a prompt: a text as it is, messages by the chat template.

        Special tokens are read in what the template wrote, never in a plain text.
        """
        text = self.text_of(request)
        if isinstance(request.prompt, str):
            return _tokenize(self._vocab, text, special=False, add=True)
        return _tokenize(self._vocab, text, special=True, add=not (self._bos and text.startswith(self._bos)))

    def text_of(self, request: Request) -> str:
        """Return what a prompt is for the model: a text as it is, messages by the chat template."""
        if isinstance(request.prompt, str):
            return request.prompt
        if self._template is None:
            raise TemplateError("the model has no chat template. Use frame=completion, or an instruct model.")
        messages = [{"role": turn.role, "content": turn.content} for turn in request.prompt]
        return render_chat(self._template, messages, bos=self._bos, eos=self._eos)

    def copy(self, source: int, target: int) -> None:
        """See `Decoder`. llama.cpp's own copy between streams takes all the room of one, however little is in it."""
        length = self._lengths[source]
        if length <= self.n_saved:
            self._read(target, length, self._written(source))
        else:
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._lengths[target] = length

    def trim(self, slot: int, length: int) -> None:
        """See `Decoder`."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, length, -1)
        self._lengths[slot] = length

    def save(self, slot: int) -> Saved:
        """See `Decoder`."""
        data = np.frombuffer(self._written(slot).tobytes(), np.uint8)
        return Saved(self._lengths[slot], data.nbytes, data)

    def load(self, slot: int, saved: Saved) -> None:
        """See `Decoder`."""
        self._read(slot, saved.length, saved.data)

    def _written(self, slot: int) -> Bytes:
        """Return what a slot holds, in memory that the next call takes again."""
        length = self._lengths[slot]
        if length > self._room:
            self._room = 2 * length
            self._scratch = np.empty(2 * llama_cpp.llama_state_seq_get_size(self._context, slot), np.uint8)
        at = self._scratch.ctypes.data_as(_BYTES)
        return self._scratch[: llama_cpp.llama_state_seq_get_data(self._context, at, self._scratch.nbytes, slot)]

    def _read(self, slot: int, length: int, data: Bytes) -> None:
        self.trim(slot, 0)  # what was saved of an empty slot would leave it as it is
        at = data.ctypes.data_as(_BYTES)
        if length and not llama_cpp.llama_state_seq_set_data(self._context, at, data.nbytes, slot):
            raise EngineError("llama.cpp: a sequence that was put aside cannot be taken back. Set engine.keep_gb to 0.")
        self._lengths[slot] = length

    def extend(self, slots: Sequence[int], parts: Sequence[Sequence[int]]) -> None:
        """See `Decoder`. What fills a part up comes after its tokens, so that they do not see it, and is forgotten."""
        size = max(map(len, parts))
        if self._invariant:
            size = max(-(-size // GROUP) * GROUP, FEWEST if len(parts) == 1 else GROUP)
        tokens: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        for slot, part in zip(slots, parts, strict=True):
            start = self._lengths[slot]
            tokens += [*part, *[0] * (size - len(part))]
            positions += range(start, start + size)
            rows += [slot] * size
        self._batch.fill(tokens, positions, rows)
        self._decode()
        for slot, part in zip(slots, parts, strict=True):
            self.trim(slot, self._lengths[slot] + len(part))

    def step(self, tokens: Sequence[int], jobs: Sequence[int | None]) -> list[int]:
        """See `Decoder`."""
        asked, rows = len(tokens), self._filled(len(tokens))
        self._batch.fill([*tokens, *[0] * (rows - asked)], self._lengths[:rows], range(rows))
        self._batch.sampled[:rows] = 1  # those that fill it up too: the last layer is computed for these rows alone
        self._decode()
        for slot in range(rows):
            if slot < asked and jobs[slot] is not None:
                self._lengths[slot] += 1
            else:
                self.trim(slot, self._lengths[slot])
        context = self._context
        return [-1 if job is None else self._sampler(job).sample(context, row) for row, job in enumerate(jobs)]

    def _sampler(self, job: int) -> Sampler:
        if job not in self._samplers:
            self._samplers[job] = Sampler(self._requests[job], self._prompts[job], self._vocab)
        return self._samplers[job]

    def _filled(self, rows: int) -> int:
        return filled(rows) if self._invariant else rows

    def is_end(self, token: int) -> bool:
        """See `Decoder`."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """See `Decoder`; a special token has no bytes of its own in an answer."""
        if token not in self._pieces:
            self._pieces[token] = _piece(self._vocab, token, special=False)
        return self._pieces[token]

    def piece_text(self, token: int) -> str:
        """Return a special token as the chat template writes it."""
        return _piece(self._vocab, token, special=True).decode("utf-8", errors="replace") if token >= 0 else ""

    def forget(self, job: int) -> None:
        """Free what was kept for a request that has ended."""
        self._prompts.pop(job, None)
        sampler = self._samplers.pop(job, None)
        if sampler is not None:
            sampler.free()

    def close(self) -> None:
        """Free the context and the model."""
        for job in list(self._samplers):
            self.forget(job)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def _decode(self) -> None:
        start = time.perf_counter()
        code = llama_cpp.llama_decode(self._context, self._batch.struct)
        self.seconds += time.perf_counter() - start
        if code:
            raise EngineError(
                f"llama.cpp: decoding failed with code {code} ({_reason()}). Lower engine.n_slots or n_ctx."
            )


class _Batch:
    """llama.cpp's batch over arrays of our own, which are filled at once and not number by number."""

    def __init__(self, size: int) -> None:
        self._token, self._position = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._slot, self._slots_of_row = np.zeros(size, np.int32), np.ones(size, np.int32)
        places = self._slot.ctypes.data + np.arange(size, dtype=np.uintp) * self._slot.itemsize
        self._places = places.astype(np.uintp)
        self.sampled = np.zeros(size, np.int8)
        """For each row whether its logits are wanted; `fill` says no to all."""
        fields: Any = {name: kind for name, kind, *_ in llama_cpp.llama_batch._fields_}
        arrays: dict[str, Any] = {
            "token": self._token, "pos": self._position, "n_seq_id": self._slots_of_row,
            "seq_id": self._places, "logits": self.sampled,
        }  # fmt: skip
        self.struct = llama_cpp.llama_batch(
            **{name: ctypes.cast(array.ctypes.data, fields[name]) for name, array in arrays.items()}
        )

    def fill(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int]) -> None:
        """Make each row one token of a slot."""
        rows = len(tokens)
        self.struct.n_tokens = rows
        self._token[:rows] = tokens
        self._position[:rows] = positions
        self._slot[:rows] = slots
        self.sampled[:rows] = 0


def _load(path: Path, *, vocab_only: bool, n_gpu_layers: int) -> Any:
    llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = n_gpu_layers
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise ModelError(f"{path}: llama.cpp cannot load it ({_reason()}). Get it again, or use another GGUF.")
    return model


def _tokenize(vocab: Any, text: str, *, special: bool, add: bool) -> list[int]:
    data = text.encode()
    room = len(data) + 8
    tokens = (llama_cpp.llama_token * room)()
    count = llama_cpp.llama_tokenize(vocab, data, len(data), tokens, room, add, special)
    return list(tokens[:count])


def _piece(vocab: Any, token: int, *, special: bool) -> bytes:
    buffer = ctypes.create_string_buffer(256)
    count = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, special)
    return buffer.raw[:count]


def _meta(model: Any, name: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    count = llama_cpp.llama_model_meta_val_str(model, name.encode(), buffer, len(buffer))
    return buffer.value.decode() if count >= 0 else ""


def _gpu_memory() -> int:
    """Return the free bytes of all GPUs that llama.cpp was built for; 0 if it was built for none."""
    if not llama_cpp.llama_supports_gpu_offload():
        return 0
    lib, total = _ggml.libggml, 0
    lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    lib.ggml_backend_dev_get.restype = ctypes.c_void_p
    for index in range(lib.ggml_backend_dev_count()):
        device = ctypes.c_void_p(lib.ggml_backend_dev_get(ctypes.c_size_t(index)))
        if lib.ggml_backend_dev_type(device) == _GPU:
            free, whole = ctypes.c_size_t(), ctypes.c_size_t()
            lib.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(whole))
            total += free.value
    return total


def _reason() -> str:
    return _messages[-1].rstrip(".") if _messages else "it says no reason"
