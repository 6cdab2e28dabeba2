"""From answers to the blocks of the journal: what is kept of a request."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.engine.answers import Share
from service.engine.single import Row
from service.families import Answers
from service.journal.record import BEST, LOGITS, PROBABILITIES, pack_block, pack_sets

DIGEST: Final = 16  # bytes
MAX_NAME: Final = 256  # characters


def keeps_logits(signature: Any) -> bool:
    """Whether what is kept of a request are its logits: they come with it, and are those of a single head."""
    return bool(signature.takes == "logits" and not signature.averages)


def pack_answer(query: Any, model: Any, arrays: Answers, key: bytes, *, best_only: bool) -> list[Any] | None:
    """The rows of a request as a block, under the id `key`; none where there is nothing to keep.

    What is kept are the logits, or where those do not come with the request, or `best_only` is wanted, what was
    answered: `arrays`.
    """
    rows = query.rows
    if query.prior is not None:  # no head answered that
        return None
    mask = b""
    values: list[Any]
    if keeps_logits(model.signature) and not best_only:
        kind = LOGITS
        values, mask, k = logits_of(rows)
    else:
        found = answered_probabilities(arrays)
        if found is None:
            return None
        kind, k = BEST if best_only else PROBABILITIES, found.shape[1]
        values = best_of(found, arrays) if best_only else [found.tobytes()]
    own = rows.temperature
    temperatures = b"" if own is None else np.full((rows.n, 1), own, "<f8").tobytes()
    groups = b"" if query.groups is None else query.groups.astype("<u2").tobytes()
    apart = bytes([own is not None or (kind != LOGITS and is_masked(rows))])
    return pack_block(
        kind,
        name_of(model),
        (key,),
        (rows.n,),
        k,
        apart,
        values,
        temperatures=temperatures,
        groups=groups,
        mask=mask,
        group=pack_group(query.group),
        sets=b"" if query.sets is None else pack_sets(query.alpha, query.sets),
    )


def pack_group(group: str | list[str] | None) -> bytes:
    """The group of all rows, or one a row, as JSON; names are cut to a length that can be shown."""
    if group is None:
        return b""
    return orjson.dumps(group[:MAX_NAME] if isinstance(group, str) else [name[:MAX_NAME] for name in group])


def name_of(model: Any) -> bytes:
    """`MODEL/VERSION`."""
    return f"{model.name}/{model.version}".encode()


def pack_rows(ids: Sequence[bytes], rows: Sequence[Row], model: Any, k: int) -> list[Any]:
    """Single rows of one model and width, as one block."""
    m = len(ids)
    masks = [row.allowed for row in rows]
    temperatures = [row.temperature for row in rows]
    mask = column = b""
    apart = bytes(m)
    if masks.count(None) < m:
        mask = b"".join([one or b"\1" * k for one in masks])
        apart = bytes([one is not None for one in masks])
    if temperatures.count(None) < m:
        own = np.array(temperatures, np.float64)  # none becomes NaN
        column = own.tobytes()
        apart = (np.frombuffer(apart, np.bool_) | ~np.isnan(own)).tobytes()
    joined = b"".join([row.numbers for row in rows])
    return pack_block(LOGITS, name_of(model), ids, (), k, apart, [joined], temperatures=column, mask=mask)


def logits_of(rows: Any) -> tuple[list[Any], bytes, int]:
    """The logits as buffers, the mask where it is not in them yet, as -inf, and K."""
    if type(rows) is Row:
        return [rows.numbers], rows.allowed or b"", rows.n_numbers
    logits = np.ascontiguousarray(rows.inputs["logits"], "<f4")
    return [logits], b"" if rows.mask is None else rows.mask.tobytes(), logits.shape[1]


def is_masked(rows: Any) -> bool:
    """Whether a class is left out in any of the rows."""
    return rows.mask is not None or ("logits" in rows.inputs and bool(rows.inputs["logits"].min() == -np.inf))


def answered_probabilities(arrays: Answers) -> NDArray[np.float32] | None:
    """What the head answered, float32 `[n, K]`; none where that was not asked for."""
    if "probabilities" in arrays:
        return np.ascontiguousarray(arrays["probabilities"], "<f4")
    if "log_probabilities" in arrays:
        return np.ascontiguousarray(np.exp(arrays["log_probabilities"]), "<f4")
    return None


def best_of(probabilities: NDArray[np.float32], arrays: Answers) -> list[bytes]:
    """The best class of each row, int32, and its probability, float32; found once for all rows of a batch."""
    if isinstance(arrays, Share) and "probabilities" in arrays.batch.arrays:
        classes, best = arrays.batch.once(find_best)
        classes, best = classes[arrays.start : arrays.stop], best[arrays.start : arrays.stop]
    else:
        classes, best = find_best({"probabilities": probabilities})
    return [classes.tobytes(), best.tobytes()]


def find_best(arrays: Answers) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The best class of all rows, and its probability."""
    probabilities = arrays["probabilities"]
    return probabilities.argmax(axis=1).astype("<i4"), probabilities.max(axis=1).astype("<f4")


def hash_id(given: bytes, key: bytes) -> bytes:
    """What stands for an id where ids are not kept."""
    return hashlib.blake2b(given, digest_size=DIGEST, key=key).hexdigest().encode()
