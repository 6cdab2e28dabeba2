"""Which paths the lanes answer themselves, and how."""

from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from service.transports import infer, predict
from service.transports.gate import Target

PATHS: Final = ((predict.PATH, predict.PREDICT), (infer.PATH, infer.INFER))
MAX_REMEMBERED: Final = 256  # bytes of a path; whoever sends longer ones shall not fill the memory


def target(raw_path: bytes) -> Target | None:
    """The target of a percent-encoded path, if it is one of predict's or infer's."""
    return remembered(raw_path) if len(raw_path) <= MAX_REMEMBERED else parsed(raw_path)


def parsed(raw_path: bytes) -> Target | None:
    """As `target`."""
    path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    for pattern, face in PATHS:
        if match := pattern.fullmatch(path):
            return Target(face, match["model"], match["version"])
    return None


remembered = lru_cache(maxsize=4096)(parsed)
