"""The shortest way in, for the usual binary body: one row of float32, perhaps with a mask and a temperature.

For speed alone: 23 % at a binary 1x1000 and 16 connections. Where they lie is found once for a header, which clients
send again and again. It takes a row only when it can prove that its plain twin, `decode.read_logits`, would read the
same.
"""

import math
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from service.codec.infer.tensors import Tensor
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW, Row

NUMBERS: Final = {"FP32": Struct("<f"), "FP64": Struct("<d")}
ONE: Final = ((1,), (1, 1))  # shapes
NOWHERE: Final = -1


class Layout(NamedTuple):
    """Where the parts of a row begin, bytes behind the header, or `NOWHERE`.

    Attributes:
        lead: `(1,)` where the row came with a batch axis, else `()`.
        k: its classes.
        number: how its temperature is written.
    """

    lead: tuple[int, ...]
    k: int
    logits: int
    mask: int
    temperature: int
    number: Struct


Found = tuple[Row, tuple[int, ...], tuple[int, ...]]  # the row, its lead, the class axis


def layout_of(inputs: Sequence[Tensor]) -> Layout | None:
    """Where the parts of one row lie; none where these inputs are anything else."""
    begins, at = {}, 0
    for tensor in inputs:
        if tensor.n_bytes is None:
            return None
        begins[tensor.name] = at
        at += tensor.n_bytes
    others = {tensor.name: tensor for tensor in inputs}
    logits = others.pop("logits", None)
    if logits is None or logits.datatype != "FP32":
        return None
    *lead, k = logits.shape
    if lead not in ([], [1]) or not 1 <= k <= WIDE_ROW:
        return None
    mask, temperature = others.pop("mask", None), others.pop("temperature", None)
    if others or (mask is not None and (mask.datatype != "BOOL" or mask.shape not in (logits.shape, (k,)))):
        return None
    if temperature is not None and (temperature.datatype not in NUMBERS or temperature.shape not in ONE):
        return None
    number = NUMBERS["FP64" if temperature is None else temperature.datatype]
    parts = begins["logits"], begins.get("mask", NOWHERE), begins.get("temperature", NOWHERE)
    return Layout(tuple(lead), k, *parts, number)


def read_usual(layout: Layout, parameter: float | None, body: bytes, at: int, model: Signature) -> Found | None:
    """The row whose parts lie behind byte `at` of the body; none where another way must look.

    `parameter` is the temperature where that is no input.
    """
    lead, k, logits, mask, own, number = layout
    if model.takes != "logits" or not model.masks_first or model.averages or k != (model.classes or k):
        return None
    allowed = None
    if mask != NOWHERE:
        allowed = body[at + mask : at + mask + k]
        if allowed.translate(None, b"\0\1"):
            return None
    temperature = parameter
    if own != NOWHERE:
        (temperature,) = number.unpack_from(body, at + own)
        if parameter is not None or not 0 < temperature < math.inf:
            return None
    start = at + logits
    row = Row.from_bytes(body[start : start + 4 * k], allowed, temperature)
    return None if row is None else (row, lead, (k,))
