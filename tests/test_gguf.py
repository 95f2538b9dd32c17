"""Headers of model files, against llama.cpp's own reading and against files written here by the specification."""

import struct
from pathlib import Path

import pytest

from m2l import gguf
from m2l.errors import ModelError
from tests.conftest import ROOT

MODELS = sorted((ROOT / "cache" / "models").glob("*.gguf"))


def text(value: str) -> bytes:
    """A string as the specification writes it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(values: dict[str, int | str | list[int]], shapes: list[tuple[int, ...]], version: int = 3) -> bytes:
    """A file of these metadata, and tensors of these shapes without their numbers."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(shapes), len(values))
    for name, value in values.items():
        data += text(name)
        if isinstance(value, str):
            data += struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            data += struct.pack("<II", 4, value)
        else:
            data += struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
    for shape in shapes:
        data += text("t") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)
    return data


FIELDS: dict[str, int | str | list[int]] = {
    "general.architecture": "x", "general.file_type": 15, "x.context_length": 100, "x.block_count": 2,
    "x.attention.head_count": 4, "x.embedding_length": 32,
}  # fmt: skip


def test_a_header_is_read(tmp_path: Path) -> None:
    """Metadata, number of parameters, and the bytes of a token in the KV cache."""
    path = tmp_path / "x.gguf"
    path.write_bytes(header(FIELDS, [(3, 5), (7,)]))
    found = gguf.read(path)
    assert (found.architecture, found.quantisation, found.n_ctx_train, found.n_layer) == ("x", "Q4_K_M", 100, 2)
    assert (found.parameters, found.size) == (22, path.stat().st_size)
    assert found.chat_template is None
    assert found.kv_bytes == 2 * 2 * 4 * (8 + 8)
    path.write_bytes(header(FIELDS | {"x.attention.head_count_kv": [1, 3], "x.attention.key_length": 10}, []))
    assert gguf.read(path).kv_bytes == 2 * (1 + 3) * (10 + 8)


def test_long_lists_are_passed_over(tmp_path: Path) -> None:
    """The vocabulary is not kept, and what comes after it is read."""
    path = tmp_path / "x.gguf"
    path.write_bytes(header({"general.architecture": "x", "many": [7] * 2000, "last": "here"}, []))
    assert gguf.read(path).values == {"general.architecture": "x", "last": "here"}


@pytest.mark.parametrize("cut", [0, 3, 12, 30, 60, 150])
def test_what_is_no_header_is_one_line(tmp_path: Path, cut: int) -> None:
    """A file that ends anywhere in its header, or is none, is named with what to do."""
    path = tmp_path / "x.gguf"
    path.write_bytes(header(FIELDS, [(3, 5)])[:cut])
    with pytest.raises(ModelError, match=rf"^{path}: (no GGUF file|its header is damaged).*\. Get it again"):
        gguf.read(path)


def test_a_length_that_cannot_be_is_damage(tmp_path: Path) -> None:
    """A flipped bit in a length asks for no terabyte of memory."""
    data = bytearray(header(FIELDS, []))
    data[4 + 4 + 16 + 7] = 0x7F
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ModelError, match="its header is damaged"):
        gguf.read(tmp_path / "x.gguf")


@pytest.mark.model
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_it_says_what_llama_says(path: Path) -> None:
    """Architecture, context, chat template, layers and parameters are those that llama.cpp finds."""
    import llama_cpp

    from m2l.engine.llama import inspect

    facts, found = inspect(path, {}), gguf.read(path)
    assert (found.architecture, found.n_ctx_train) == (facts.architecture, facts.n_ctx_train)
    assert found.chat_template == facts.chat_template
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    assert found.parameters == llama_cpp.llama_model_n_params(model)
    assert found.n_layer == llama_cpp.llama_model_n_layer(model)
    llama_cpp.llama_model_free(model)
