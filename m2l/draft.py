"""A conversation while it is being written: its lineage, and its turns so far."""

from dataclasses import dataclass, replace
from typing import Literal

from m2l.digest import digest
from m2l.records import Completion, Conversation, FinishReason, Request, Role, Turn
from m2l.spec import Seed

State = Literal["open", "pending", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One seed on its way through one operator and, later, one variation.

    `state` is `pending` while a text that it hangs on has not been generated, and
    `failed` once the model gave no text to go on with; `error` then says why.
    """

    seed: Seed
    operator: str
    operator_family: str
    evolve_prompt: str
    instruction: str = ""
    variation: str = ""
    variation_family: str = ""
    variation_prompts: tuple[str, ...] = ()
    turns: Conversation = ()
    request_keys: tuple[str, ...] = ()
    finish_reasons: tuple[FinishReason, ...] = ()
    attempts: tuple[int, ...] = ()
    state: State = "open"
    error: str | None = None

    @property
    def evolved_id(self) -> str:
        """The id of the evolved instruction, from seed and operator and not from its text."""
        return digest([self.seed.seed_id, self.operator])[:16]

    @property
    def row_id(self) -> str:
        """The id of this row: the evolved instruction's until a variation is chosen."""
        return digest([self.evolved_id, self.variation])[:16] if self.variation else self.evolved_id

    def take(self, request: Request, completion: Completion | None, role: Role | None) -> "Draft":
        """Return the draft after an answer: a turn of `role`, or the instruction itself if that is None.

        None as the completion means that it is not known yet.
        """
        if completion is None:
            return replace(self, state="pending")
        seen = replace(
            self,
            request_keys=(*self.request_keys, request.key),
            finish_reasons=(*self.finish_reasons, completion.finish_reason),
            attempts=(*self.attempts, request.attempt),
        )
        text = completion.text.strip()
        if not text:
            return replace(seen, state="failed", error=completion.error or "the model wrote nothing")
        if role is None:
            return replace(seen, instruction=text, turns=(Turn("user", with_input(text, self.seed.input)),))
        return replace(seen, turns=(*self.turns, Turn(role, text)))


def with_input(instruction: str, text: str | None) -> str:
    """Return the user's message: the instruction, and the text that it is about below it."""
    return f"{instruction}\n\n{text}" if text else instruction
