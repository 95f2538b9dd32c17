"""Data that may belong to a person: addresses and numbers, proved by their checksums where they have one."""

import ipaddress
import unicodedata
from collections.abc import Iterator
from typing import ClassVar

import polars as pl
import regex

from m2l.filters.base import Context, Filter, each

_EMAIL = r"[\p{L}\p{M}\p{N}._%+-]+@[\p{L}\p{M}\p{N}-]+(?:\.[\p{L}\p{M}\p{N}-]+)*\.[\p{L}\p{M}]{2,}"
_PHONE = regex.compile(
    r"(?<![\p{L}\p{N}.,]|\p{N} )(?:\+|00|\(0|0)[\p{Nd}()](?:[ ()./\-]{0,2}\p{Nd}){6,14}(?![\p{L}\p{N}])"
)
_IBAN = regex.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
_CARD = regex.compile(r"(?<![\p{L}\p{N}])\p{Nd}(?:[ \-]?\p{Nd}){12,18}(?![\p{L}\p{N}])")
_IP = regex.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7})(?![\w:])")
_DIGITS = r"\p{Nd}[^\n]{0,40}\p{Nd}"
"""What each of the numbers has, so that most texts are told by one quick look."""


class PersonalData(Filter):
    """Reject a turn with an e-mail address, a telephone number, an IBAN, a card number or a public IP address.

    IBAN and card number count if their check digits are right (ISO 13616, ISO/IEC
    7812), a telephone number if it begins as one, with + or 0, and has 9 to 15 digits.
    """

    sentences: ClassVar[dict[str, str]] = {
        "email": "A turn holds an e-mail address.",
        "phone": "A turn holds what looks like a telephone number.",
        "iban": "A turn holds a bank account's number.",
        "card": "A turn holds a payment card's number.",
        "ip_address": "A turn holds a public IP address.",
    }

    def rules(self, context: Context) -> dict[str, pl.Expr]:
        content = pl.col("content")
        candidate = pl.when(content.str.contains(_DIGITS)).then(content).otherwise(pl.lit(""))
        return {
            "email": ~content.str.contains(_EMAIL),
            "phone": each(lambda text: not any(9 <= len(found) <= 15 for found in _numbers(_PHONE, text)), candidate),
            "iban": each(lambda text: not any(map(_is_iban, _IBAN.findall(text))), candidate),
            "card": each(lambda text: not any(map(_is_card, _numbers(_CARD, text))), candidate),
            "ip_address": each(lambda text: not any(map(_is_public, _IP.findall(text))), content),
        }


def _numbers(pattern: "regex.Pattern[str]", text: str) -> Iterator[list[int]]:
    for found in pattern.findall(text):
        yield [unicodedata.digit(sign) for sign in found if sign.isdecimal()]


def _is_card(digits: list[int]) -> bool:
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _is_iban(text: str) -> bool:
    number = text.replace(" ", "")
    return 15 <= len(number) <= 34 and int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
