"""Segments: frames come back whole, whatever happens to writer, reader and disk."""

import errno
import fcntl
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.errors import CannotStart
from service.journal import segments
from service.journal.segments import (
    CHECK,
    FRAME,
    Appender,
    find_segments,
    find_spares,
    make_folder,
    read_frames,
    remove_finished,
    remove_spares,
    taken_bytes,
)

MB = 2**20
DYING = """
import os, signal, sys
from pathlib import Path
from service.journal.segments import FRAME, MAGIC, Appender, checksum
appender = Appender(Path(sys.argv[1]), 2**24)
appender.append([b"whole"], 7)
header = FRAME.pack(MAGIC, 100, 8)
os.write(appender.descriptor, header + checksum(header, appender.name) + b"a part")
os.kill(os.getpid(), signal.SIGKILL)
"""


def payloads(path: Path, start: int = 0) -> list[bytes]:
    return [frame.payload for frame in read_frames(path, start)]


def test_frames_come_back_in_order_from_where_one_stopped(tmp_path: Path) -> None:
    appender = Appender(tmp_path, MB)
    parts: list[list[object]] = [[b"one"], [b"t", b"wo"], [np.frombuffer(b"three", np.uint8)]]
    for at_ns, payload in enumerate(parts):
        appender.append(payload, at_ns)
    (path,) = find_segments(tmp_path)
    frames = list(read_frames(path, 0))
    assert [(frame.at_ns, frame.payload) for frame in frames] == [(0, b"one"), (1, b"two"), (2, b"three")]
    assert payloads(path, frames[0].end) == [b"two", b"three"]


def test_a_segment_that_is_full_is_finished_and_the_next_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_SEGMENT", 100)
    appender = Appender(tmp_path, MB)
    for i in range(3):
        appender.append([bytes([i]) * 60], i)
    paths = find_segments(tmp_path)
    assert [payloads(path) for path in paths] == [[bytes([i]) * 60] for i in range(3)]
    assert [remove_finished(path, 80) for path in paths] == [True, True, False]


def test_without_room_nothing_is_written_and_with_room_again_it_is(tmp_path: Path) -> None:
    appender = Appender(tmp_path, 4000)
    for _ in range(4):
        appender.append([b"x" * 900], 0)
    for _ in range(2):
        with pytest.raises(OSError, match=r"^the segments would take .* bytes; expected at most 4000$"):
            appender.append([b"y" * 900], 1)
    assert taken_bytes(tmp_path) <= 4000
    for path in find_segments(tmp_path):
        assert remove_finished(path, path.stat().st_size)
    appender.append([b"z"], 2)
    assert payloads(find_segments(tmp_path)[0]) == [b"z"]


def test_a_disk_that_fills_in_the_middle_of_a_frame_leaves_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = Appender(tmp_path, MB)
    appender.append([b"before"], 0)

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: real[1](descriptor, b"".join(parts)[:25]))
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        appender.append([b"does not fit"], 1)
    monkeypatch.setattr(os, "writev", real[0])
    monkeypatch.setattr(os, "write", real[1])
    appender.append([b"after"], 2)
    assert payloads(find_segments(tmp_path)[0]) == [b"before", b"after"]


@pytest.mark.parametrize("n_at_once", [3, 16, 19, 20, 22, 25, 35])
def test_a_frame_that_is_written_in_parts_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_at_once: int
) -> None:
    write = os.write
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: write(descriptor, b"".join(parts)[:n_at_once]))
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:n_at_once]))
    appender = Appender(tmp_path, MB)
    for _ in range(2):
        appender.append([b"in many parts"], 1)
    assert payloads(find_segments(tmp_path)[0]) == [b"in many parts"] * 2


def test_the_segment_of_a_live_writer_stays_and_that_of_a_dead_one_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    appender = Appender(tmp_path, MB)
    appender.append([b"more may come"], 0)
    (path,) = find_segments(tmp_path)
    assert not remove_finished(path, path.stat().st_size)
    appender.close()
    assert not remove_finished(path, 0)  # not read yet
    assert remove_finished(path, path.stat().st_size)
    assert not caplog.records


def test_a_writer_that_is_killed_in_the_middle_leaves_its_whole_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    subprocess.run([sys.executable, "-c", DYING, tmp_path], check=False)
    (path,) = find_segments(tmp_path)
    (frame,) = read_frames(path, 0)
    assert frame.payload == b"whole"
    assert remove_finished(path, frame.end)
    assert "26 bytes" in caplog.text


