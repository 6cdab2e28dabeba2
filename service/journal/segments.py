"""Files of frames that one process appends to and another reads: what the server leaves for the live process.

A frame is a header (magic, length, time in ns since 1970, and a CRC-32 of these), blocks, and the CRC-32 once more.
That of the blocks would cost more than all the rest: what a process leaves behind is whole, or cut off. Its writer
holds a lock on the segment that it appends to, which ends with the process whatever ends that: whoever gets the lock
knows that nothing more will come. A frame that its writer could not finish is cut off, or where that died, passed over.

A large segment that was read is a spare for the next one: what the kernel has in memory already is written in a third
of the time. What it held is no frame any more, as the CRC-32 begins with the name of the segment.
"""

import fcntl
import logging
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, Final

from service.errors import CannotStart

logger = logging.getLogger(__name__)

FRAME: Final = Struct("<4sIq")
CHECK: Final = Struct("<I")
BEFORE: Final = FRAME.size + CHECK.size
MAGIC: Final = b"CJ02"
UNNAMED: Final = b"CJ01"  # of segments from before there were spares: the CRC-32 begins with nothing
MOST_PARTS: Final = 512  # that are written at once; Linux takes 1024
SEGMENTS: Final = "segments"  # the folder, below that of the journal
SUFFIX: Final = ".journal"
MAX_SEGMENT: Final = 16 * 2**20  # bytes, of one that gets no further frame
SPARE: Final = ".spare"  # of segments that were read
SPARE_FROM: Final = 2**20  # bytes; a smaller one is not worth keeping
MAX_SPARES: Final = 16  # they and the segments take no more than the segments may


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
        expected = "expected a folder that this user may write"
        raise CannotStart(f"the folder {folder} of {option} cannot be made: {error.strerror}; {expected}") from error
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
        self.name = ""
        self.descriptor: int | None = None
        self.size = 0

    def append(self, payload: Sequence[Any], at_ns: int) -> None:
        """Append a frame of blocks, in parts that have a buffer each.

        Raises:
            OSError: it could not be written, or there is no room for it; nothing of it stays.
        """
        parts = [memoryview(part).cast("B") for part in payload]
        n_payload = sum(map(len, parts))
        n_bytes = BEFORE + n_payload + CHECK.size
        if self.descriptor is None or self.size + n_bytes > self.max_segment:
            self.close()
            if (wanted := taken_bytes(self.folder) + n_bytes) > self.max_bytes:
                raise OSError(f"the segments would take {wanted} bytes; expected at most {self.max_bytes}")
            self.open()
        assert self.descriptor is not None  # noqa: S101 - just opened
        header = FRAME.pack(MAGIC, n_payload, at_ns)
        check = checksum(header, self.name)
        try:
            write_all(self.descriptor, [memoryview(header + check), *parts])
            write_all(self.descriptor, [memoryview(check)])  # once all that is before it can be read
        except OSError:
            self.cut()
            raise
        self.size += n_bytes

    def open(self) -> None:
        """Start the next segment, locked before it has its name: nobody takes it for one that is finished."""
        path = self.folder / f"{self.token}-{self.number:08}{SUFFIX}"
        self.descriptor = take_spare(path)
        if self.descriptor is None:
            draft = path.with_suffix(".draft")
            self.descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            draft.rename(path)
        self.name = path.name
        self.number += 1
        self.size = 0

    def cut(self) -> None:
        """Take back what was written of a frame; where even that fails, the segment gets no further one."""
        try:
            os.ftruncate(self.descriptor or -1, self.size)
            os.lseek(self.descriptor or -1, self.size, os.SEEK_SET)
        except OSError:
            self.close()

    def close(self) -> None:
        """Finish the segment; what a spare held behind the last frame goes."""
        if self.descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            os.close(self.descriptor)
            self.descriptor = None


def take_spare(path: Path) -> int | None:
    """Make a spare the segment `path`, locked: its descriptor; none where there is no spare."""
    for spare in find_spares(path.parent):
        try:
            descriptor = os.open(spare, os.O_WRONLY)
        except FileNotFoundError:  # removed, or another process was quicker
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spare.rename(path)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
        else:
            return descriptor
    return None


def write_all(descriptor: int, parts: Sequence[memoryview]) -> None:
    """Write all of it; a disk that fills takes a part first."""
    for at in range(0, len(parts), MOST_PARTS):
        some = parts[at : at + MOST_PARTS]
        n_written = os.writev(descriptor, some)
        if n_written < sum(map(len, some)):
            rest = memoryview(b"".join(some))[n_written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]


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
    """Whole frames from `start` on, up to one that its writer is still at or has died over."""
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        while True:
            data = os.pread(descriptor, BEFORE, start)
            header, check = data[: FRAME.size], data[FRAME.size :]
            name = "" if header[:4] == UNNAMED else path.name
            if len(data) < BEFORE or header[:4] not in (MAGIC, UNNAMED) or check != checksum(header, name):
                return
            _, n_payload, at_ns = FRAME.unpack(header)
            end = start + BEFORE + n_payload
            # the end first: behind it nothing is written any more
            if os.pread(descriptor, CHECK.size, end) != check:
                return
            payload = os.pread(descriptor, n_payload, start + BEFORE)
            start = end + CHECK.size
            yield Frame(at_ns, payload, start)


def checksum(header: bytes, name: str) -> bytes:
    """Of the header of a frame in the segment of that name."""
    return CHECK.pack(zlib.crc32(header, zlib.crc32(name.encode())))


def remove_finished(path: Path, read_to: int) -> bool:
    """Remove a segment whose writer is through with it, and that is read as far as there are whole frames.

    One that is large becomes a spare, unless there are enough.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if next(read_frames(path, read_to), None) is not None:
            return False
        n_bytes = path.stat().st_size
        if (left := n_bytes - read_to) > 0:
            logger.warning("the last %d bytes of %s are no frame: its writer ended in the middle", left, path.name)
        if n_bytes >= SPARE_FROM and file.read(4) == MAGIC and len(find_spares(path.parent)) < MAX_SPARES:
            path.rename(path.with_suffix(SPARE))
        else:
            path.unlink()
    return True


def find_spares(folder: Path) -> list[Path]:
    """The spares of a folder."""
    return list(folder.glob(f"*{SPARE}"))


def remove_spares(folder: Path, older_than_s: float) -> None:
    """Remove the spares that were last written so long ago."""
    for spare in find_spares(folder):
        with suppress(FileNotFoundError):  # it is a segment again
            if time.time() - spare.stat().st_mtime >= older_than_s:
                spare.unlink()
