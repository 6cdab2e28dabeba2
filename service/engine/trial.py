"""A trial: a model file is first read, loaded and run in a process of its own, with limits of seconds and of memory.

What does not come back in time, or takes too much, or ends its process, is a failure with a sentence; the service never
noticed. `python -m service.engine.trial FILE SHA256 MEMORY_MB MAX_NODES` is that process; its last line says what is
wrong.
"""

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

from service.engine.refusal import MEMORY_SIGNS
from service.engine.sentence import harmless
from service.errors import CommandError, HeadError

TRIED: Final = "tried: "
NICE: Final = 10  # what is served goes first


class Trials:
    """The processes of trials, one at a time a thread."""

    def __init__(self, *, timeout_s: float, memory_mb: int, max_nodes: int) -> None:
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.max_nodes = max_nodes
        self.running: set[subprocess.Popen[str]] = set()
        self.is_closed = False

    def __repr__(self) -> str:
        return f"<Trials {len(self.running)} running>"

    def run(self, path: Path, content: bytes) -> None:
        """Try a file, which must still have this content: what is loaded then is what was tried.

        Raises:
            HeadError: it is not a head that can be served, or not within the limits.
        """
        given = (path, hashlib.sha256(content).hexdigest(), self.memory_mb, self.max_nodes)
        command = [sys.executable, "-m", "service.engine.trial", *map(str, given)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603 - no shell, our own
            self.running.add(process)
            if self.is_closed:
                process.kill()
            try:
                output, errors = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise HeadError(f"{path} did not load and run within {self.timeout_s:g} s (--load-timeout-s)") from None
            finally:
                self.running.discard(process)
        why = self.outcome(output, errors, process.returncode)
        if why:
            raise HeadError(why if why.startswith(str(path)) else f"{path} {why}")

    def outcome(self, output: str, errors: str, code: int) -> str:
        """What is wrong with the file, or nothing."""
        last = output.rstrip("\n").rpartition("\n")[2]
        why = last.removeprefix(TRIED) if code == 0 and last.startswith(TRIED) else errors
        if any(sign in why for sign in MEMORY_SIGNS):
            return f"took more than {self.memory_mb} MB while it was loaded and run (--load-memory-mb)"
        if code or not last.startswith(TRIED):
            return f"ended the process that tried it (exit code {code})"
        return why

    def close(self) -> None:
        """End what is running, and what would be: nobody waits for it any more."""
        self.is_closed = True
        for process in list(self.running):
            process.kill()


def main(path: Path, digest: str, memory_mb: int, max_nodes: int) -> str:
    """Read, load and run a file of this SHA-256; what is wrong with it, or nothing."""
    os.nice(NICE)
    from service.engine.contents import Contents
    from service.engine.head import Head

    content = path.read_bytes()  # within --max-model-mb, and not part of the memory that is allowed
    if hashlib.sha256(content).hexdigest() != digest:
        return "changed while it was tried; expected a file that is put in place whole, by a rename"
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (memory_mb << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Contents(memoryview(content), max_nodes)
        Head(path, content=content)
    except CommandError as error:
        return str(error)
    except Exception as error:  # whatever a file brings
        return f"does not load: {error!r}"
    return ""


if __name__ == "__main__":
    wrong = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    print(TRIED + harmless(wrong))  # noqa: T201 - the answer
