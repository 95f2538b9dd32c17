"""YAML to frozen values; the only module that imports Hydra and OmegaConf.

Hydra chooses and overrides. What it would merge node by node, though nothing can have
changed it, it is not given: of the languages, tasks, operators and variations it sees a
shadow of `conf/`, in which a file is whole where an override names it and empty where
none does. The empty ones are read as they stand, and what an overlay put there is laid
over them. (Measured: 73 languages and 180 operators, 8 s whole, under 1 s this way.)
"""

import importlib
import inspect
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from m2l import declarations, spec
from m2l.errors import ConfigError, unknown

SINGLE: dict[str, type[spec.Spec]] = {"recipe": spec.Recipe, "frame": spec.Frame, "model": spec.Model}
NAMED: dict[str, type[spec.Spec]] = {
    "language": spec.Language,
    "task": spec.Task,
    "operator": spec.Operator,
    "variation": spec.Variation,
}
OPTIONAL: dict[str, type[spec.Spec]] = {"judge": spec.JudgeSpec}
"""Groups of which nothing need be chosen."""

TARGETS = ("seed_source", "filter", "exporter")
GROUPS = (*SINGLE, *NAMED, *TARGETS, *OPTIONAL, "engine")
NAMED_GROUPS = (*NAMED, *TARGETS)
ALL = "all"
"""Chosen from a named group, this stands for every file of the group."""
LISTED = "listed_"
"""Before a number: the shadow's file for the list that the override of this number chooses."""

T = TypeVar("T")


