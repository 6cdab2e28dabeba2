"""Head files: checked, then written whole or not at all."""

import base64
import os
import re
import secrets
from itertools import count
from pathlib import Path
from typing import Final

import onnx
from onnx import ModelProto, helper

from service.engine.head import Head
from service.errors import CannotStart, HeadError, UsedWrongly
from service.heads.build import graph_without_logsumexp, short_graph
from service.heads.reference import check
from service.heads.surgery import first_line
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY, Metadata

FILE: Final = "model.onnx"
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
VERSION: Final = re.compile(r"[1-9][0-9]*")
MOST_SHORT: Final = 4 * 2**20
"""Characters of a short graph in base64; the file holds its parameters twice, so a larger one is left out.

A bias of 250,000 classes takes 3 million of them, and without them 8 rows would run 2.5 times as long.
"""


def write(model: ModelProto, path: Path) -> Path:
    """Check the head against the reference, then put it at `path`; a reader sees the old file or the new one.

    Raises:
        HeadError: the model is not valid ONNX, is too large for one file, or computes something else.
        CannotStart: the folder cannot be written.
    """
    content = serialize(model)
    try:
        replace(path, content)
    except OSError as error:
        raise CannotStart(f"{path} cannot be written: {error.strerror}") from error
    return path


def publish(model: ModelProto, models: Path, name: str) -> Path:
    """Check the head, then write it as the next version: `models/<name>/<highest + 1>/model.onnx`.

    Making the version's folder claims its number, so that of two who publish at once each gets one.

    Raises:
        UsedWrongly: a name that is not a folder name everywhere.
        HeadError, CannotStart: as `write`.
    """
    if not NAME.fullmatch(name):
        raise UsedWrongly(f"{name!r} is not a model name; expected letters, digits, '.', '_' or '-', no '.' first")
    return publish_version(model, models / name)


def publish_version(model: ModelProto, folder: Path) -> Path:
    """The same, as `folder/<highest + 1>/model.onnx`.

    Raises:
        HeadError, CannotStart: as `write`.
    """
    content = serialize(model)
    try:
        version = claim_version(folder)
        try:
            replace(version / FILE, content)
        except BaseException:
            version.rmdir()
            raise
    except OSError as error:
        raise CannotStart(f"{folder} cannot be written: {error.strerror}") from error
    return version / FILE


def claim_version(folder: Path) -> Path:
    """Make and return the folder of the next version in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    highest = max((int(entry.name) for entry in folder.iterdir() if VERSION.fullmatch(entry.name)), default=0)
    for version in count(highest + 1):
        try:
            (folder / str(version)).mkdir()
        except FileExistsError:
            continue
        return folder / str(version)
    raise AssertionError("count does not end")


def serialize(model: ModelProto) -> bytes:
    """Serialize a model that is valid, computes what it should, and can be served; the same model, the same bytes."""
    if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        raise HeadError(f"the model has {model.ByteSize()} bytes, one ONNX file holds less than 2 GB")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise HeadError(f"the model is not valid ONNX: {first_line(error)}") from error
    check(model)
    add_short_graphs(model)
    content: bytes = model.SerializeToString(deterministic=True)
    Head(Path("the head"), content=content)  # what serving would refuse is refused here, before anything is written
    return content


def add_short_graphs(model: ModelProto) -> None:
    """Put the short graphs into the metadata, in the place of earlier ones.

    None where they are large, and none behind a classifier: they would hold the classifier once more. A softmax needs
    its exponentials anyway, and is as quick with its logsumexp.
    """
    props = {prop.key: prop.value for prop in model.metadata_props if prop.key not in (SHORT_KEY, NO_LOGSUMEXP_KEY)}
    metadata = Metadata.from_props(props)
    shorts = {SHORT_KEY: short_graph} if metadata.takes == "logits" else {}
    if shorts and metadata.family != "softmax":
        shorts[NO_LOGSUMEXP_KEY] = graph_without_logsumexp
    for key, cut in shorts.items():
        short = cut(model)
        onnx.checker.check_model(short, full_check=True)
        text = base64.b64encode(short.SerializeToString(deterministic=True)).decode()
        if len(text) <= MOST_SHORT:
            props[key] = text
    helper.set_model_props(model, props)


def replace(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to the disk, rename."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
