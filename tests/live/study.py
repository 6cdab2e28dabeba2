"""How often the alarm is false and how soon it comes, at full size.

`python -m tests.live.study null|real|chains STREAMS LENGTH [FOLDER]`, such as `null 2000 20000`.

`null`: streams whose labels are drawn from the confidences, or from the published ones in FOLDER. `real`: the published
sets with their own labels, against the curve of their validation rows, in a head with a temperature; `chains`: the same
in heads of the methods `matrix+entropy` and `temperature+top`. Minutes each; the tests run a short form.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.calibration import temperature
from service.calibration.methods import Method
from service.calibration.proof import Wanted, prove
from service.datasets import files
from service.datasets.dataset import Bools, Dataset, Floats
from service.errors import FitError
from service.heads.stages import Stages
from service.live.bets import e_values, log_steps, slopes
from service.live.reference import Reference
from service.live.stream import BLOCK, Stream
from service.measures import curve_fit
from service.measures.scores import Scores, score
from tests.live.made import FITTED

ALARM: Final = 100.0
CHANGE_AT: Final = 10_000
NEVER: Final = 10**9


@dataclass(frozen=True)
class Rows:
    """Answered rows to draw from: the logarithms of the bets for a wrong and a right answer, `[n,2,16]`."""

    logs: NDArray[np.int64]
    confidence: Floats
    right: Bools

    @classmethod
    def of(cls, reference: Reference, confidence: Floats, right: Bools) -> "Rows":
        r, tau = reference.expect(confidence)
        both = [log_steps(e_values(slopes(r), r, tau, np.full(len(r), hit))) for hit in (False, True)]
        return cls(np.stack(both, axis=1), confidence, right)


def first_alarm(logs: NDArray[np.int64], alarm: float = ALARM) -> int:
    """The number of labels, `logs` `[n,16]`, after which E reaches `alarm`; `NEVER` if it does not."""
    stream = Stream(logs.shape[1])
    for start in range(0, len(logs), BLOCK):
        path = stream.add(logs[start : start + BLOCK])
        if (path >= alarm).any():
            return start + int((path >= alarm).argmax()) + 1
        stream.close(start + BLOCK, 0)
    return NEVER


def null_alarms(rows: Rows, streams: int, length: int, seed: int = 0) -> list[int]:
    """The first alarms where labels are drawn from the confidences."""
    random, found = np.random.default_rng(seed), []
    for _ in range(streams):
        at = random.integers(0, len(rows.confidence), length)
        right = random.random(length) < rows.confidence[at]
        found.append(first_alarm(rows.logs[at, right.astype(int)]))
    return found


def real_alarms(
    rows: Rows, streams: int, length: int, drop: float = 0.0, change_at: int = 0, seed: int = 0
) -> list[int]:
    """The first alarms with the rows' own labels, drawn again; from a label on, right ones turn wrong at random.

    Counted from the change; an alarm before it is negative.
    """
    random, found = np.random.default_rng(seed), []
    for _ in range(streams):
        at = random.integers(0, len(rows.right), length)
        turned = (random.random(length) < drop / rows.right.mean()) & (np.arange(length) >= change_at)
        first = first_alarm(rows.logs[at, (rows.right[at] & ~turned).astype(int)])
        found.append(first if first == NEVER else first - change_at)
    return found


def quantiles(alarms: list[int]) -> str:
    """The median and the 90 % quantile of the delays."""
    at = np.quantile(alarms, [0.5, 0.9], method="inverted_cdf")
    return " / ".join("-" if one >= NEVER else f"{int(one):,}" for one in at)


def share(alarms: list[int]) -> float:
    """Of streams that alarm, in per cent."""
    return 100 * float(np.mean([one < NEVER for one in alarms]))


def sharpened(data: Dataset, factor: float) -> Dataset:
    """The data with logits times `factor`."""
    return Dataset.from_arrays(data.logits * np.float32(factor), data.labels, data.mask)


def held_out(head: Stages, data: Dataset, factor: float = 1.0) -> Scores:
    """What the head answers to the rows."""
    return score(data if factor == 1 else sharpened(data, factor), head.predict)


def line(name: str, reference: Reference, head: Stages, test: Dataset, streams: int, length: int) -> str:
    """One line of the table."""
    cool, hot = (held_out(head, test, factor) for factor in (1.0, 1.5))
    rows, sharp = (Rows.of(reference, one.confidence, one.correct) for one in (cool, hot))
    false = real_alarms(rows, streams, length)
    at_once = real_alarms(rows, streams, length, 0.03, seed=1)
    late = real_alarms(rows, streams, length + CHANGE_AT, 0.03, CHANGE_AT, seed=2)
    off = real_alarms(sharp, streams, length, seed=3)
    return (
        f"| {name} | {100 * cool.correct.mean():.1f} | {share(false):.1f} | {quantiles(at_once)} | "
        f"{quantiles([one for one in late if one > 0])} | {quantiles(off)} |"
    )


def chain(data: Dataset, method: Method) -> tuple[Stages, Reference]:
    """The head of a method, and the curve of the whole of it, as a fit finds them."""
    proof = prove({"val": data}, Wanted(methods=(method,), laplace=False))
    return proof.calibrator, Reference(proof.curve, "fit")


def alone(data: Dataset) -> tuple[Stages, Reference]:
    """A temperature, and the curve of the rows that it was fitted on."""
    head = Stages(temperature.fit(data).value)
    scores = score(data, head.predict)
    return head, Reference(curve_fit.fit(scores.confidence, scores.correct, scores.weights), "fit")


def published(folder: Path) -> Iterator[tuple[str, dict[str, Dataset]]]:
    for path in sorted(folder.glob("*.npz")):
        yield path.stem, files.load(path)


def main(what: str, streams: int, length: int, folder: Path | None) -> None:
    if what == "null" and folder is None:
        p = 1 / (1 + np.exp(-np.random.default_rng(5).normal(2, 1.5, 20_000)))
        print("drawn", share(null_alarms(Rows.of(FITTED, p, p > 0), streams, length)), flush=True)  # noqa: T201 - a study
    for name, parts in published(folder) if folder else ():
        if what == "null":
            scores = held_out(alone(parts["val"])[0], parts["test"])
            rows = Rows.of(FITTED, scores.confidence, scores.correct)
            print(name, f"{share(null_alarms(rows, streams, length)):.2f} %", flush=True)  # noqa: T201
        elif what == "real":
            head, reference = alone(parts["val"])
            print(line(name, reference, head, parts["test"], streams, length), flush=True)  # noqa: T201
        else:
            for method in ("matrix+entropy", "temperature+top"):
                try:
                    head, reference = chain(parts["val"], method)
                except FitError as error:
                    print(method, name, error, flush=True)  # noqa: T201
                    continue
                print(method, line(name, reference, head, parts["test"], streams, length), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
