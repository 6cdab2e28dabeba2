"""A trial: a model file is first read, loaded and run in a process of its own, with limits of seconds and of memory.

What does not come back in time, or takes too much, or ends its process, is a failure with a sentence; the service never
noticed. `python -m service.engine.trial FILE MEMORY_MB MAX_NODES` is that process. The content of the file comes over
its standard input, as the file may be another by then; its last line says what is wrong.
"""

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
        self.running: set[subprocess.Popen[bytes]] = set()
        self.is_closed = False

    def __repr__(self) -> str:
        return f"<Trials {len(self.running)} running>"

    def run(self, path: Path, content: bytes) -> None:
        """Try a file of this content; what becomes of it meanwhile does not matter.

        Raises:
            HeadError: it is not a head that can be served, or not within the limits.
        """
        given = (path, self.memory_mb, self.max_nodes)
        command = [sys.executable, "-m", "service.engine.trial", *map(str, given)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:  # noqa: S603 - no shell, our own
            self.running.add(process)
            if self.is_closed:
                process.kill()
            try:
                output, errors = process.communicate(content, timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise HeadError(f"{path} did not load and run within {self.timeout_s:g} s (--load-timeout-s)") from None
            finally:
                self.running.discard(process)
        said = (output.decode(errors="replace"), errors.decode(errors="replace"))
        why = self.outcome(*said, process.returncode)
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


def main(path: Path, content: bytes, memory_mb: int, max_nodes: int) -> str:
    """Load and run a file of this content; what is wrong with it, or nothing."""
    os.nice(NICE)
    from service.engine.contents import Contents
    from service.engine.head import Head

    # the content is within --max-model-mb, and not part of the memory that is allowed
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
    wrong = main(Path(sys.argv[1]), sys.stdin.buffer.read(), *map(int, sys.argv[2:]))
    print(TRIED + harmless(wrong))  # noqa: T201 - the answer
