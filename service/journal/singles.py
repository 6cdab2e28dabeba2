"""Single rows of batches until they are packed as one block.

A row costs a place in a list, all else is done once a batch. What a batch leaves is copied as soon as the next one
begins: to keep ids and arrays until they are packed is less to do, but what is freed late is memory that the processor
has to fetch, which takes 2 % of 1x10.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.journal.record import LOGITS, pack_joined, pack_lengths


class Singles:
    """Rows of one model and width, of one batch after the other.

    Attributes:
        name: of the model, `MODEL/VERSION`.
        k: their classes.
        n: how many of them are copied.
        n_bytes: of the logits of the batches so far.
    """

    __slots__ = ("feed", "ids", "joined", "k", "lengths", "logits", "n", "n_bytes", "name", "own")

    def __init__(self, name: bytes, k: int) -> None:
        self.name = name
        self.k = k
        self.n = self.n_bytes = 0
        # of each batch that has ended
        self.joined: list[bytes] = []
        self.lengths: list[bytes] = []
        self.logits: list[bytes] = []
        self.own: list[bytes] = []  # temperatures, of all batches from the first on that has any
        # of the one that has not
        self.feed: Mapping[str, NDArray[Any]] | None = None
        self.ids: list[bytes] = []

    def begin(self, feed: Mapping[str, NDArray[Any]]) -> list[bytes]:
        """Take rows of this batch from now on, whose feed that was: a list for their ids, one a row.

        Where it stays empty, the row was refused, or given up.
        """
        self.end()
        logits = feed["logits"]
        self.feed = feed
        self.n_bytes += logits.nbytes
        self.ids = [b""] * len(logits)
        return self.ids

    def end(self) -> None:
        """The batch has no more rows: copy them."""
        feed, ids = self.feed, self.ids
        self.feed, self.ids = None, []
        if feed is None:
            return
        if not all(ids):
            answered = [row for row, id_ in enumerate(ids) if id_]
            ids = [ids[row] for row in answered]
            feed = {name: values[answered] for name, values in feed.items()}
        m = len(ids)
        if "temperature" in feed or self.own:
            self.own = self.own or [np.full(self.n, np.nan).tobytes()]
            own = feed["temperature"][:, 0].astype("<f8") if "temperature" in feed else np.full(m, np.nan)
            self.own.append(own.tobytes())
        self.joined.append(b"".join(ids))
        self.lengths.append(pack_lengths(ids))
        self.logits.append(feed["logits"].tobytes())
        self.n += m

    def pack(self) -> list[Any]:
        """All rows as one block: what one has of its own besides a temperature is found when it is read."""
        self.end()
        packed = b"".join(self.lengths), b"".join(self.joined), bytes(self.n)
        return pack_joined(
            LOGITS, self.name, self.n, self.k, packed, [b"".join(self.logits)], temperatures=b"".join(self.own)
        )
