"""Logits with labels, checked once, read in chunks. How files are read stands in `files`.

Everything that fits or measures takes a `Dataset` and walks over `chunks()`, so that logits which lie in a
memory-mapped file never have to fit into memory.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import DataError

CHUNK_ROWS: Final = 4096
CHUNK_LOGITS: Final = 1 << 18
MOST_NAMES: Final = 12  # of classes, in an error
MOST_DIGITS: Final = 18  # of an index

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Chunk(NamedTuple):
    """Some neighbouring rows: logits `[m,K]`, labels `[m]`, mask `[m,K]` or none, weights, groups `[m]` or none."""

    logits: NDArray[Any]
    labels: Ints
    mask: Bools | None
    weights: Floats
    groups: Ints | None


@dataclass(frozen=True)
class Dataset:
    """Rows to fit on or to measure on; made by `checked`, never by hand.

    logits: `[n,K]` float32 or float64, -inf for a class without a score; of an ensemble's M members `[n,M,K]`.
    labels: `[n]` int64, 0 <= label < K.
    mask: `[n,K]` bool, true = the class may be chosen; none where every class may.
    weights: `[n]` float64, >= 0; none where every row counts once.
    groups: `[n]` int64, an index into `group_names`; none where there are no groups.
    """

    logits: NDArray[Any]
    labels: Ints
    mask: Bools | None = None
    weights: Floats | None = None
    groups: Ints | None = None
    class_names: tuple[str, ...] | None = None
    group_names: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        logits: NDArray[Any],
        labels: NDArray[Any],
        mask: NDArray[Any] | None = None,
        weights: NDArray[Any] | None = None,
        groups: NDArray[Any] | None = None,
        class_names: tuple[str, ...] | None = None,
        other_names: tuple[str, ...] = (),
    ) -> "Dataset":
        """Rows that can be fitted on; one pass over the logits. Labels may be `other_names` of the classes as well.

        Raises:
            DataError: a shape, a label or a number that cannot be meant, with the row where it stands.
        """
        if logits.ndim not in (2, 3) or 0 in logits.shape[1:-1] or logits.dtype.kind != "f":
            shape = "[rows, classes], or [rows, members, classes] of an ensemble"
            raise DataError(f"logits are {logits.dtype} {list(logits.shape)}; expected floats {shape}")
        n, k = len(logits), logits.shape[-1]
        if n == 0 or k < 2:
            raise DataError(f"logits have {n} rows and {k} classes; expected at least 1 row and 2 classes")
        names = class_names if class_names is None else tuple(map(str, class_names))
        if names is not None and len(names) != k:
            raise DataError(f"there are {len(names)} class names, the logits have {k} classes")
        indices, group_names = (None, ()) if groups is None else group_indices(_rows("groups", groups, n))
        data = cls(
            logits=logits if logits.dtype in (np.float32, np.float64) else logits.astype(np.float32),
            labels=label_indices(_rows("labels", labels, n), k, names, other_names),
            mask=None if mask is None else check_mask(mask, n, k),
            weights=None if weights is None else check_weights(_rows("weights", weights, n)),
            groups=indices,
            class_names=names,
            group_names=group_names,
        )
        data._check_values()
        return data

    @property
    def n_rows(self) -> int:
        return int(self.logits.shape[0])

    @property
    def n_classes(self) -> int:
        return int(self.logits.shape[-1])

    @property
    def n_members(self) -> int | None:
        """M, of an ensemble; none where each row is one vector."""
        return int(self.logits.shape[1]) if self.logits.ndim == 3 else None

    @property
    def total_weight(self) -> float:
        """The sum of the weights; n where every row counts once."""
        return float(self.n_rows if self.weights is None else self.weights.sum())

    @property
    def effective_rows(self) -> float:
        """Kish's effective number of rows, (sum w)^2 / sum w^2; n where every row counts once."""
        return self.n_rows if self.weights is None else self.total_weight**2 / float((self.weights**2).sum())

    def chunks(self, rows: int | None = None) -> Iterator[Chunk]:
        """Walk over the rows, at most `rows` at a time; a memory-mapped page is given back after its turn.

        By default 4,096, or as many as hold 262,144 logits: what is computed from them then stays in the cache.
        """
        numbers = self.n_classes * (self.n_members or 1)
        rows = rows or max(64, min(CHUNK_ROWS, CHUNK_LOGITS // numbers))
        for start in range(0, self.n_rows, rows):
            part = slice(start, min(start + rows, self.n_rows))
            weights = np.ones(part.stop - start) if self.weights is None else self.weights[part]
            mask = None if self.mask is None else self.mask[part]
            groups = None if self.groups is None else self.groups[part]
            yield Chunk(np.asarray(self.logits[part]), self.labels[part], mask, weights, groups)
            give_back(self.logits)

    def take(self, rows: NDArray[Any] | slice) -> "Dataset":
        """Some of the rows, as a dataset of their own: indices `[m]`, bool `[n]` or a slice."""
        return replace(
            self,
            logits=take_rows(self.logits, rows),
            labels=self.labels[rows],
            mask=None if self.mask is None else self.mask[rows],
            weights=None if self.weights is None else self.weights[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def _check_values(self) -> None:
        start = 0
        for chunk in self.chunks():
            check_chunk(chunk, start, self.class_names)
            start += len(chunk.labels)


def usable_classes(logits: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Classes that take part, bool `[m,K]`: allowed, and with a score."""
    finite = logits > -np.inf
    return finite if mask is None else finite & mask


def classes_in_use(logits: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """`usable_classes`, or none where that is every class."""
    return usable_classes(logits, mask) if mask is not None or np.isneginf(logits.min()) else None


def take_rows(array: NDArray[Any], rows: NDArray[Any] | slice) -> NDArray[Any]:
    """Some rows of an array: a view for a slice, else a copy, made in pieces so that few mapped pages stay."""
    if isinstance(rows, slice) or mapping(array) is None:
        return array[rows]
    at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    copy = np.empty((len(at), *array.shape[1:]), array.dtype)
    for start in range(0, len(at), CHUNK_ROWS):
        copy[start : start + CHUNK_ROWS] = array[at[start : start + CHUNK_ROWS]]
        give_back(array)
    return copy


def give_back(array: NDArray[Any]) -> None:
    """Drop the resident pages of a memory-mapped array; they are read again when they are needed."""
    mapped = mapping(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory map that an array, or a view of one, reads from."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) else None


def check_chunk(chunk: Chunk, start: int, names: tuple[str, ...] | None) -> None:
    logits, labels, mask = chunk.logits, chunk.labels, chunk.mask
    if logits.ndim == 3:
        for member in range(logits.shape[1]):
            check_chunk(chunk._replace(logits=logits[:, member]), start, names)
        return
    own = np.arange(len(labels)), labels
    if mask is not None and not mask[own].all():
        row = int(np.argmin(mask[own]))
        raise DataError(f"row {start + row}: the label {_name(labels[row], names)} is masked out", row=start + row)
    bad = ~(logits < np.inf)
    if mask is not None:
        bad &= mask
    if bad.any():
        row, class_ = map(int, np.argwhere(bad)[0])
        missing = np.isnan(logits[row, class_])
        what = "missing or NaN" if missing else "+inf"
        hint = ", or --missing-is-masked" if missing else ""
        raise DataError(
            f"row {start + row}, class {_name(class_, names)}: the logit is {what}; expected a number or -inf{hint}",
            row=start + row,
        )
    if np.isneginf(logits[own]).any():
        row = int(np.argmax(np.isneginf(logits[own])))
        raise DataError(
            f"row {start + row}: the label {_name(labels[row], names)} has the logit -inf, a class without a score",
            row=start + row,
        )


def _name(label: Any, names: tuple[str, ...] | None) -> str:
    return str(int(label)) if names is None else f"{int(label)} ({names[int(label)]})"


def _rows(what: str, values: NDArray[Any], n: int) -> NDArray[Any]:
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (n,):
        raise DataError(f"{what} have the shape {list(values.shape)}; expected [{n}], one per row of logits")
    return values


def label_indices(labels: NDArray[Any], k: int, names: tuple[str, ...] | None, others: tuple[str, ...]) -> Ints:
    if labels.dtype.kind in "USO":
        return from_names(labels, k, names, others)
    if labels.dtype.kind not in "iufb":
        raise DataError(f"labels are {labels.dtype}; expected class indices or names")
    odd = (labels < 0) | (labels >= k) | (labels != np.floor(labels))
    if odd.any():
        row = int(np.argmax(odd))
        raise DataError(f"row {row}: the label is {labels[row]}; expected an index from 0 to {k - 1}", row=row)
    return labels.astype(np.int64)


def from_names(labels: NDArray[Any], k: int, names: tuple[str, ...] | None, others: tuple[str, ...]) -> Ints:
    """Names of either kind; digits are names where all of them are, else indices."""
    words = [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
    known = {name: index for called in (others, names or ()) for index, name in enumerate(called)}
    expected = f"an index from 0 to {k - 1}"
    if all(word.isdecimal() for word in words) and not known.keys() >= set(words):
        known = {word: int(word) for word in set(words) if len(word) <= MOST_DIGITS and int(word) < k}
    elif names is None:
        expected += ", or a name: such as `classes` in the data or `calibrant fit --classes` name"
    else:
        expected = f"one of {', '.join(names[:MOST_NAMES])}{', ...' if k > MOST_NAMES else ''}"
    indices = np.array([known.get(word, -1) for word in words], np.int64)
    if (indices < 0).any():
        row = int(np.argmax(indices < 0))
        raise DataError(f"row {row}: the label is {words[row]!r}; expected {expected}", row=row)
    return indices


def check_mask(mask: NDArray[Any], n: int, k: int) -> Bools:
    if mask.dtype != np.bool_ and (mask.dtype.kind not in "iu" or not np.isin(mask, (0, 1)).all()):
        raise DataError(f"the mask is {mask.dtype}; expected booleans, true = the class may be chosen")
    if mask.shape not in ((n, k), (1, k), (k,)):
        raise DataError(f"the mask has the shape {list(mask.shape)}; expected [{n}, {k}] or [{k}]")
    return np.broadcast_to(mask.astype(np.bool_, copy=False), (n, k))


def check_weights(weights: NDArray[Any]) -> Floats:
    weights = weights.astype(np.float64)
    odd = ~(np.isfinite(weights) & (weights >= 0))
    if odd.any():
        row = int(np.argmax(odd))
        raise DataError(f"row {row}: the weight is {weights[row]}; expected a number >= 0", row=row)
    if not weights.any():
        raise DataError("every weight is 0; expected at least one row that counts")
    return weights


def group_indices(groups: NDArray[Any]) -> tuple[Ints, tuple[str, ...]]:
    names, indices = np.unique(groups.astype(str), return_inverse=True)
    return indices.astype(np.int64), tuple(map(str, names))
