"""Digests: canonical JSON hashed by xxh3_128, and choosing by them."""

from collections.abc import Iterable

import msgspec
import xxhash


def canonical(value: object) -> bytes:
    """Return `value` as JSON with sorted keys and no insignificant whitespace, in UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: object) -> str:
    """Return 32 hexadecimal digits that depend on the content of `value` alone."""
    return xxhash.xxh3_128_hexdigest(canonical(value))


def digest_bytes(data: bytes) -> str:
    """Return 32 hexadecimal digits for raw bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def drawn(options: Iterable[str], *key: str) -> list[str]:
    """Return `options` by the digest of [*key, option], the highest first (rendezvous hashing, Thaler 1996).

    What a key draws depends on no position: one more option moves only the keys that it wins.
    """
    head = canonical(key)[:-1] + b","
    return sorted(options, key=lambda option: xxhash.xxh3_128_digest(head + canonical(option) + b"]"), reverse=True)
