"""Threads that work beside a test until it is through with them."""

import threading
from typing import Self


class Threads:
    """`n` threads of `work` while the block lasts; each looks at `stopping`."""

    def __init__(self, n: int) -> None:
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(i,)) for i in range(n)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def work(self, i: int) -> None:
        """Until told to stop."""
        raise NotImplementedError
