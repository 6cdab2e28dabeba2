"""Arrays of an `.npz` without reading them: a member that is stored, not deflated, is mapped where it lies.

`numpy.savez` stores, `numpy.savez_compressed` deflates; a deflated member is read as numpy reads it.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.errors import DataError

LOCAL_HEADER: Final = 30  # bytes before the name, APPNOTE.TXT 4.3.7
NAME_LENGTH_AT: Final = 26


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of `path` by name, memory-mapped where they can be.

    Raises:
        DataError: not a zip file, or a member that is not a plain array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename.removesuffix(".npy"): member(path, archive, info) for info in members}
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path.name} does not read as .npz: {error}") from error


def member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as stream:
        if info.compress_type != zipfile.ZIP_STORED:
            return np.asarray(npy.read_array(stream, allow_pickle=False))
        read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        header = stream.tell()
    if dtype.hasobject or 0 in shape or not shape:
        with archive.open(info) as stream:
            return np.asarray(npy.read_array(stream, allow_pickle=False))
    offset = data_offset(path, info) + header
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the member's bytes begin; the local header's extra field may differ from the directory's."""
    with path.open("rb") as file:
        file.seek(info.header_offset + NAME_LENGTH_AT)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + LOCAL_HEADER + int(name) + int(extra)
