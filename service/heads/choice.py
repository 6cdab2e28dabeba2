"""Which tensor of a classifier a head stands behind: found, or named and looked at. Never one that holds probabilities.

A softmax behind a softmax answers nearly the same for all classes, and looks well: so what a tensor holds is judged by
what comes out when the classifier runs, whatever its nodes are called.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from service.engine.rows import looks_like_probabilities
from service.errors import UsedWrongly
from service.heads import classifier
from service.heads.logits import Link, guess_logits
from service.heads.trial import N_ROWS, Arrays, Trial

NEAR: Final = 2e-3  # of probabilities: float16 has three digits
FLOATS: Final = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


class Found(NamedTuple):
    """A tensor that holds an answer for each row and class, or one that leads to it.

    Attributes:
        tensor: its name.
        output: the output of the graph that it was found behind.
        holds: `logits`, `log-probabilities`, `probabilities`, `sigmoids`, numbers from 0 to 1 of single labels, or
            `nothing`, where no row came out as numbers.
        values: what it held, `[n, K]`.
    """

    tensor: str
    output: str
    holds: str
    values: NDArray[Any]


class Chosen(NamedTuple):
    """A classifier that ends in its logits.

    Attributes:
        model: the classifier, with `output` as its only output.
        trial: it, running.
        example: a row of its inputs, where it does not run on the rows that serving makes up.
        alone: how far a row's logits are from what they are beside other rows, at most.
    """

    model: ModelProto
    output: str
    trial: Trial
    example: dict[str, Any] | None
    alone: float


class Candidates:
    """What a classifier's tensors hold, after a run on a few rows.

    Attributes:
        outputs: the outputs of the graph that are floats `[N, K]`.
        logits: what a head can stand behind: the tensors before a softmax, else the outputs that are none.
        sigmoids: the tensors before a sigmoid, as `logits`.
    """

    def __init__(self, model: ModelProto, path: Path, rows: Arrays | None = None, also: str | None = None) -> None:
        """Run `model` on `rows`, its own, else on made-up ones; look at the tensor `also`, too.

        Raises:
            HeadError: it cannot be loaded or run.
        """
        self.model, self.path = model, path
        names = [entry.name for entry in model.graph.output]
        if also is not None and also not in names:
            names.append(also)
        self.guesses = {name: guess_logits(model.graph, name) for name in names}
        tensors = [*names, *(one.tensor for found in self.guesses.values() for one in found)]
        self.trial = Trial(model, path, tensors)
        self.rows = self.trial.made_up() if rows is None else {name: rows[name][:N_ROWS] for name in self.trial.inputs}
        answers = self.trial.run(self.rows, sorted(set(tensors)))
        self.n = len(next(iter(self.rows.values()))) if self.rows else 0
        self.answers = answers
        self.outputs = {name: self.judge(name) for name in names if self.is_table(answers[name])}
        self.logits = [*{found.tensor: found for found in self.find_logits()}.values()]
        self.sigmoids = [*{found.tensor: found for found in self.find("sigmoid")}.values()]

    def is_table(self, values: Any) -> bool:
        """Whether it is floats `[N, K]`."""
        return (
            isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim == 2 and len(values) == self.n
        )

    def judge(self, output: str) -> Found:
        """What an output holds."""
        values = np.asarray(self.answers[output], np.float64)
        values = values[are_numbers(values)]
        if not len(values):
            holds = "nothing"
        elif looks_like_probabilities(values):
            holds = "probabilities"
        elif ((values >= 0) & (values <= 1)).all():
            holds = "sigmoids"
        elif values.shape[1] > 1 and looks_like_probabilities(np.exp(np.minimum(values, 1))):
            holds = "log-probabilities"
        else:
            holds = "logits"
        return Found(output, output, holds, values)

    def find(self, link: Link) -> Iterator[Found]:
        """The tensors whose softmax or sigmoid comes out, by what they held: of each output the likeliest."""
        for name, found in self.outputs.items():
            right = found.values
            if found.holds == "log-probabilities":
                right = np.exp(right)
            for guess in self.guesses[name]:
                values = self.answers[guess.tensor]
                if guess.link != link or not self.is_table(values) or values.shape[1] != right.shape[1]:
                    continue
                z = np.asarray(values, np.float64)[are_numbers(self.answers[name])]
                if len(z) and np.allclose(linked(z, link), right, rtol=0, atol=NEAR):
                    yield Found(guess.tensor, name, "logits", z)
                    break

    def find_logits(self) -> list[Found]:
        return [*self.find("softmax")] or [
            one
            for one in self.outputs.values()
            if one.holds in ("logits", "log-probabilities") and one.values.shape[1] > 1
        ]

    def find_sigmoid_logits(self) -> list[Found]:
        """What a head for single labels can stand behind: `sigmoids`, else the outputs that are none."""
        return self.sigmoids or [one for one in self.outputs.values() if one.holds == "logits"]


def linked(z: NDArray[Any], link: Link) -> NDArray[Any]:
    """The softmax or the sigmoid of logits `[n, K]`."""
    if link == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -500, 500))))
    with np.errstate(invalid="ignore"):  # -inf throughout, or NaN: none of these is near a probability
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


def are_numbers(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of `[n, K]` have neither NaN nor +inf; -inf is a class without a score."""
    return np.asarray((values < np.inf).all(axis=1))