class Params(spec.Spec, frozen=True):
    """`params.yaml`: the languages that `dvc repro` builds, and Hydra overrides for all else."""

    languages: tuple[str, ...]
    overrides: tuple[str, ...]


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` that holds `conf/config.yaml`.

    Raises ConfigError if there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "conf" / "config.yaml").is_file():
            return folder
    raise ConfigError(f"{here}: no m2l project here (no conf/config.yaml). Change into a clone of the project.")


def options(root: Path, group: str) -> list[str]:
    """Return the names that a config group offers."""
    return sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))


def read_params(root: Path) -> Params:
    """Read `params.yaml`; raises ConfigError if it is missing, malformed or names no language."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    where = "params.yaml"
    try:
        raw = OmegaConf.to_container(OmegaConf.load(root / where))
    except FileNotFoundError as err:
        raise ConfigError(f"{where}: missing. Restore it with `git checkout {where}`.") from err
    except (YAMLError, OmegaConfBaseException) as err:
        raise ConfigError(f"{where}: {_first_line(err)}. Correct the YAML.") from err
    params = _convert(raw, Params, where)
    if not params.languages:
        raise ConfigError(f"{where}: languages is empty. Name at least one of conf/language.")
    return params


def load_named(root: Path, group: str, name: str, kind: type[T]) -> T:
    """Read one file of a config group as it stands, without composing; raises ConfigError."""
    where = f"conf/{group}/{name}.yaml"
    path = root / where
    if not path.is_file():
        raise ConfigError(unknown("conf", group, name, options(root, group)))
    return _convert(declarations.read(path, where), kind, where)


class Declared(spec.Spec, frozen=True):
    """A model as its file declares it, and the frame that it chooses."""

    model: spec.Model
    frame: str


def load_model(root: Path, name: str) -> Declared:
    """Read one file of `conf/model` as it stands, without composing; raises ConfigError."""
    where = f"conf/model/{name}.yaml"
    if not (root / where).is_file():
        raise ConfigError(unknown("conf", "model", name, options(root, "model")))
    raw = declarations.read(root / where, where)
    raw = raw if isinstance(raw, dict) else {}
    chosen = [item["override /frame"] for item in raw.get("defaults", []) if "override /frame" in item]
    if not chosen:
        raise ConfigError(f"{where}: it chooses no frame. Begin it like the other files of conf/model.")
    return Declared(model=_convert(raw.get("model"), spec.Model, where), frame=str(chosen[0]))


def effective_overrides(params: Params, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of `params.yaml` followed by those of the command line.

    A recipe or a list of languages on the command line replaces the languages of
    `params.yaml`, which belong to the recipe that stands there. `+experiment` is Hydra's
    usual way to say what `experiment` says here, where the defaults list has a place for it.
    """
    asked = {item.split("=", 1)[0].lstrip("+~") for item in overrides}
    result = list(params.overrides)
    if not asked & {"recipe", "language", "experiment"}:
        result.append(_languages(params))
    return [item[1:] if item.startswith("+experiment=") else item for item in (*result, *overrides)]


def _languages(params: Params) -> str:
    return f"language=[{','.join(params.languages)}]"


def compose(root: Path, overrides: Sequence[str]) -> spec.Config:
    """Compose `conf/` once with Hydra overrides and return it as frozen values.

    Raises ConfigError with one line that says where, what and what to do.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with (
        shadow(root, overrides) as folder,
        composition(root, overrides),
        initialize_config_dir(str(folder), version_base="1.3", job_name="m2l"),
    ):
        composed = hydra_compose("config", overrides=[_shortened(root, item, overrides) for item in overrides])
    return parse(root, composed, overrides)


@contextmanager
def shadow(root: Path, overrides: Sequence[str]) -> Iterator[Path]:
    """Yield a folder that stands for `conf/` before Hydra; raises ConfigError for a wrong first line."""
    conf = root / "conf"
    _check_headers(root)
    with tempfile.TemporaryDirectory(prefix="m2l-conf-") as name:
        folder = Path(name)
        for entry in conf.iterdir():
            if entry.name not in NAMED:
                (folder / entry.name).symlink_to(entry)
        for group in NAMED:
            (folder / group).mkdir()
            touched = _touched(group, overrides)
            known = options(root, group)
            for item in known:
                path = folder / group / f"{item}.yaml"
                if item in touched:
                    path.symlink_to(conf / group / path.name)
                else:
                    path.write_text(f"# @package {group}.{item}\n{{}}\n", encoding="ascii")
            lists = {ALL: known} | {f"{LISTED}{n}": names for n, names in _lists(root, group, overrides).items()}
            for name, names in lists.items():
                whole = [f"  - /{group}/{item}\n" for item in names if item in touched]
                empty = [f"  {item}: {{}}\n" for item in names if item not in touched]
                text = ["# @package _global_\ndefaults:\n", *whole, "  - _self_\n"]
                text += [f"{group}:\n", *empty] if empty else []
                (folder / group / f"{name}.yaml").write_text("".join(text), encoding="ascii")
        yield folder


def _touched(group: str, overrides: Sequence[str]) -> set[str]:
    """Return the files of a group of which an override names a key."""
    found = (re.match(rf"[~+]*{group}\.([^.=]+)[.=]", item) for item in overrides)
    return {match[1] for match in found if match}


def _lists(root: Path, group: str, overrides: Sequence[str]) -> dict[int, list[str]]:
    """Return the overrides, by position, that choose a list of a group's files which are all there."""
    known = set(options(root, group))
    lists = {
        number: [name.strip() for name in item[len(group) + 2 : -1].split(",")]
        for number, item in enumerate(overrides)
        if item.startswith(f"{group}=[") and item.endswith("]")
    }
    return {
        number: names for number, names in lists.items() if known.issuperset(names) and len(set(names)) == len(names)
    }


def _shortened(root: Path, item: str, overrides: Sequence[str]) -> str:
    """Return an override that chooses a list as one that names the shadow's file of that list, which is quicker."""
    group = item.partition("=")[0]
    number = list(overrides).index(item)
    return f"{group}=[{LISTED}{number}]" if group in NAMED and number in _lists(root, group, overrides) else item


@contextmanager
def composition(root: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise inside into a ConfigError of one line."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except MissingConfigException as err:
        raise ConfigError(_missing(root, err.missing_cfg_file or "", overrides)) from err
    except (HydraException, OmegaConfBaseException) as err:
        raise ConfigError(f"{_blame(overrides)}: {_first_line(err.__cause__ or err)}. Correct it there.") from err
    except YAMLError as err:
        raise ConfigError(f"{_yaml_place(err, root)}: {_first_line(err)}. Correct the YAML.") from err


def parse(root: Path, composed: Any, overrides: Sequence[str] = ()) -> spec.Config:
    """Turn what Hydra composed from the shadow of `conf/` into frozen values.

    Raises ConfigError for an unknown key, a wrong type, a resolver that makes a
    build depend on the moment or the machine, or a name that does not exist.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _reject_resolvers(OmegaConf.to_container(composed, resolve=False), "conf")
    try:
        raw = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as err:
        raise ConfigError(f"{_blame(overrides)}: {_first_line(err)}. Give it a value.") from err
    if not isinstance(raw, dict):
        raise ConfigError("conf/config.yaml: not a mapping. Restore it with `git checkout conf/config.yaml`.")
    for group in raw.keys() - set(GROUPS):
        raise ConfigError(unknown("conf/config.yaml", "config group", str(group), list(GROUPS)))
    values: dict[str, Any] = {}
    for group in GROUPS:
        if not raw.get(group) and group in OPTIONAL:
            continue
        if not raw.get(group):
            raise ConfigError(f"conf/config.yaml: nothing chosen for {group!r}. Choose one of conf/{group}.")
        where = f"conf/{group}"
        if group in SINGLE or group in OPTIONAL:
            kind = (SINGLE | OPTIONAL)[group]
            file = f"{where}/{raw[group]['name']}.yaml" if isinstance(raw[group].get("name"), str) else where
            values[group] = _convert(raw[group], kind, file + _overridden(group, overrides))
        elif group in NAMED:
            values[group] = {
                name: _convert(
                    _filled(root, group, name, value, overrides),
                    NAMED[group],
                    f"{where}/{name}.yaml{_overridden(f'{group}.{name}', overrides)}",
                )
                for name, value in raw[group].items()
            }
        elif group in TARGETS:
            values[group] = {n: _target(v, f"{where}/{n}.yaml") for n, v in raw[group].items() if v is not None}
        else:
            values[group] = _target(raw[group], where)
    return spec.Config(**values)


def _filled(root: Path, group: str, name: str, value: Any, overrides: Sequence[str]) -> Any:
    """Return a named declaration with the content that Hydra was not given."""
    where = f"conf/{group}/{name}.yaml"
    if name in _touched(group, overrides) or not (root / where).is_file():
        return value
    return declarations.overlay(declarations.read(root / where, where), value)


def instantiate(target: spec.Target, expected: type[T], *args: object, where: str, **extra: object) -> T:
    """Build the object that a declaration names by `_target_`, with its keys as keyword arguments.

    Raises ConfigError if the class does not exist, is no `expected`, or does not take a key
    or its value.
    """
    cls, kwargs = arguments(target, expected, where=where, without=extra.keys())
    try:
        return cls(*args, **kwargs, **extra)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"{where}: {_first_line(err)}. Correct its keys.") from err


def arguments(
    target: spec.Target, expected: type[T], *, where: str, without: Collection[str] = ()
) -> tuple[type[T], dict[str, Any]]:
    """Return the class that a declaration names and its keyword arguments, as values of the types that they have there.

    Raises ConfigError like `instantiate`, but for what the class itself finds wrong.
    """
    cls = load_class(target, expected, where=where)
    accepted = {name: kind for name, kind in keywords(cls).items() if name not in without}
    kwargs = {key: value for key, value in target.items() if key != "_target_"}
    for key, value in kwargs.items():
        if key not in accepted:
            raise ConfigError(unknown(where, "key", key, list(accepted)))
        kwargs[key] = _convert(value, accepted[key], where, key)
    return cls, kwargs


def keywords(cls: type) -> dict[str, Any]:
    """Return by name the types of what a declaration may give a class.

    Those of its bases are among them where it passes on what it does not know; what no
    YAML can hold, such as a model's file, is not.
    """
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        init = vars(base)["__init__"]
        hints = get_type_hints(init, include_extras=True)
        parameters = list(inspect.signature(init).parameters.values())[1:]
        named = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        for name in named:
            if _in_yaml(hints.get(name, Any)):
                found.setdefault(name, hints.get(name, Any))
        if len(named) == len(parameters):
            break
    return found


def _in_yaml(kind: Any) -> bool:
    parts = get_args(kind) or (kind,)
    return not any(isinstance(part, type) and part is not Any and part.__module__ != "builtins" for part in parts)


def load_class(target: spec.Target, expected: type[T], *, where: str) -> type[T]:
    """Return the class that a declaration names; raises ConfigError if it is no `expected`."""
    path = str(target["_target_"])
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as err:
        raise ConfigError(f"{where}: _target_ {path!r} cannot be imported ({_first_line(err)}). Correct it.") from err
    if not (isinstance(cls, type) and issubclass(cls, expected)):
        raise ConfigError(f"{where}: _target_ {path!r} is no {expected.__name__}. Name a subclass of it.")
    return cls


def _convert(value: Any, kind: type[T], where: str, key: str = "") -> T:
    """Return what was read, or the value of one `key` of it, as a `kind`; raises ConfigError."""
    try:
        return msgspec.convert(value, kind, strict=True, str_keys=True)
    except msgspec.ValidationError as err:
        message = str(err)
        if key:
            message = message.replace("`$", f"`{key}") if "`$" in message else f"{message} - at `{key}`"
        found = re.match(r"Object contains unknown field `(.+?)`(?: - at `\$\.?(.*)`)?", message)
        if found:
            known = _fields_at(kind, found[2] or "")
            raise ConfigError(unknown(where, "key", found[1], known)) from err
        hint = ""
        if "Expected `str`, got `object`" in message:
            hint = " Quote a text that holds a colon and a space."
        elif "Expected `str`, got `" in message:
            hint = " Quote a text that YAML would take for something else."
        message = message.replace("`$.", "`").replace("Object", "it")
        raise ConfigError(f"{where}: {message}. Correct it there.{hint}") from err


