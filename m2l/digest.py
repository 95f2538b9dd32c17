"""Digests: canonical JSON hashed by xxh3_128."""

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
