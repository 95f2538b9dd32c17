"""Everything that m2l raises on purpose.

M2LError
├── ConfigError      a declaration in conf/, params.yaml or an override is wrong
├── TemplateError    a prompt template is malformed or names an unknown variable
├── SeedError        a seed file is missing, empty or has no usable row
├── ModelError       a model file is missing, damaged or not the declared one
├── EngineError      an engine cannot start or a server cannot be reached
├── StoreError       the store of completions cannot be read or written
│   └── DamagedStoreError   its file is not what was written
└── BuildError       a stage cannot run: no slice, a full disk, another process

Each message is one line that says where, what, and what to do.
"""

EXIT_CODE = 2


class M2LError(Exception):
    """Base of every error that m2l raises on purpose; the command line exits with code 2."""


class ConfigError(M2LError):
    """A declaration is wrong."""


class TemplateError(M2LError):
    """A prompt template is malformed or names an unknown variable."""


class SeedError(M2LError):
    """A seed file is missing, empty or has no usable row."""


class ModelError(M2LError):
    """A model file is missing, damaged or not the declared one."""


class EngineError(M2LError):
    """An engine cannot start or a server cannot be reached."""


class StoreError(M2LError):
    """The store of completions cannot be read or written."""


class DamagedStoreError(StoreError):
    """The store's file is not what was written; `m2l verify --repair` keeps all that can be read."""


class BuildError(M2LError):
    """A stage cannot run."""


def unknown(where: str, what: str, name: str, known: list[str]) -> str:
    """Return the message for a name that does not exist, with the nearest one that does."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown {what} {name!r}.{hint} Available: {', '.join(sorted(known))}."