def _fields_at(kind: Any, path: str) -> list[str]:
    """Return the field names of the value at a msgspec error path such as `verify` or `turns[...]`."""
    for part in re.findall(r"[a-z_0-9]+|\[[^\]]*\]", path):
        args = getattr(kind, "__args__", ())
        if part.startswith("["):
            kind = args[-1] if args and args[-1] is not Ellipsis else (args[0] if args else kind)
            continue
        kind = next((f.type for f in msgspec.structs.fields(kind) if f.encode_name == part), kind)
        options_ = [a for a in getattr(kind, "__args__", ()) if a is not type(None)]
        if type(None) in getattr(kind, "__args__", ()):
            kind = options_[0]
    try:
        return [field.encode_name for field in msgspec.structs.fields(kind)]
    except TypeError:
        return []


def _target(value: Any, where: str) -> spec.Target:
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        raise ConfigError(f"{where}: no `_target_`. Name the class, such as `_target_: m2l.filters.length.Length`.")
    plain: spec.Target = _text_keys(value)
    return plain


def _text_keys(value: Any) -> Any:
    """Return `value` with the keys of all its mappings as text, which is all that JSON knows."""
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value


def _check_headers(root: Path) -> None:
    """A copied YAML whose `# @package` line was forgotten would silently replace another one."""
    for group in NAMED_GROUPS:
        for path in (root / "conf" / group).glob("*.yaml"):
            wanted = f"# @package {group}.{path.stem}"
            with path.open(encoding="utf-8", errors="replace") as lines:
                first = lines.readline().strip()
            if first != wanted:
                raise ConfigError(f"conf/{group}/{path.name}: the first line is {first[:60]!r}. Make it {wanted!r}.")


