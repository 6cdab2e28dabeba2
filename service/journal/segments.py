"""Files of frames that one process appends to and another reads: what the server leaves for the live process.

A frame is a header (magic, length, CRC-32 and the time in ns since 1970) and blocks. Its writer holds a lock on the
segment that it appends to, which ends with the process whatever ends that: whoever gets the lock knows that nothing
more will come. A frame that its writer could not finish is cut off, or where that died, passed over.
"""

import fcntl
import logging
import os
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from service.errors import CannotStart

logger = logging.getLogger(__name__)

FRAME: Final = Struct("<4sIIq")
MAGIC: Final = b"CJ01"
SEGMENTS: Final = "segments"  # the folder, below that of the journal
SUFFIX: Final = ".journal"
MAX_SEGMENT: Final = 16 * 2**20  # bytes, of one that gets no further frame
MAX_READ: Final = 8 * 2**20  # bytes of frames that are read at once


def make_folder(folder: Path) -> Path:
    """Make the folder of a journal, for nobody else to read; returns that of its segments.

    Raises:
        CannotStart: it cannot be made, or not be written.
    """
    option = "--journal (CALIBRANT_JOURNAL)"
    segments = folder / SEGMENTS
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        segments.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"the folder {folder} of {option} cannot be made: {error.strerror}") from error
    if not os.access(segments, os.W_OK | os.X_OK):
        raise CannotStart(f"the folder {folder} of {option} cannot be written; expected one of this user's")
    return segments


class Appender:
    """Appends frames to segments of its own. Use it from one thread at a time."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """In a folder whose segments may hold `max_bytes`, those of other processes among them."""
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_segment = min(MAX_SEGMENT, max_bytes // 4)
        self.token = secrets.token_hex(6)
        self.number = 0
        self.descriptor: int | None = None
        self.size = 0

    def append(self, payload: bytes | bytearray, at_ns: int) -> None:
        """Append a frame of blocks.

        Raises:
            OSError: it could not be written, or there is no room for it; nothing of it stays.
        """
        n_bytes = FRAME.size + len(payload)
        if self.descriptor is None or self.size + n_bytes > self.max_segment:
            self.close()
            if (taken := taken_bytes(self.folder)) + n_bytes > self.max_bytes:
                raise OSError(f"the segments take {taken} bytes; expected {self.max_bytes} at most")
            self.open()
        assert self.descriptor is not None  # noqa: S101 - just opened
        header = FRAME.pack(MAGIC, len(payload), zlib.crc32(payload), at_ns)
        try:
            n_written = os.writev(self.descriptor, (header, payload))
            while n_written < n_bytes:  # a disk that fills takes a part
                rest = memoryview(payload)[n_written - FRAME.size :] if n_written >= FRAME.size else b""
                n_written += os.write(self.descriptor, rest or (header + bytes(payload))[n_written:])
        except OSError:
            self.cut()
            raise
        self.size += n_bytes

    def open(self) -> None:
        """Start the next segment, locked before it has its name: nobody takes it for one that is finished."""
        draft = self.folder / f"{self.token}-{self.number:08}.draft"
        self.descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        draft.rename(draft.with_suffix(SUFFIX))
        self.number += 1
        self.size = 0

    def cut(self) -> None:
        """Take back what was written of a frame; where even that fails, the segment gets no further one."""
        try:
            os.ftruncate(self.descriptor or -1, self.size)
        except OSError:
            self.close()

    def close(self) -> None:
        """Finish the segment."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def taken_bytes(folder: Path) -> int:
    """What the segments of a folder take."""
    n_bytes = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                try:
                    n_bytes += entry.stat().st_size
                except FileNotFoundError:  # read and removed by now
                    continue
    return n_bytes


def find_segments(folder: Path) -> list[Path]:
    """The segments of a folder; those of one writer in the order in which they were begun."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.name)


@dataclass(slots=True)
class Frame:
    """A frame, and where it ends in its segment."""

    at_ns: int
    payload: bytes
    end: int


def read_frames(path: Path, start: int) -> Iterator[Frame]:
    """Whole frames from `start` on, up to `MAX_READ` bytes of them.

    Raises:
        ValueError: what stands there is no frame.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(MAX_READ)
        if len(data) >= FRAME.size and (n := FRAME.size + FRAME.unpack_from(data)[1]) > len(data):
            data += file.read(n - len(data))
    at = 0
    while at + FRAME.size <= len(data):
        magic, n_bytes, checksum, at_ns = FRAME.unpack_from(data, at)
        if magic != MAGIC:
            raise ValueError(f"{path.name} has no frame at {start + at}")
        end = at + FRAME.size + n_bytes
        if end > len(data):
            return
        payload = data[at + FRAME.size : end]
        if zlib.crc32(payload) != checksum:
            return  # its writer is at it, or died over it
        at = end
        yield Frame(at_ns, payload, start + at)


def remove_finished(path: Path, read_to: int) -> bool:
    """Remove a segment whose writer is through with it, and that is read as far as there are whole frames."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            if next(read_frames(path, read_to), None) is not None:
                return False
        except ValueError as error:
            logger.warning("the rest of a segment is lost: %s", error)
        if (left := path.stat().st_size - read_to) > 0:
            logger.warning("the last %d bytes of %s are no frame: its writer ended in the middle", left, path.name)
        path.unlink()
    return True
