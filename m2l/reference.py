"""The reference of all keys of `conf/`, made from the code: `python -m m2l.reference docs/reference.md`.

What a key means stands in the docstrings of `spec` and in the comments of the shipped
files; neither is said twice.
"""

import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from m2l import config, declarations, spec

EXAMPLES = {
    "recipe": "starter", "frame": "completion", "model": "gemma3_270m", "language": "eng_Latn", "task": "translation",
    "operator": "general_deepening", "variation": "refinement", "judge": "quality",
}  # fmt: skip
"""The shipped file of each group whose comments explain its keys."""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_INTRO = """# Reference of all keys

Made from the code by `make docs`; edit `m2l/spec.py`, a class or the comments of `conf/`, not this page.

A file of `conf/` may hold these keys and no others: an unknown key, a missing one or a wrong type stops every
command before a model loads, with the file, the key and the nearest one that exists. A key without a default has
to be there. Choose a file by `group=name`, change a key by `group.key=value` (of `language`, `task`, `operator` and
`variation`, `group.name.key=value`), for once on the command line or for good in `params.yaml`.
"""


def reference(root: Path) -> str:
    """Return the page, in Markdown."""
    return "\n".join([_INTRO, *_params(), *_declared(root), *_classes(root)]).rstrip() + "\n"


def _params() -> Iterator[str]:
    yield "## `params.yaml`\n"
    yield f"{inspect.getdoc(config.Params)}\n"
    yield from _table(config.Params, {}, set())
    yield ""


def _declared(root: Path) -> Iterator[str]:
    """Yield a section for each group whose files are values, with a table for each kind of value in them."""
    shown: set[type] = set()
    for group, kind in (config.SINGLE | config.NAMED | config.OPTIONAL).items():
        example = EXAMPLES[group]
        comments = _comments((root / "conf" / group / f"{example}.yaml").read_text(encoding="utf-8"))
        comments = {path.removeprefix(f"{group}."): text for path, text in comments.items()}
        count = len(config.options(root, group))
        yield f"## `conf/{group}/<name>.yaml`\n"
        yield f"{inspect.getdoc(kind)}\n"
        yield f"{count} files; an example: [{example}.yaml](../conf/{group}/{example}.yaml)\n"
        yield from _nested(kind, comments, shown, "")


def _nested(kind: type, comments: Mapping[str, str], shown: set[type], path: str) -> Iterator[str]:
    """Yield the table of a struct, then those of the structs in it that no table has shown yet."""
    inner: dict[type, str] = {}
    yield from _table(kind, comments, shown, inner, path)
    yield ""
    for struct, below in inner.items():
        if struct not in shown:
            shown.add(struct)
            yield f"### `{struct.__name__}`\n"
            yield f"{inspect.getdoc(struct)}\n"
            yield from _nested(struct, comments, shown, below)


def _table(
    kind: type,
    comments: Mapping[str, str],
    shown: set[type],
    inner: dict[type, str] | None = None,
    path: str = "",
) -> Iterator[str]:
    """Yield a Markdown table of the fields of a struct, and note the structs that they hold."""
    rows = []
    for field in msgspec.structs.fields(kind):
        at = f"{path}{field.encode_name}"
        for struct in _structs(field.type):
            if inner is not None and struct not in inner:
                inner[struct] = f"{at}."
        default = "" if field.required else f"`{_default(field)}`"
        rows.append([f"`{field.encode_name}`", _type(field.type), default, comments.get(at, "")])
    yield from _markdown(["key", "type", "default", "what the shipped file says of it"], rows)


