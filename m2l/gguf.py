"""What a GGUF file says of itself, read from its header alone: no weights, no llama.cpp.

The layout is that of the GGUF specification, versions 2 and 3, little-endian.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from m2l.errors import ModelError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEPT = 1024
"""Longer lists are the vocabulary, and are passed over."""

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A model's metadata by key, how many parameters its tensors have, and how many bytes the file has."""

    values: dict[str, Any]
    parameters: int
    size: int

    @property
    def architecture(self) -> str:
        """The name by which llama.cpp knows how to run it."""
        return str(self.values.get("general.architecture", ""))

    @property
    def quantisation(self) -> str:
        """The kind of its weights."""
        kind = self.values.get("general.file_type")
        return "not said" if kind is None else _FILE_TYPES.get(kind, f"file type {kind}")

    @property
    def n_ctx_train(self) -> int:
        """The longest context that it was trained for, in tokens; 0 if it does not say."""
        return int(self._of("context_length", 0))

    @property
    def n_layer(self) -> int:
        """How many layers it has."""
        return int(self._of("block_count", 0))

    @property
    def chat_template(self) -> str | None:
        """Its chat template in Jinja, if it brings one."""
        return self.values.get("tokenizer.chat_template")

    @property
    def kv_bytes(self) -> int:
        """How many bytes one token takes in an f16 KV cache that keeps every layer whole: an upper bound."""
        heads = self._of("attention.head_count", 1)
        most = max(heads) if isinstance(heads, list) else heads
        kv_heads = self._of("attention.head_count_kv", heads)
        total = sum(kv_heads) if isinstance(kv_heads, list) else kv_heads * self.n_layer
        width = self._of("embedding_length", 0) // max(1, most)
        return int(2 * total * (self._of("attention.key_length", width) + self._of("attention.value_length", width)))

    def _of(self, name: str, default: Any) -> Any:
        return self.values.get(f"{self.architecture}.{name}", default)


def read(path: Path) -> Header:
    """Read the header of a model's file; raises ModelError if it cannot be read or is no GGUF."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path}: no GGUF file. Get it again, or name another one.")
            reader = _Reader(file)
            version, n_tensors, n_values = reader.unpack("<IQQ")
            if version not in (2, 3):
                raise ModelError(f"{path}: GGUF version {version}, this m2l reads 2 and 3. Convert the model anew.")
            values = dict(reader.pair() for _ in range(n_values))
            parameters = sum(reader.tensor() for _ in range(n_tensors))
    except OSError as err:
        raise ModelError(f"{path}: no model file ({err.strerror}). Put it there, or correct the name.") from err
    except (EOFError, struct.error, UnicodeDecodeError, KeyError, MemoryError, OverflowError) as err:
        raise ModelError(f"{path}: its header is damaged ({type(err).__name__}). Get it again.") from err
    known = {name: value for name, value in values.items() if value is not None}
    return Header(values=known, parameters=parameters, size=path.stat().st_size)


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, 2)
        file.seek(4)

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def pair(self) -> tuple[str, Any]:
        name = self._text()
        (kind,) = self.unpack("<I")
        return name, self._value(kind)

    def tensor(self) -> int:
        """Pass over what is said of a tensor; return how many numbers it holds."""
        self._text()
        (n_dims,) = self.unpack("<I")
        shape = self.unpack(f"<{n_dims}Q")
        self.unpack("<IQ")
        return math.prod(shape)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self.unpack("<" + _NUMBERS[kind])[0]
        inner, count = self.unpack("<IQ")
        if count <= _LONGEST_KEPT:
            return [self._value(inner) for _ in range(count)]
        self._skip(inner, count)
        return None

    def _skip(self, kind: int, count: int) -> None:
        if kind != _STRING:
            self._seek(count * struct.calcsize("<" + _NUMBERS[kind]))
            return
        for _ in range(count):
            self._seek(self.unpack("<Q")[0])

    def _text(self) -> str:
        return self._take(self.unpack("<Q")[0]).decode()

    def _take(self, count: int) -> bytes:
        if count > self._end - self._file.tell():
            raise EOFError
        return self._file.read(count)

    def _seek(self, count: int) -> None:
        if self._file.seek(count, 1) > self._end:
            raise EOFError
