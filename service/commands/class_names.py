"""Class names, one a line in a file."""

from pathlib import Path

from service.errors import CannotStart, UsedWrongly


def read_classes(given: str | None) -> tuple[int | None, tuple[str, ...] | None]:
    """The number of classes, and their labels where `given` names a file of them."""
    if given is None:
        return None, None
    if given.isdecimal():
        if int(given) < 1:
            raise UsedWrongly(f"--classes is {given}; expected 1 or more")
        return int(given), None
    labels = [line.strip() for line in read_text(Path(given), "--classes").splitlines()]
    if not labels:
        raise UsedWrongly(f"--classes: {given} is empty; expected one label a line")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label or label in seen:
            fault = f"repeats the label {label!r}" if label else "is empty"
            raise UsedWrongly(f"--classes: line {number} of {given} {fault}; expected one label a line, each once")
        seen.add(label)
    return len(labels), tuple(labels)


def read_text(path: Path, option: str) -> str:
    """The text of a file that an option names."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CannotStart(f"{option}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsedWrongly(f"{option}: {path} is not text in UTF-8") from error