def _reject_resolvers(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _reject_resolvers(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            _reject_resolvers(item, where)
    elif isinstance(value, str):
        found = re.search(r"\$\{\s*(oc\.env|now|hydra)\b", value)
        if found:
            raise ConfigError(
                f"{where}: {found[1]!r} makes a build depend on the machine or the moment. Write the value out."
            )


def _missing(root: Path, path: str, overrides: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    where = "conf/config.yaml"
    for item in overrides:
        if name in item:
            where = f"override {item!r}" if item != _languages(read_params(root)) else "params.yaml"
    recipe = next((o.split("=", 1)[1] for o in reversed(overrides) if o.startswith("recipe=")), "starter")
    recipe_file = root / "conf" / "recipe" / f"{recipe}.yaml"
    if where.startswith("conf") and recipe_file.is_file() and name in recipe_file.read_text(encoding="utf-8"):
        where = f"conf/recipe/{recipe}.yaml"
    return unknown(where, group, name, options(root, group))


def _overridden(prefix: str, overrides: Sequence[str]) -> str:
    hits = [item for item in overrides if item.lstrip("+~").startswith(prefix + ".")]
    return f" with {' '.join(hits)}" if hits else ""


def _blame(overrides: Sequence[str]) -> str:
    return f"conf, or an override of {' '.join(overrides)!r}" if overrides else "conf"


def _yaml_place(err: Any, root: Path) -> str:
    mark = getattr(err, "problem_mark", None)
    if mark is None:
        return "conf"
    name = Path(str(mark.name))
    name = next((Path("conf", *name.parts[-depth:]) for depth in (2, 1) if _is_conf(root, name.parts[-depth:])), name)
    return f"{name}:{mark.line + 1}"


def _is_conf(root: Path, parts: tuple[str, ...]) -> bool:
    return (root / "conf").joinpath(*parts).is_file()


def _first_line(err: object) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return (lines[0] if lines else type(err).__name__).rstrip(".")