def choose(
    path: Path,
    output: str | None = None,
    *,
    link: Link = "softmax",
    from_probabilities: bool = False,
    rows: Arrays | None = None,
) -> Chosen:
    """The classifier in the file `path`, cut to the logits of a softmax or a sigmoid, as `link` says.

    They are the tensor `output`, or the only one that can be meant.

    Raises:
        CannotStart, HeadError: the file cannot be read, loaded or run.
        UsedWrongly: no such tensor, several that can be meant, or one that holds no logits; with what to do.
    """
    model = classifier.load(path)
    refuse_missing(model, output)
    found = Candidates(model, path, rows, output)
    if output is not None:
        tensor = check(found, output, link, from_probabilities=from_probabilities)
    elif from_probabilities:
        tensor = only_probabilities(found, link)
    else:
        tensor = only_logits(found, link)
    k = found.answers[tensor].shape[1]
    kind = FLOATS.get(str(found.answers[tensor].dtype), TensorProto.FLOAT)
    if from_probabilities:
        tensor, kind = classifier.invert(model, tensor, link), TensorProto.FLOAT
    short = classifier.cut(model, tensor, ("N", k), kind)
    trial = Trial(short, path)
    return Chosen(short, tensor, trial, trial.example(found.rows), trial.difference_alone(found.rows, tensor))


def refuse_missing(model: ModelProto, output: str | None) -> None:
    there = {name for node in model.graph.node for name in node.output} | {e.name for e in model.graph.output}
    if output is not None and output not in there:
        names = ", ".join(entry.name for entry in model.graph.output)
        raise UsedWrongly(f"the classifier has no output {output}, it has: {names}")


def check(found: Candidates, output: str, link: Link, *, from_probabilities: bool) -> str:
    """The tensor of a named output, if it holds what it should."""
    if output not in found.outputs:
        raise UsedWrongly(
            f"the output {output} is {text_of(found, output)}; expected logits: floats of the shape [N, K]"
        )
    one = found.outputs[output]
    if one.holds == "nothing":
        raise UsedWrongly(
            f"the output {output} is NaN in every row; expected numbers: --inputs FILE with rows it takes"
        )
    answers = ANSWERS[link]
    if from_probabilities and one.holds not in answers:
        other = "; --family sigmoid takes their logits" if one.holds == "sigmoids" else ""
        raise UsedWrongly(
            f"the output {output} holds {TEXTS[one.holds]}; expected probabilities with --from-probabilities{other}"
        )
    if one.holds in ANSWERS["sigmoid"] and not from_probabilities:
        raise UsedWrongly(f"the output {output} holds {TEXTS[one.holds]}; expected logits{advice(found, one, link)}")
    if one.values.shape[1] < 2 and link == "softmax":
        raise UsedWrongly(
            f"the output {output} has one class, whose softmax is always 1; expected 2 or more, or --family sigmoid"
        )
    return output


TEXTS: Final = {
    "logits": "logits",
    "log-probabilities": "log-probabilities",
    "probabilities": "probabilities, rows that add up to 1",
    "sigmoids": "numbers from 0 to 1 that do not add up to 1, as a sigmoid answers for single labels",
}
ANSWERS: Final[Mapping[Link, tuple[str, ...]]] = {
    "softmax": ("probabilities",),
    "sigmoid": ("sigmoids", "probabilities"),
}


def advice(found: Candidates, one: Found, link: Link) -> str:
    """What to do about an output that holds probabilities, of a softmax or of single labels."""
    tensors = found.logits if one.holds == "probabilities" else found.sigmoids
    behind = [tensor.tensor for tensor in tensors if tensor.output == one.output]
    family = " --family sigmoid" if one.holds == "sigmoids" and link == "softmax" else ""
    if behind:
        return f": take{family} --output {behind[0]}"
    return f", which the graph does not have:{family} --from-probabilities takes their logarithm"


def only_logits(found: Candidates, link: Link) -> str:
    """The tensor of logits, where there is one."""
    names = [one.tensor for one in (found.logits if link == "softmax" else found.find_sigmoid_logits())]
    if len(names) == 1:
        return names[0]
    if names:
        raise UsedWrongly(
            f"{found.path} has several tensors that can be logits: {', '.join(names)}; name one: --output"
        )
    for name, output in found.outputs.items():
        if output.holds in (*ANSWERS["sigmoid"], "nothing") or output.values.shape[1] < 2:
            return check(found, name, link, from_probabilities=False)
    for name in (entry.name for entry in found.model.graph.output):
        if np.ndim(found.answers[name]) > 2:
            text = text_of(found, name)
            raise UsedWrongly(f"the output {name} is {text}, answers at several places; expected one a row: [N, K]")
    there = ", ".join(f"{entry.name}, {text_of(found, entry.name)}" for entry in found.model.graph.output)
    raise UsedWrongly(f"{found.path} has no logits, floats of the shape [N, K], among its outputs: {there}")


def only_probabilities(found: Candidates, link: Link) -> str:
    """The tensor of probabilities, where there is one."""
    names = [one.tensor for one in found.outputs.values() if one.holds == ANSWERS[link][0]]
    if len(names) != 1:
        what = f"several: {', '.join(names)}; name one: --output" if names else "none"
        raise UsedWrongly(f"{found.path} has outputs that hold probabilities: {what}")
    return names[0]


def text_of(found: Candidates, name: str) -> str:
    """Type and shape of a tensor, as it came out: `int64 [N]`."""
    values = found.answers.get(name)
    if not isinstance(values, np.ndarray):
        return "no tensor"
    kind = "string" if values.dtype.kind in "OUS" else str(values.dtype)
    return f"{kind} [{', '.join('N' if i == 0 and n == found.n else str(n) for i, n in enumerate(values.shape))}]"
