"""What trainers make of exported files: `python tests/trainers.py TRAINER FOLDER`, by a Python that has the trainer.

It prints the conversations of the training split as JSON, each a list of roles and contents.
It imports nothing of m2l, so that trainers may live in an environment of their own.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

Conversation = list[list[str]]
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
LONGEST = 8192


def trl(folder: str) -> list[Conversation]:
    """Train a tiny model for a step on `messages`, and return what the trainer made of it."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = _tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, max_position_embeddings=LONGEST)  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        trainer = SFTTrainer(
            model=LlamaForCausalLM(config), processing_class=tokenizer, train_dataset=_loaded(folder, "messages"),
            args=SFTConfig(output_dir=out, max_steps=1, per_device_train_batch_size=1, max_length=LONGEST,
                           report_to="none", use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True),
        )  # fmt: skip
        trainer.train()
    return [_said(tokenizer.decode(row["input_ids"])) for row in trainer.train_dataset]


def axolotl(folder: str) -> list[Conversation]:
    """Return what Axolotl's chat template strategy makes of `sharegpt`, set as docs/publish.md says."""
    from axolotl.prompt_strategies.chat_template import ChatTemplatePrompter, ChatTemplateStrategy

    tokenizer = _tokenizer()
    prompter = ChatTemplatePrompter(
        tokenizer, chat_template=CHATML, field_messages="conversations", max_length=LONGEST,
        message_property_mappings={"role": "from", "content": "value"},
    )  # fmt: skip
    strategy = ChatTemplateStrategy(prompter, tokenizer=tokenizer, train_on_inputs=False, sequence_len=LONGEST)
    rows = (strategy.tokenize_prompt(row) for row in _loaded(folder, "sharegpt"))
    return [_said(tokenizer.decode(row["input_ids"])) for row in rows]


def llamafactory(folder: str) -> list[Conversation]:
    """Return what LLaMA-Factory's converter makes of `sharegpt`."""
    return _converted(folder, "sharegpt")


def llamafactory_alpaca(folder: str) -> list[Conversation]:
    """Return what LLaMA-Factory's converter makes of `alpaca`."""
    return _converted(folder, "alpaca")


def _converted(folder: str, name: str) -> list[Conversation]:
    from types import SimpleNamespace

    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import DatasetAttr

    attributes = DatasetAttr("file", dataset_name=name, formatting=name)
    convert = get_dataset_converter(name, attributes, SimpleNamespace(media_dir="."))
    rows = [convert(row) for row in _loaded(folder, name)]
    return [[[turn["role"], turn["content"]] for turn in [*row["_prompt"], *row["_response"]]] for row in rows]


def _loaded(folder: str, name: str) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=f"{folder}/{name}/train.jsonl", split="train")


def _tokenizer() -> Any:
    """Return a tokenizer of bytes, which needs no file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    vocab = {part: number for number, part in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), *marks])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=marks[0], eos_token=marks[2], additional_special_tokens=marks[1:2]
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _said(text: str) -> Conversation:
    """Return the turns of a text that the chat template wrote."""
    return [list(turn) for turn in re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", text, re.DOTALL)]


TRAINERS: dict[str, Callable[[str], list[Conversation]]] = {
    "trl": trl, "axolotl": axolotl, "llamafactory": llamafactory, "llamafactory_alpaca": llamafactory_alpaca,
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps(TRAINERS[sys.argv[1]](sys.argv[2])))