def _classes(root: Path) -> Iterator[str]:
    """Yield a section for each group whose files name a class, with the keys of each class."""
    for group in ("engine", "seed_source", "filter", "exporter"):
        yield f"## `conf/{group}/<name>.yaml`\n"
        yield "`_target_` names the class; the other keys are its keyword arguments.\n"
        for name in config.options(root, group):
            text = (root / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8")
            values = declarations.read(root / "conf" / group / f"{name}.yaml", f"conf/{group}/{name}.yaml")
            module, _, cls_name = values["_target_"].rpartition(".")
            cls = getattr(importlib.import_module(module), cls_name)
            yield f"### `{group}={name}`\n" if group == "engine" else f"### `{name}`\n"
            yield f"`{values['_target_']}`\n"
            yield f"{inspect.getdoc(cls)}\n"
            yield from _arguments(cls, values, _comments(text))
            yield ""
    yield from _checks()


def _checks() -> Iterator[str]:
    """Yield the checks that tasks, operators and variations may declare."""
    from m2l.checks.base import Check

    yield "## `checks` of a task, an operator or a turn of a variation\n"
    yield "`_target_` names the class; the other keys are its keyword arguments. A row is rejected for its `reason`.\n"
    rows = []
    for name in ("answers", "evolutions", "dialogues"):
        module = importlib.import_module(f"m2l.checks.{name}")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Check) and cls.__module__ == module.__name__:
                keys = ", ".join(f"`{key}`" for key in config.keywords(cls))
                about = (inspect.getdoc(cls) or "").splitlines()[0]
                if not inspect.isabstract(cls):
                    rows.append([f"`m2l.checks.{name}.{cls.__name__}`", f"`{cls.reason}`", keys, about])
    yield from _markdown(["`_target_`", "reason", "keys", "holds when / what it says"], rows)
    yield ""


def _arguments(cls: type, values: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    rows = []
    for key, declared in config.keywords(cls).items():
        kind = _type(declared)
        shipped = f"`{_yaml(values[key])}`" if key in values else ""
        if isinstance(values.get(key), list):
            kind = kind.partition(" or by name")[0]  # what a slice makes of patterns is not for a declaration
        rows.append([f"`{key}`", kind, shipped, comments.get(key, "")])
    if rows:
        yield from _markdown(["key", "type", "as shipped", "what the shipped file says of it"], rows)


def _type(kind: Any) -> str:
    """Return a type in words that a writer of YAML knows."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is typing.Annotated:
        return f"{_type(args[0])}{_bounds(args[1])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(f"`{value}`" for value in args)
    if origin in (typing.Union, types.UnionType):
        named = [_type(arg) for arg in args if arg is not type(None)]
        return " or ".join(["null"] * (type(None) in args and named[0][:2] == "by") + named) + (
            " or null" * (type(None) in args and named[0][:2] != "by")
        )
    if origin in (tuple, list, set, frozenset) or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        return f"list of {_type(args[0])}"
    if origin is dict or (inspect.isclass(origin) and issubclass(origin, Mapping)):
        if kind == spec.Target:
            return "`_target_` and its keys"
        return f"by name: {_type(args[1])}"
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return getattr(kind, "__name__", str(kind))


def _structs(kind: Any) -> Iterator[type]:
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        yield kind
    for arg in typing.get_args(kind):
        yield from _structs(arg)


def _bounds(meta: msgspec.Meta) -> str:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = [f"{words} {getattr(meta, name)}" for name, words in signs.items() if getattr(meta, name) is not None]
    return f", {' and '.join(said)}" if said else ""


def _default(field: Any) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return _yaml(list(value) if isinstance(value, tuple) else value)


def _yaml(value: object) -> str:
    """Return a value as YAML has it, shortened."""
    text = value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:56]}..."


def _comments(text: str) -> dict[str, str]:
    """Return what stands behind the keys of a YAML file, or on the lines above one, by the path of the key."""
    found: dict[str, str] = {}
    above: list[str] = []
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"^( *)(?:- )?([A-Za-z_]\w*):(.*)$", line)
        if match is None:
            comment = re.match(r"^ *# (?!@package|review:)(.+)$", line)
            above = [*above, comment[1]] if comment else []
            continue
        depth = len(match[1])
        path = [(at, key) for at, key in path if at < depth] + [(depth, match[2])]
        behind = re.search(r"(?:^| )# (.+)$", match[3])
        said = behind[1] if behind else " ".join(above) if depth else ""
        if said:
            found[".".join(key for _, key in path)] = said
        above = []
    return found


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table without the columns that are empty."""
    used = [n for n in range(len(head)) if any(row[n] for row in rows)]
    yield "| " + " | ".join(head[n] for n in used) + " |"
    yield "|" + "---|" * len(used)
    for row in rows:
        yield "| " + " | ".join(row[n].replace("|", "\\|") for n in used) + " |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(config.project_root()), encoding="utf-8")
