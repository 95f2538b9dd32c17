"""YAML files of plain values, read fast: the C parser, with OmegaConf's reading of scalars."""

import re
from pathlib import Path
from typing import Any

import yaml

from m2l.errors import ConfigError


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Reads scalars as OmegaConf does: dates are text, `1e5` is a number, a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises ConstructorError for a key that stands twice."""
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, f"found duplicate key {key.value}", key.start_mark
                )
            seen.add(key.value)
        built: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return built


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def read(path: Path, where: str) -> Any:
    """Return the values of a YAML file that refers to nothing outside of it.

    Raises ConfigError, beginning with `where`, if it cannot be read or interpolates.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as err:
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        raise ConfigError(f"{where}{line}: {err.problem or err.context}. Correct the YAML.") from err
    except yaml.YAMLError as err:
        raise ConfigError(f"{where}: {str(err).splitlines()[0]}. Correct the YAML.") from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{where}: {getattr(err, 'strerror', None) or 'not UTF-8'}. Correct the file.") from err
    if "${" in text:
        raise ConfigError(f"{where}: '${{' refers to a value elsewhere, which a declaration may not. Write it out.")
    return value


def overlay(under: Any, over: Any) -> Any:
    """Return `under` with the leaves of `over` laid over it, mapping by mapping."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: overlay(under[key], item) if key in under else item for key, item in over.items()}
