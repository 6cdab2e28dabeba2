"""What the live process tells everybody who reads: one JSON file in the folder, replaced as a whole."""

import json
from pathlib import Path
from typing import Any, Final

NAME: Final = "live.json"

remembered: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace what is told."""
    draft = folder / f"{NAME}.draft"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(state))  # orjson has no numbers beyond 64 bits
    draft.replace(folder / NAME)


def read_state(folder: Path) -> dict[str, Any] | None:
    """What was told last; none before anything was."""
    path = folder / NAME
    try:
        stat = path.stat()
        stamp = stat.st_mtime_ns, stat.st_ino
        known = remembered.get(folder)
        if known is None or known[0] != stamp:
            known = remembered[folder] = (stamp, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    return known[1]
