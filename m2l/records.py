"""The frozen values that pass between stages, store and engines."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

import msgspec

from m2l.digest import canonical, digest_bytes

KEY_SCHEMA = 2
"""Raised when the meaning of a request's fields changes; it is part of every key."""

Role = Literal["system", "user", "assistant"]


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation."""

    role: Role
    content: str


Conversation = tuple[Turn, ...]


class LoopRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an answer has begun to go round in circles, and is ended with the finish_reason `loop`.

    That is when its last tokens are the same `period` of at most `max_period` tokens,
    `repeats` times in a row and over at least `min_tokens` tokens.
    """

    max_period: Annotated[int, msgspec.Meta(ge=1)]
    repeats: Annotated[int, msgspec.Meta(ge=2)]
    min_tokens: Annotated[int, msgspec.Meta(ge=2)]


class TokenBias(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is added to the logit of a token, by its id in the model's own vocabulary; -100 forbids it."""

    token: Annotated[int, msgspec.Meta(ge=0)]
    bias: Annotated[float, msgspec.Meta(ge=-100, le=100)]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a model's distribution is sampled; `temperature` 0 takes the likeliest token.

    `repeat_penalty` looks back over the last `repeat_last_n` tokens of the answer. The
    `dry_` parameters discourage a token that would go on with a sequence of the prompt or
    the answer which has been repeated for more than `dry_allowed_length` tokens (DRY, by
    p-e-w, as llama.cpp has it): it keeps small models from copying; `dry_multiplier` 0 turns it off.
    Tokens are those of the text's language: a slice has its own `dry_allowed_length`.

    What has a default is part of a key only where it is set, so that it could be added
    without asking for anything again. `presence_penalty` and `frequency_penalty` look back
    as far as `repeat_penalty`; `loop` ends an answer that goes round in circles.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[TokenBias, ...] = ()
    loop: LoopRule | None = None


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    LENGTH = "length"
    LOOP = "loop"
    ERROR = "error"


class JsonSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A grammar told as a JSON schema: its text, as the order of properties is that of the answer."""

    json_schema: str


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One call of a model: everything that its answer may depend on, and nothing else.

    `prompt` is text for a base model, or messages for a chat model, which the engine
    renders by the chat template whose digest is `chat_template`. `model` identifies
    the weights by content. `backend` is the name and version of what decodes them.
    `grammar` is one in GBNF, whose first rule is `root`, or a JSON schema.
    `attempt` counts up where the same is asked again, and so changes the rng_seed.
    """

    prompt: str | Conversation
    model: str
    chat_template: str | None
    backend: str
    sampling: SamplingParams
    max_tokens: int
    stop: tuple[str, ...] = ()
    grammar: str | JsonSchema | None = None
    attempt: int = 0

    @cached_property
    def canonical(self) -> bytes:
        """The request as canonical JSON; the store compares it on every hit."""
        return canonical({"schema": KEY_SCHEMA, "request": self})

    @cached_property
    def key(self) -> str:
        """32 hexadecimal digits under which the store keeps the completion."""
        return digest_bytes(self.canonical)

    @property
    def rng_seed(self) -> int:
        """The 32-bit seed of the sampler, from the content and never from the position."""
        return int(self.key[:8], 16)


class Completion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model answered; token counts are the model's own, `error` says why there is no text."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None