def damage_magic(data: bytes) -> bytes:
    return b"!" + data[1:]


def damage_payload(data: bytes) -> bytes:
    return data[:-1] + b"!"


@pytest.mark.parametrize("damage", [damage_magic, damage_payload])
def test_what_is_damaged_is_never_read_as_a_frame(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    appender = Appender(tmp_path, MB)
    appender.append([b"payload"], 0)
    appender.close()
    (path,) = find_segments(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert payloads(path) == []
    assert remove_finished(path, 0)
    assert "the last 31 bytes" in caplog.text


def read_all(folder: Path) -> list[bytes]:
    """Every frame that is there, and the finished segments with them gone."""
    found = []
    for path in find_segments(folder):
        end = 0
        for frame in read_frames(path, 0):
            found.append(frame.payload)
            end = frame.end
        remove_finished(path, end)
    return found


def test_a_large_segment_that_was_read_is_written_over_and_nothing_of_before_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(segments, "SPARE_FROM", 500)
    monkeypatch.setattr(segments, "MAX_SEGMENT", 1000)
    appender = Appender(tmp_path, MB)
    files = set()
    for i in range(40):
        payload = bytes([i]) * (100 + i % 7)
        appender.append([payload], i)
        files.add(os.fstat(appender.descriptor or -1).st_ino)
        # as one that reads on: what is behind was read before
        assert payloads(find_segments(tmp_path)[-1])[-1] == payload
        if i % 3 == 2:
            assert read_all(tmp_path)[-1] == payload
    assert len(files) < 4
    appender.close()
    (last,) = find_segments(tmp_path)
    assert last.stat().st_size == [frame.end for frame in read_frames(last, 0)][-1]
    assert not caplog.records


def test_spares_are_few_and_go_when_they_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_SEGMENT", 2 * MB)
    monkeypatch.setattr(segments, "MAX_SPARES", 4)
    appender = Appender(tmp_path, 64 * MB)
    for i in range(8):
        appender.append([bytes(2 * MB)], i)
    appender.append([b"small"], 9)
    appender.close()
    assert len(read_all(tmp_path)) == 9
    assert find_segments(tmp_path) == []
    spares = find_spares(tmp_path)
    assert len(spares) == 4
    os.utime(spares[0], (0, 0))
    remove_spares(tmp_path, 60)
    assert set(find_spares(tmp_path)) == set(spares[1:])
    remove_spares(tmp_path, 0)
    assert find_spares(tmp_path) == []
    Appender(tmp_path, MB).append([b"x"], 10)
    assert read_all(tmp_path) == [b"x"]


def test_a_spare_that_another_process_took_or_holds_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "gone.spare").symlink_to(tmp_path / "nothing")
    held = tmp_path / "held.spare"
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Appender(tmp_path, MB).append([b"x"], 0)
    assert held.exists()
    assert read_all(tmp_path) == [b"x"]


def test_a_writer_that_is_killed_over_a_spare_leaves_its_whole_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    appender = Appender(tmp_path, 64 * MB)
    for i in range(20):
        appender.append([bytes([i]) * 100_000], i)
    appender.close()
    assert len(read_all(tmp_path)) == 20
    assert len(find_spares(tmp_path)) == 1
    subprocess.run([sys.executable, "-c", DYING, tmp_path], check=False)
    assert find_spares(tmp_path) == []
    (path,) = find_segments(tmp_path)
    assert path.stat().st_size > MB
    assert read_all(tmp_path) == [b"whole"]
    assert "no frame" in caplog.text


def test_segments_from_before_there_were_spares_are_read_and_are_no_spares(tmp_path: Path) -> None:
    header = FRAME.pack(b"CJ01", 2 * MB, 7)
    check = CHECK.pack(zlib.crc32(header))
    path = tmp_path / "old.journal"
    path.write_bytes((header + check + bytes(2 * MB) + check) * 2)
    assert [(frame.at_ns, len(frame.payload)) for frame in read_frames(path, 0)] == [(7, 2 * MB)] * 2
    assert remove_finished(path, path.stat().st_size)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "journal"
    segments = make_folder(folder)
    assert segments.parent == folder
    assert folder.stat().st_mode & 0o777 == segments.stat().st_mode & 0o777 == 0o700
    Appender(segments, MB).append([b"x"], 0)
    assert find_segments(segments)[0].stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = r"the folder .*file/journal of --journal .* cannot be made: Not a directory; expected a folder"
    with pytest.raises(CannotStart, match=sentence):
        make_folder(tmp_path / "file" / "journal")
