"""Requests that work, for the OpenAPI page: each is called after the family of head that answers it.

`ensemble` is a head that averages members; a name that goes on behind its family shows more of that family. Those of
`digits` are for the model of that name, which is shipped.
"""

from typing import Any, Final, NamedTuple


class Example(NamedTuple):
    """A request body, and what it shows."""

    summary: str
    value: dict[str, Any]


DIGITS: Final = [
    [1.2, -3.4, 0.5, 2.2, -1.1, 9.1, 0.3, -2.0, 1.9, 3.3],
    [-6.1, 2.4, -1.0, 0.2, 6.9, -4.2, -7.5, 3.3, 1.1, 5.9],
]
PREDICT_DIGITS: Final = {
    "digits": Example(
        "digits: one row, the best three classes by their labels",
        {"logits": DIGITS[0], "outputs": ["probabilities", "prediction", "confidence"], "top_k": 3},
    ),
    "digits-mask": Example(
        "digits: two rows, in one of which a mask rules five out",
        {
            "logits": DIGITS,
            "mask": [[True] * 5 + [False] + [True] * 4, [True] * 10],
            "outputs": ["probabilities", "prediction"],
        },
    ),
    "digits-allowed": Example(
        "digits: the classes that may be chosen, by their labels",
        {"logits": DIGITS, "allowed": [["three", "eight"], ["four", "seven", "nine"]], "outputs": ["prediction"]},
    ),
    "digits-alpha": Example(
        "digits: sets of classes that hold the true one 19 times in 20",
        {"logits": DIGITS, "alpha": 0.05, "outputs": ["prediction", "confidence"]},
    ),
}
PREDICT_JOURNALED: Final = {
    "digits-group": Example(
        "digits: whose rows they are, so that labels are told by group",
        {"logits": DIGITS, "group": ["north", "south"], "outputs": ["prediction"]},
    ),
}
PREDICT: Final = {
    "softmax": Example("softmax: one row", {"logits": [2.0, 1.0, 0.1]}),
    "softmax-rows": Example(
        "softmax: rows with masks and temperatures",
        {
            "logits": [[2.0, 1.0, 0.1], [0.3, None, 4.0]],
            "mask": [[True, True, False], [True, True, True]],
            "temperature": [1.0, 2.5],
            "outputs": ["probabilities", "prediction", "entropy"],
            "top_k": 2,
        },
    ),
    "softmax-prior": Example(
        "softmax: other class frequencies, and no prediction below a confidence",
        {
            "logits": [2.0, 1.0, 0.1],
            "prior": {"old": [0.8, 0.1, 0.1], "new": [0.4, 0.4, 0.2]},
            "abstain_below": 0.6,
            "outputs": ["probabilities", "prediction", "confidence"],
        },
    ),
    "softmax-axis": Example(
        "softmax: one distribution over two axes",
        {"logits": [[1.0, 2.0], [3.0, 4.0]], "axis": [-2, -1], "outputs": ["probabilities", "prediction"]},
    ),
    "sigmoid": Example(
        "sigmoid: any number of classes a row",
        {"logits": [[2.0, -1.0, 0.0, 1.5], [-3.0, -1.0, -2.0, 0.5]], "outputs": ["probabilities", "prediction"]},
    ),
    "sparsemax": Example(
        "sparsemax: exact zeros, and the lead of the best class",
        {"logits": [3.0, 2.5, 0.0], "temperature": 5.0, "outputs": ["probabilities", "margin"]},
    ),
    "entmax15": Example(
        "entmax15: the classes that are left, best first",
        {"logits": [3.0, 2.5, 0.0], "outputs": ["probabilities", "prediction"], "top_k": 3},
    ),
    "entmax": Example(
        "entmax at the alpha of the head",
        {"logits": [3.0, 2.5, 0.0], "outputs": ["probabilities", "entropy"]},
    ),
    "ensemble": Example(
        "ensemble: two members of one row, one mask for both",
        {
            "logits": [[[2.0, 1.0, 0.0], [1.0, 3.0, 0.0]]],
            "mask": [[True, True, False]],
            "outputs": ["probabilities", "mutual_information"],
        },
    ),
}
EVALUATE_DIGITS: Final = {
    "digits": Example(
        "digits: loss and metrics of two rows, at another temperature",
        {"logits": DIGITS, "labels": [5, 9], "temperature": 2.0, "outputs": ["loss", "metrics"]},
    ),
}
EVALUATE: Final = {
    "softmax": Example(
        "softmax: loss, gradient and metrics of a label",
        {"logits": [2.0, 1.0, 0.1], "labels": 0, "outputs": ["loss", "gradient", "metrics"]},
    ),
    "softmax-targets": Example(
        "softmax: soft labels, label smoothing and a vector-Jacobian product",
        {
            "logits": [[2.0, 1.0, 0.1], [0.3, None, 4.0]],
            "targets": [[0.9, 0.1, 0.0], [0.0, 0.0, 1.0]],
            "label_smoothing": 0.1,
            "temperature": 2.0,
            "upstream": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
            "outputs": ["loss", "vjp", "probabilities"],
        },
    ),
    "softmax-jacobian": Example(
        "softmax: the Jacobian, a row for each class",
        {
            "logits": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]],
            "upstream": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        },
    ),
    "sigmoid": Example(
        "sigmoid: a list of classes for each row",
        {
            "logits": [[2.0, -1.0, 0.0, 1.5], [-3.0, -1.0, -2.0, 0.5]],
            "labels": [[0, 2], []],
            "outputs": ["loss", "gradient", "metrics"],
        },
    ),
    "sparsemax": Example(
        "sparsemax: its own loss, and a label that got exactly 0",
        {"logits": [3.0, 2.5, 0.0], "labels": 2, "outputs": ["loss", "gradient", "metrics"]},
    ),
    "entmax15": Example(
        "entmax15: loss and probabilities",
        {"logits": [[3.0, 2.5, 0.0]], "labels": [1], "outputs": ["loss", "probabilities"]},
    ),
    "entmax": Example(
        "entmax: a product with the Jacobian of the logarithms",
        {"logits": [3.0, 2.5, 0.0], "upstream": [0.1, -0.2, 0.3], "of": "log_probabilities"},
    ),
    "ensemble": Example(
        "ensemble: the loss of the average of two members",
        {"logits": [[[2.0, 1.0, 0.0], [1.0, 3.0, 0.0]]], "labels": [1], "outputs": ["loss", "mutual_information"]},
    ),
}
REFIT: Final[dict[str, Any]] = {
    "model": "digits",
    "version": "1",
    "policy": "propose",
    "state": "earned",
    "since": 1790000000.0,
    "because": "alarm",
    "method": "temperature",
    "temperature": {"served": 2.437, "proposed": 3.6},
    "labels": {"seen": 613, "fitted": 400, "judged": 513, "needed": 200},
    "evidence": {"e": 341.2, "max_e": 355.0, "log_ratio": 27.3, "needed": 100.0},
    "nll": {"served": 0.41, "proposed": 0.36, "difference": -0.05, "low": -0.08, "high": -0.02, "rows": 513},
    "ece": {"served": 0.051, "proposed": 0.012},
    "reliability": {"served": {"bins": []}, "proposed": {"bins": []}},
    "refusal": None,
    "command": None,
    "back": None,
    "history": [
        {
            "from_version": "1",
            "at": 1790000000.0,
            "by": None,
            "what": "proposed",
            "to_version": None,
            "labels": 0,
            "e": None,
            "difference": None,
        }
    ],
}
