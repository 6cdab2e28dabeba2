"""Make every classifier, with real exporters: `python -m tests.exporters.make FOLDER`, in their own environment."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Final

MAKERS: Final = ("from_sklearn", "from_torch", "from_others")


def main(folder: Path, makers: list[str]) -> None:
    """Write the classifiers of some makers, all by default, into `folder`."""
    for maker in makers or MAKERS:
        import_module(f"tests.exporters.{maker}").make(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
