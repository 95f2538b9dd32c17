"""m2l: a declarative build system for multilingual, multi-turn instruction data."""

__version__ = "0.1.0"
