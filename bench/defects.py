"""Defects, planted into text that people wrote, each with the rules that should see it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex
import yaml

from m2l import schema
from m2l.spec import Slice
from m2l.text import NO_SPACES, words

Row = dict[str, Any]

FAR = ("eng_Latn", "fra_Latn", "rus_Cyrl", "arb_Arab", "hin_Deva", "vie_Latn", "swh_Latn", "jpn_Jpan")
"""Languages from which a text in the wrong one is taken; one that a detector may take for the right one is left out."""

DISTANCES = {"one word": 0.0, "2%": 0.02, "5%": 0.05, "10%": 0.10, "20%": 0.20}
"""Shares of the words of a near-duplicate that are other words."""

NOT_DEMANDED = {"near-duplicate, 10%", "near-duplicate, 20%"}
"""Reported to show where the rule ends: texts this far apart are under the shipped threshold."""

RULES = {
    "loop of words": {"repetition", "repeated_lines"},
    "loop of lines": {"repetition", "repeated_lines"},
    "loop of characters": {"repeated_characters", "repetition"},
    "wrong language": {"wrong_language", "wrong_script", "english_inside", "foreign_script"},
    "English half": {"english_inside", "foreign_script", "wrong_script", "wrong_language"},
    "cut by the budget": {"truncated"},
    "cut in a sentence": {"unfinished"},
    "leaked label": {"leaked_label"},
    "leaked template": {"leaked_mark"},
    "leaked example": {"leaked_example"},
    "copied seed": {"copied_seed"},
    "echo": {"echo"},
    "turn said twice": {"repeated_turn"},
    "answer as instruction": {"answer_as_instruction"},
    "answer as user turn": {"answer_as_user_turn"},
    "near-duplicate of a seed": {"seed_duplicate"},
    "refusal in English": {"refusal"},
    "refusal": {"refusal"},
    "speaks as a machine": {"speaks_as_machine"},
    "punctuation only": {"empty", "mostly_punctuation"},
    "too long": {"too_long"},
    **{f"near-duplicate, {name}": {"near_duplicate"} for name in DISTANCES},
}


PAIRS = {f"near-duplicate, {name}" for name in DISTANCES}
"""Kinds that are planted as an original and what is near it."""

MARKS = ("<|im_end|>\n<|im_start|>user\n", "<end_of_turn>\n<start_of_turn>model\n", " [INST] ", "{{ instruction }}")
REFUSALS = (
    "I'm sorry, but I can't assist with that request.",
    "I apologize, but I am unable to answer that question in this language.",
    "Unfortunately, I cannot help with this topic. Please ask something else.",
    "I’m not able to provide that information at the moment.",
)
MACHINE = (
    "As an AI language model, I do not have feelings.",
    "I am an AI developed to be helpful.",
    "As a large language model, I can only describe it.",
    "I’m just a computer program, but here is what is known.",
)
_END = regex.compile(r"\p{L}[\p{L}\p{M}]{3}[\"'”’»)]*[.!?…।॥።။؟۔。！？]+[\"'”’»)]*\s*$")


def row(piece: Slice, number: int, *turns: str, seed_id: str | None = None, finish: str = "stop") -> Row:
    """Return a conversation of these turns, on a general seed and by no operator or variation."""
    seed = next(seed for seed in piece.seeds if (seed.seed_id == seed_id if seed_id else seed.task == "general"))
    talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]
    empty = {name: "" for name, dtype in schema.ROWS.items() if dtype == schema.ROWS["row_id"]}
    return empty | {
        "id": 0, "language": piece.language_code, "task": "general", "no_of_turns": len(turns) // 2,
        "conversation": talk, "row_id": str(number), "kind": "evolved", "seed_id": seed.seed_id,
        "seed_prompt": seed.instruction, "request_keys": [], "attempts": [0] * len(turns),
        "finish_reasons": ["stop"] * (len(turns) - 1) + [finish], "instruction": turns[0],
    }  # fmt: skip


def asked(piece: Slice) -> list[str]:
    """Return instructions of the project's seeds that no prompt shows, to stand before an answer."""
    shown = {seed.instruction for seed in piece.examples}
    first = next(seed for seed in piece.seeds if seed.task == "general").instruction
    return sorted({seed.instruction for seed in piece.seeds} - shown - {first})


