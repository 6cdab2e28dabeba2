"""Segments to the store: every frame once, whatever happens in between."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from service.journal import ingest as ingest_module
from service.journal.answers import Heads
from service.journal.ingest import Ingest
from service.journal.ledger import digest
from service.journal.record import LOGITS, pack_block, pack_labels, pack_lost
from service.journal.requests import Values
from service.journal.segments import Appender, find_segments
from tests.conftest import ROOT
from tests.journal.conftest import Books
from tests.journal.grouped import grouped

AT_NS = 1_790_000_000 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where segments are."""
    folder = tmp_path / "segments"
    folder.mkdir()
    return folder


@pytest.fixture
def ingest(books: Books, folder: Path) -> Ingest:
    """Reads the folder into the books."""
    return Ingest(folder, books.store, Heads(ROOT / "models", "softmax"), books.ledger)


def frame(*names: str, model: str = "digits/1", k: int = 10) -> bytes:
    """A block of one row for each name."""
    values = np.tile(np.arange(k, dtype=np.float32), len(names))
    return b"".join(
        pack_block(
            LOGITS, model.encode(), [n.encode() for n in names], [1] * len(names), k, bytes(len(names)), [values]
        )
    )


def stored(books: Books, *names: str) -> list[str]:
    with books.ledger.transaction():
        found = books.store.find([digest(name) for name in names])
        n = books.store.counts().get("digits/1", {"predictions": 0})["predictions"]
    assert n == len(found)
    return [name for name in names if digest(name) in found]


def read(ingest: Ingest) -> int:
    """Everything there is; how many transactions that took."""
    return sum(1 for _ in ingest.read())


def test_the_requests_of_a_large_frame_are_stored_some_at_a_time(
    books: Books, folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, sizes = ingest.add, []

    def added(kept: list[Values], at_ns: int) -> None:
        sizes.append(len(kept))
        add(kept, at_ns)

    monkeypatch.setattr(ingest_module, "MANY", 3)
    monkeypatch.setattr(ingest, "add", added)
    appender = Appender(folder, 2**20)
    appender.append([frame("a", "b"), frame("c", "d"), frame("e"), frame("f", "g")], AT_NS)
    appender.close()
    read(ingest)
    assert stored(books, *"abcdefg") == [*"abcdefg"]
    assert sizes == [4, 3]


def test_each_frame_is_stored_once_and_a_finished_segment_removed(books: Books, folder: Path, ingest: Ingest) -> None:
    appender = Appender(folder, 2**20)
    appender.append([frame("a", "b")], AT_NS)
    read(ingest)
    read(ingest)
    assert stored(books, "a", "b", "c") == ["a", "b"]
    appender.append([frame("c")], AT_NS)
    read(ingest)
    assert stored(books, "a", "b", "c") == ["a", "b", "c"]
    assert len(find_segments(folder)) == 1
    appender.close()
    read(ingest)
    assert find_segments(folder) == []
    read(ingest)
    with books.ledger.transaction():
        assert books.store.positions() == {}
    assert books.store.days == {20260921}


def test_two_readers_that_take_turns_store_each_frame_once(
    books: Books, folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.journal.ingest.MAX_FRAMES_S", -1.0)  # a frame each time
    appender = Appender(folder, 2**20)
    for name in "abcdef":
        appender.append([frame(name)], AT_NS)
    appender.close()
    slow = ingest.read()
    next(slow)
    assert stored(books, *"abcdef") == ["a"]
    assert read(ingest) == 5
    assert list(slow) == []
    assert stored(books, *"abcdef") == list("abcdef")


def test_a_store_that_fails_in_the_middle_leaves_the_frame_for_the_next_time(
    books: Books, folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = Appender(folder, 2**20)
    appender.append([frame("a")], AT_NS)

    def fail(name: str, position: int) -> None:
        raise books.store.db.errors[0]("away")

    with monkeypatch.context() as patch:
        patch.setattr(books.store, "set_position", fail)
        with pytest.raises(books.store.db.errors):
            read(ingest)
    assert books.store.days == set()
    read(ingest)
    assert stored(books, "a") == ["a"]


def test_a_segment_from_before_groups_had_names_is_read_with_those_of_the_head(
    books: Books, folder: Path, tmp_path: Path
) -> None:
    models = grouped(tmp_path)
    ingest = Ingest(folder, books.store, Heads(models, "grouped"), books.ledger)
    values = np.zeros((3, 3), np.float32)
    numbers = np.array([2, 0, 1], "<u2").tobytes()
    parts = pack_block(LOGITS, b"grouped/1", [b"a"], [3], 3, bytes(1), [values], groups=numbers)
    Appender(folder, 2**20).append([b"".join(parts)], AT_NS)
    read(ingest)
    with books.ledger.transaction():
        found = books.store.find([digest("a")])[digest("a")]
    assert [found.group_of(row) for row in range(3)] == ["b", None, "a"]


def test_labels_in_a_segment_and_labels_that_waited_count_once_each(books: Books, folder: Path, ingest: Ingest) -> None:
    appender = Appender(folder, 2**20)
    labels = json.dumps([["a", 0, 9, None, False], ["b", 0, 1, 5, False]]).encode()
    appender.append([pack_labels(labels)], AT_NS)
    appender.append([frame("a")], AT_NS + 1)
    appender.append([pack_labels(labels)], AT_NS + 2)
    read(ingest)
    appender.append([frame("b")], AT_NS + 3)
    read(ingest)
    with books.ledger.transaction():
        assert books.store.label((20260921, 1, 0)) == (9, AT_NS, 0)
        assert books.store.label((20260921, 2, 0)) == (1, 5, 1)
        assert books.store.n_pending() == 0
    summary = books.counting.monitors[1].summary
    assert (summary.rows, summary.right) == (2, 1)


def test_rows_without_a_head_are_counted_and_the_others_stored(books: Books, folder: Path, ingest: Ingest) -> None:
    appender = Appender(folder, 2**20)
    appender.append([frame("x", "y", model="gone/3") + frame("a") + pack_lost(5)], AT_NS)
    read(ingest)
    assert stored(books, "a", "x") == ["a"]
    assert ingest.n_lost == 7


def test_a_frame_that_is_no_blocks_does_not_hold_up_the_next(
    books: Books, folder: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    appender = Appender(folder, 2**20)
    appender.append([frame("a")[:-3]], AT_NS)
    appender.append([frame("b")], AT_NS)
    read(ingest)
    assert stored(books, "a", "b") == ["b"]
    assert "a frame of a segment is lost: a block is longer than what there is" in caplog.text


def test_a_damaged_segment_is_read_as_far_as_it_is_whole(
    books: Books, folder: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    appender = Appender(folder, 2**20)
    appender.append([frame("a")], AT_NS)
    (path,) = find_segments(folder)
    with path.open("ab") as file:
        file.write(b"no frame at all, but long enough to be one")
    read(ingest)
    assert stored(books, "a") == ["a"]
    assert appender.descriptor is not None
    os.close(appender.descriptor)  # as where its process is killed
    with caplog.at_level(logging.WARNING):
        read(ingest)
    assert "the last 42 bytes of" in caplog.text
    assert find_segments(folder) == []
