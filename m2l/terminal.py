"""What is fit for a terminal: generated text cannot steer it."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Return a text with its control characters, which could move the cursor or clear the screen, written out."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