class Planter:
    """Plants one defect at a time into texts of a slice's language."""

    def __init__(
        self, piece: Slice, texts: list[str], english: list[str], foreign: dict[str, list[str]], rng: random.Random
    ) -> None:
        self.piece, self.texts, self.english, self.rng = piece, texts, english, rng
        self.foreign = [text for code, found in foreign.items() if not _confusable(piece, code) for text in found]
        self.questions = asked(piece)
        self.refusals = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))
        self.seeds = [
            seed for seed in piece.seeds if len(seed.response) > 40 and not piece.task[seed.task].target(seed)
        ]

    def rows(self) -> Iterator[tuple[str, Row | tuple[Row, Row]]]:
        """Yield (kind, row) with one defect each; of a near-duplicate its original before it."""
        for number, text in enumerate(self.texts):
            other = self.texts[number - 1]
            question = self.questions[number % len(self.questions)]
            for kind, answer in self._answers(text, other):
                yield kind, row(self.piece, number, question, answer)
            yield from self._conversations(number, question, text, other)

    def _answers(self, text: str, other: str) -> Iterator[tuple[str, str]]:
        rng = self.rng
        found = words(text, self.piece.language.bcp47)
        yield "loop of words", f"{text} {self._join(found[:4] * 15)}"
        yield "loop of lines", "\n".join([text] * 4)
        yield "loop of characters", f"{text} {found[0][:2] * 30}"
        yield "wrong language", rng.choice(self.foreign)
        yield "English half", self._half(text)
        yield "leaked label", f"{text}\n{rng.choice(_labels(self.piece))} {other}"
        yield "leaked template", f"{text}{rng.choice(MARKS)}{other}"
        yield "leaked example", f"{text} {rng.choice(_long_examples(self.piece))}"
        yield "refusal in English", rng.choice(REFUSALS)
        yield "speaks as a machine", f"{rng.choice(MACHINE)} {text}"
        yield "punctuation only", rng.choice(("...", "?!?!", "---", "。。。", "* * *", "؟؟", "🙂🙂", "“”"))
        yield "too long", "\n".join(self.texts * (1 + 500 * 30 // sum(map(len, self.texts))))
        if self.piece.language_code in self.refusals:
            yield "refusal", f"{self.refusals[self.piece.language_code]} {text}"
        if _END.search(other) and (cut := self._cut(text)):
            yield "cut in a sentence", f"{other} {cut}"

    def _conversations(self, number: int, question: str, text: str, other: str) -> Iterator[tuple[str, Any]]:
        piece = self.piece
        first = next(seed for seed in piece.seeds if seed.task == "general")
        yield "cut by the budget", row(piece, number, question, text, finish="length")
        yield "copied seed", row(piece, number, f" {first.instruction.rstrip('.?!。？')} !", text)
        yield "echo", row(piece, number, question, f"{question} {text}")
        yield "turn said twice", row(piece, number, question, text, question, other)
        yield "answer as user turn", row(piece, number, question, text, f"{text} ", other)
        seed = self.seeds[number % len(self.seeds)]
        yield "answer as instruction", row(piece, number, seed.response, text, seed_id=seed.seed_id)
        yield "near-duplicate of a seed", row(piece, number, seed.instruction, self._changed(seed.response, 0.0))
        for name, share in DISTANCES.items():
            near = row(piece, number + 1, question, self._changed(f"{text} {other}", share))
            yield f"near-duplicate, {name}", (row(piece, number, question, f"{text} {other}"), near)

    def _half(self, text: str) -> str:
        """Return the first half of a text, which then goes on in English for as many letters."""
        size, said = len(text) // 2, ""
        while len(said) < max(40, size):
            said = f"{said} {self.rng.choice(self.english)}"
        return text[: size if " " not in text else text.rfind(" ", 0, size + 1)] + said

    def _cut(self, text: str) -> str | None:
        """Return about two thirds of a text, cut after a letter; None where there is a sentence's end in it."""
        part = text[: len(text) * 2 // 3].rstrip()
        return part if len(part) > 20 and part[-1].isalnum() and not _END.search(part[:-1] + " ") else None

    def _changed(self, text: str, share: float) -> str:
        """Return a text in which a share of the words, one at least, are other words of the language."""
        parts = _parts(text)
        pool = [part for line in self.texts for part in _parts(line)]
        for at in self.rng.sample(range(len(parts)), max(1, round(share * len(parts)))):
            parts[at] = self.rng.choice(pool)
        return "".join(parts)

    def _join(self, found: tuple[str, ...]) -> str:
        return ("" if self.piece.language.script in NO_SPACES else " ").join(found)


def _parts(text: str) -> list[str]:
    """Return the words of a text, each with what follows it, so that joined they are the text."""
    return (
        list(regex.findall(r"\S+\s*", text))
        if text.count(" ") * 12 > len(text)
        else list(regex.findall(r".{1,3}", text))
    )


def _confusable(piece: Slice, code: str) -> bool:
    return code == piece.language_code or (code[:3] in ("arb", "zho") and code[4:] == piece.language.script)


def _labels(piece: Slice) -> list[str]:
    labels = piece.language.labels
    return [labels.instruction, labels.response, labels.user, labels.assistant]


def _long_examples(piece: Slice) -> list[str]:
    texts = [turn for talks in piece.language.shots.dialogue.values() for talk in talks for turn in talk]
    return [text for text in texts if len(words(text, piece.language.bcp47)) >= 8]
