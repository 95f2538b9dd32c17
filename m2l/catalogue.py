"""The models that `conf/model` declares, and what a file of one says of itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from m2l import config, gguf, models, slices
from m2l.digest import digest
from m2l.errors import ConfigError, unknown
from m2l.spec import ENGLISH, Model
from m2l.text import words


class Fertility(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a language takes: per ICU word and per character of its seeds, and of the sample sentence.

    The sample is the same sentence in every language, and its tokens against English's are
    the factor of the language's token budgets.
    """

    language: str
    per_word: float
    per_character: float
    word_ratio: float
    character_ratio: float
    budget_factor: float


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of a model's file says, and its fertility by language; `ids` are those of a text asked for."""

    file: str
    name: str
    architecture: str
    quantisation: str
    parameters: int
    size: int
    context: int
    layers: int
    kv_bytes_per_token: int
    chat_template: str | None
    languages: tuple[str, ...]
    fertility: tuple[Fertility, ...]
    ids: tuple[int, ...]


def table(root: Path) -> Iterator[str]:
    """Yield a line for each declared model: what it is, how large, and whether its file is here."""
    yield f"{'name':<17} {'parameters':<11} {'download':<13} {'context':>7}  {'languages':<9} {'here':<9} licence"
    for name in config.options(root, "model"):
        model = config.load_model(root, name).model
        about = model.about
        parameters, download, context, languages = (
            (about.parameters, about.download, str(about.context), str(len(about.languages) or "?"))
            if about
            else ("?", "?", "?", "?")
        )
        yield (
            f"{name:<17} {parameters:<11} {download:<13} {context:>7}  {languages:<9} {_state(root, model):<9} "
            f"{model.license}"
        )


def inspect(root: Path, what: str, *, text: str = "", fertility: bool = True) -> Inspection:
    """Inspect a model of `conf/model` by name, or any GGUF by its path; raises ConfigError or ModelError."""
    from m2l.engine.llama import inspect as read_vocabulary

    known = config.options(root, "model")
    claimed: tuple[str, ...] = ()
    if what in known:
        model = config.load_model(root, what).model
        path, claimed = models.path_of(root, model), model.about.languages if model.about else ()
        models.check_there(root, model)
    elif Path(what).is_file():
        path = Path(what)
    else:
        raise ConfigError(unknown("command line", "model, and no file,", what, known))
    header = gguf.read(path)
    texts = _texts(root) if fertility else {}
    wanted = {f"{name} {kind}": part for name, parts in texts.items() for kind, part in parts.items()}
    facts = read_vocabulary(path, wanted, ids=(text,) if text else ())
    return Inspection(
        file=str(path),
        name=str(header.values.get("general.name", "")),
        architecture=header.architecture,
        quantisation=header.quantisation,
        parameters=header.parameters,
        size=header.size,
        context=header.n_ctx_train,
        layers=header.n_layer,
        kv_bytes_per_token=header.kv_bytes,
        chat_template=header.chat_template,
        languages=claimed,
        fertility=tuple(_fertility(texts, facts.tokens)),
        ids=tuple(facts.ids.get(text, ())),
    )


def describe(found: Inspection) -> Iterator[str]:
    """Yield lines for a person."""
    yield f"file          {found.file}, {found.size / 1e6:,.0f} MB"
    yield f"model         {found.name or 'no name'}, {found.architecture}, {found.parameters / 1e6:,.0f} M parameters"
    yield f"quantisation  {found.quantisation}"
    yield f"context       {found.context} tokens, {found.kv_bytes_per_token} bytes of KV each; {found.layers} layers"
    template = found.chat_template
    yield f"chat template {'none: a base model, for frame=completion' if template is None else digest(template)[:12]}"
    if found.languages:
        yield f"languages     {', '.join(found.languages)} (its publisher's words)"
    if found.ids:
        yield f"token ids     {', '.join(map(str, found.ids))}"
    if found.fertility:
        yield "Tokens by language, over the project's seeds (x: against English); budget: over the same sentence"
        yield f"{'language':<10} {'per word':>8} {'x':>5}  {'per char':>8} {'x':>5}  {'budget x':>8}"
    for row in found.fertility:
        yield (
            f"{row.language:<10} {row.per_word:>8.2f} {row.word_ratio:>5.1f}  {row.per_character:>8.3f} "
            f"{row.character_ratio:>5.1f}  {row.budget_factor:>8.1f}"
        )


def as_json(found: Inspection) -> str:
    """Return an inspection for scripts."""
    return json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=1)


def _state(root: Path, model: Model) -> str:
    if not models.path_of(root, model).is_file():
        return "no"
    return "verified" if models.recorded(root, model) else "yes"


def _texts(root: Path) -> dict[str, dict[str, str]]:
    """Return the seeds of every language as one text, and its sample sentence."""
    every = [f"{group}=[{config.ALL}]" for group in ("language", "task", "operator")]
    conf = config.compose(root, [*every, "engine=fake"])
    seeds = slices.read_seeds(root, conf).seeds
    return {
        name: {
            "seeds": "\n".join(f"{seed.instruction}\n{seed.response}" for seed in seeds[name]),
            "sample": language.sample,
        }
        for name, language in conf.language.items()
        if seeds[name]
    }


def _fertility(texts: dict[str, dict[str, str]], tokens: dict[str, int]) -> Iterator[Fertility]:
    rates = {}
    for name, parts in texts.items():
        text = parts["seeds"]
        count = tokens[f"{name} seeds"]
        characters = sum(not character.isspace() for character in text)
        rates[name] = (count / len(words(text)), count / characters, tokens[f"{name} sample"])
    for name, (per_word, per_character, sample) in rates.items():
        english = rates[ENGLISH]
        yield Fertility(
            language=name,
            per_word=per_word,
            per_character=per_character,
            word_ratio=per_word / english[0],
            character_ratio=per_character / english[1],
            budget_factor=max(1.0, sample / english[2]),
        )
