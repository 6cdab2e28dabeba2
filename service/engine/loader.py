"""From a file in the models folder to a head: checks from outside, a trial in a process of its own, then the load."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from service.engine.head import Head
from service.engine.loads import Begin, Loads
from service.engine.trial import Trials
from service.errors import CannotStart, HeadError

MB: Final = 2**20


class Loader:
    """Loads the files of one models folder; use it from any thread."""

    def __init__(
        self,
        root: Path,
        *,
        provider: str,
        intra_op_threads: int,
        max_file_mb: int,
        trials: Trials | None = None,
        checksums: Mapping[str, str] | None = None,
        names_groups: bool = False,
    ) -> None:
        """Without `trials` files are loaded at once, and without limits; with `checksums`, those alone that are listed.

        `names_groups` is what the signature of each head says of it.
        """
        self.root = root
        self.provider = provider
        self.intra_op_threads = intra_op_threads
        self.max_file_mb = max_file_mb
        self.trials = trials
        self.loads = Loads(0.0 if trials is None else trials.timeout_s)
        self.checksums = checksums
        self.names_groups = names_groups

    def load(self, path: Path) -> Head:
        """The head in a file.

        Raises:
            HeadError: it is not one that may be served; the sentence says why.
            CannotStart: the provider was asked for and not given.
            OSError: it cannot be read.
        """
        if not path.is_file():  # a FIFO would be waited for
            raise HeadError(f"{path} is not a file; expected a head file, as `calibrant export` makes it")
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise HeadError(f"{path} leads out of the models folder; expected a file in it")
        if path.stat().st_size > self.max_file_mb * MB:
            raise HeadError(f"{path} is larger than {self.max_file_mb} MB, the most that is loaded (--max-model-mb)")
        with path.open("rb") as file:
            content = file.read()  # once: what is checked and tried is what is loaded, whatever becomes of the file
        if self.checksums is not None:
            self.check(path, content)
        if self.trials is not None:
            self.trials.run(path, content)

        def make(begin: Begin) -> Head:
            return Head(
                path,
                provider=self.provider,
                intra_op_threads=self.intra_op_threads,
                content=content,
                before_run=begin,
            )

        head = self.loads.run(path, make)
        head.signature = replace(head.signature, names_groups=self.names_groups)
        return head

    def check(self, path: Path, content: bytes) -> None:
        """Refuse a file that is not listed, or that has another content."""
        name = path.relative_to(self.root).as_posix()
        expected = (self.checksums or {}).get(name)
        if expected is None:
            raise HeadError(f"{path} is not listed in the checksums; expected a line for {name} (--model-checksums)")
        if hashlib.sha256(content).hexdigest() != expected:
            raise HeadError(f"{path} has another SHA-256 than the checksums list for {name} (--model-checksums)")

    def close(self) -> None:
        """End the trials, and wait for no load any more."""
        if self.trials is not None:
            self.trials.close()
        self.loads.close()


def read_checksums(path: Path) -> dict[str, str]:
    """Names to SHA-256, from a file as `sha256sum` writes it, names relative to the models folder.

    Raises:
        CannotStart: it cannot be read, or has another line.
    """
    found = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CannotStart(
            f"the checksums {path} cannot be read ({why}); expected a file as sha256sum writes it (--model-checksums)"
        ) from error
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition(" ")
        if len(digest) != 64 or not name.strip():
            raise CannotStart(
                f"line {number} of {path} is not one of sha256sum's; expected `HEX  MODEL/VERSION/model.onnx`"
            )
        found[name.lstrip(" *").removeprefix("./")] = digest.lower()
    return found
