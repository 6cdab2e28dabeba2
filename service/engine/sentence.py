"""A sentence about a file as a log, a terminal and an answer can take it: what the file says itself may be in it."""

from typing import Final

MOST: Final = 500  # characters


def harmless(sentence: str) -> str:
    """The sentence without anything that does not print, cut to `MOST` characters."""
    kept = sentence[: 2 * MOST]  # a name in it may have megabytes
    text = " ".join(kept.split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MOST and len(kept) == len(sentence) else f"{text[: MOST - 3]}..."
