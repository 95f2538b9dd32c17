"""Requests of one slice: directives, frames and worked examples rendered for its language."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from m2l import templates
from m2l.digest import drawn
from m2l.draft import Draft
from m2l.errors import ConfigError
from m2l.records import Request, Turn
from m2l.spec import FrameStep, Language, Seed, Slice

VARIABLES = {
    "evolve": frozenset({"prompt", "labels", "shots", "instruction", "language"}),
    "respond": frozenset({"labels", "shots", "instruction", "input", "language"}),
    "user_turn": frozenset({"prompt", "labels", "dialogues", "conversation", "language"}),
    "assistant_turn": frozenset({"labels", "dialogues", "conversation", "language"}),
}
"""The variables that the template of each step of a frame may use."""

DIRECTIVE_VARIABLES = frozenset({"language", "variety", "anchor", "format", "neighbour"})
"""The variables that a directive may use.

`variety`, `anchor` and `format` are one of those of the language, drawn anew for each
seed or conversation; `neighbour` is the neighbour language's name in the language.
"""


def directive(template: str, language: Language, *key: str) -> str:
    """Render the directive of an operator or a turn; what it draws depends on `key` alone."""
    if "{" not in template:
        return template
    lists = {"variety": language.varieties, "anchor": language.anchors.all, "format": language.formats}
    first = {name: next(iter(drawn(options, *key)), "") for name, options in lists.items() if name in template}
    return _rendered(
        template, language.name, language.own_name, (("neighbour", language.neighbour.name), *first.items())
    )


@lru_cache(maxsize=65536)
def _rendered(template: str, name: str, own_name: str, values: tuple[tuple[str, str], ...]) -> str:
    return templates.render(
        template, {"language": {"name": name, "own_name": own_name}, **dict(values)}, where="a directive"
    )


def directives(piece: Slice, variation: str, evolved_id: str) -> tuple[str, ...]:
    """Return the directives of a variation's turns for one conversation."""
    return tuple(
        directive(turn.prompt, piece.language, evolved_id, variation) for turn in piece.variation[variation].turns
    )


_COMMON = "follow_up"
"""The family whose first dialogue stands before a family's only one: two forms say more than one."""


class Prompts:
    """Renders the requests of a slice; equal inputs give equal requests."""

    def __init__(self, piece: Slice) -> None:
        self.piece = piece
        language = piece.language
        labels = language.labels
        self._labels = {name: getattr(labels, name) for name in labels.__struct_fields__}
        self._common = {"labels": self._labels, "language": {"name": language.name, "own_name": language.own_name}}

    def evolve(self, draft: Draft) -> Request:
        """Ask for the draft's seed instruction, evolved."""
        values = {
            "prompt": draft.evolve_prompt,
            "instruction": draft.seed.instruction,
            "shots": self._evolve_shots(draft.operator, draft.operator_family),
        }
        return self._request("evolve", self.piece.frame.evolve, values, self.piece.max_tokens.evolve)

    def respond(self, draft: Draft) -> Request:
        """Ask for the answer to the draft's evolved instruction."""
        step = self.piece.frame.respond
        tokens = self.piece.answer_tokens[draft.seed.task]
        if step is None:
            return self._chat(draft.turns, tokens, ())
        values = {
            "instruction": draft.instruction,
            "input": draft.seed.input or "",
            "shots": self.answered(draft.seed),
        }
        return self._request("respond", step, values, tokens)

    def user_turn(self, draft: Draft) -> Request:
        """Ask for what the user says next, by the directive of this turn of the variation."""
        values = {
            "prompt": draft.variation_prompts[len(draft.turns) // 2 - 1],
            "conversation": draft.turns,
            "dialogues": self._dialogues(draft),
        }
        return self._request("user_turn", self.piece.frame.user_turn, values, self.piece.max_tokens.user_turn)

    def assistant_turn(self, draft: Draft) -> Request:
        """Ask for the assistant's next answer."""
        step = self.piece.frame.assistant_turn
        tokens = self.piece.max_tokens.assistant_turn
        if step is None:
            return self._chat(draft.turns, tokens, ())
        values = {"conversation": draft.turns, "dialogues": self._dialogues(draft)}
        return self._request("assistant_turn", step, values, tokens)

    def answered(self, seed: Seed) -> list[Seed]:
        """Return the worked examples for an answer: other seeds, of the same task where there are enough.

        The first seeds of a file serve, so that adding one at its end changes no
        prompt; the last of them stands first, so that prompts share their beginning.
        """
        others = [s for s in self.piece.examples if s.seed_id != seed.seed_id]
        same = [s for s in others if s.task == seed.task]
        general = [s for s in others if s.task == "general" != seed.task]
        return [*same, *general][: self.piece.frame.shots][::-1]

    def _evolve_shots(self, operator: str, family: str) -> Sequence[object]:
        if self.piece.frame.kind == "chat":
            return ()
        shots = self.piece.language.shots.evolve
        if family not in shots:
            raise ConfigError(
                f"conf/language/{self.piece.language_code}.yaml: shots.evolve has no family {family!r}, which "
                f"conf/operator/{operator}.yaml needs with a base model. Add two examples, or use a chat model."
            )
        return shots[family]

    def _dialogues(self, draft: Draft) -> Sequence[Sequence[str]]:
        """Return the worked dialogues of a variation's family; before a single one stands one of `follow_up`."""
        if self.piece.frame.kind == "chat":
            return ()
        family = draft.variation_family
        dialogues = self.piece.language.shots.dialogue
        if family not in dialogues:
            raise ConfigError(
                f"conf/language/{self.piece.language_code}.yaml: shots.dialogue has no family {family!r}, which "
                f"conf/variation/{draft.variation}.yaml needs with a base model. Add an example, or use a chat model."
            )
        shown = dialogues[family]
        return shown if len(shown) > 1 else [*dialogues.get(_COMMON, ())[:1], *shown] if family != _COMMON else shown

    def _request(self, name: str, step: FrameStep, values: Mapping[str, object], max_tokens: int) -> Request:
        where = f"frame.{name}"
        text = templates.render(step.template, {**self._common, **values}, where=where)
        stop = tuple(_render_stop(stop, self._common, where) for stop in step.stop)
        if self.piece.frame.kind == "chat":
            return self._chat((Turn("user", text),), max_tokens, stop)
        return self._make(text, max_tokens, stop)

    def _chat(self, messages: tuple[Turn, ...], max_tokens: int, stop: tuple[str, ...]) -> Request:
        return self._make(messages, max_tokens, stop)

    def _make(self, prompt: str | tuple[Turn, ...], max_tokens: int, stop: tuple[str, ...]) -> Request:
        identity = self.piece.identity
        return Request(
            prompt=prompt,
            model=identity.content,
            chat_template=None if isinstance(prompt, str) else identity.chat_template,
            backend=identity.backend,
            sampling=self.piece.sampling,
            max_tokens=max_tokens,
            stop=stop,
        )


def _render_stop(stop: str, values: Mapping[str, object], where: str) -> str:
    return stop if "{{" not in stop else "\n" * stop.startswith("\n") + templates.render(stop, values, where=where)
