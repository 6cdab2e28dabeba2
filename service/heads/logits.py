"""Where a graph's logits are: the tensors that its answers are the softmax or the sigmoid of, as far as nodes tell.

A guess from the nodes alone. Whether it is right shows where the graph runs: see `trial`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from onnx import GraphProto, NodeProto

from service.heads.surgery import producers

Link = Literal["softmax", "sigmoid"]
MOST_STEPS: Final = 64  # back from an output
# Nodes that leave the numbers as they are, or nearly: which input goes through.
PASSING: Final = frozenset(
    {
        "Identity",
        "Cast",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Expand",
        "Dropout",
        "Clip",
        "ZipMap",
        "Normalizer",
    }
)


class Guess(NamedTuple):
    """A tensor that may be the logits: what is done to it on the way to the output."""

    tensor: str
    link: Link


Nodes = Mapping[str, NodeProto]


def guess_logits(graph: GraphProto, output: str) -> list[Guess]:
    """What the answer `output` may be the softmax or the sigmoid of, the likeliest first; none where nothing tells."""
    return [*follow(producers(graph), output)]


def follow(made: Nodes, tensor: str) -> Iterator[Guess]:
    """Guesses of what `tensor` is made of."""
    node = made.get(pass_back(made, tensor))
    if node is not None and node.op_type in READERS:
        yield from READERS[node.op_type](made, node)


def pass_back(made: Nodes, tensor: str) -> str:
    """The tensor that goes through to this one unchanged."""
    for _ in range(MOST_STEPS):
        node = made.get(tensor)
        if node is None or node.op_type not in PASSING:
            break
        tensor = node.input[0]
    return tensor


def before_softmax(_: Nodes, node: NodeProto) -> Iterator[Guess]:
    yield Guess(node.input[0], "softmax")


def before_sigmoid(_: Nodes, node: NodeProto) -> Iterator[Guess]:
    yield Guess(node.input[0], "sigmoid")


def before_log(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """The logarithm of a softmax."""
    yield from follow(made, node.input[0])


def before_exp(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """Exp of logits less something, their maximum or the logarithm of a sum; or of a logarithm of probabilities."""
    exponent = pass_back(made, node.input[0])
    before = made.get(exponent)
    if before is not None and before.op_type == "Sub":
        yield from before_difference(made, before)
    elif before is not None and before.op_type == "LogSoftmax":
        yield Guess(before.input[0], "softmax")
    yield Guess(node.input[0], "softmax")
    raw = before_log_sigmoid(made, before)
    if raw is not None:
        yield Guess(raw, "sigmoid")


def before_log_sigmoid(made: Nodes, node: NodeProto | None) -> str | None:
    """What -softplus(-x) has as its x."""
    tensor: str | None = None
    for op in ("Neg", "Softplus", "Neg"):
        if node is None or node.op_type != op:
            return None
        tensor = node.input[0]
        node = made.get(tensor)
    return tensor


def before_difference(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """Logits less a number a row, once or twice."""
    inner = made.get(pass_back(made, node.input[0]))
    if inner is not None and inner.op_type == "Sub":
        yield Guess(inner.input[0], "softmax")
    yield Guess(node.input[0], "softmax")


def before_division(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """Exponentials over their sum; or 1 over 1 and an exponential, which is a sigmoid."""
    yield from only(follow(made, node.input[0]), "softmax")
    yield from before_reciprocal(made, made.get(node.input[1]))


def before_product(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """Exponentials times the reciprocal of their sum, or times 1."""
    for name in node.input:
        yield from follow(made, name)


def before_reciprocal(made: Nodes, node: NodeProto | None) -> Iterator[Guess]:
    """1 + exp(-x), of which a sigmoid is the reciprocal."""
    for name in node.input if node is not None and node.op_type == "Add" else ():
        power = made.get(pass_back(made, name))
        negative = made.get(power.input[0]) if power is not None and power.op_type == "Exp" else None
        if negative is not None and negative.op_type == "Neg":
            yield Guess(negative.input[0], "sigmoid")


def before_inverse(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    yield from before_reciprocal(made, made.get(node.input[0]))


def before_concat(made: Nodes, node: NodeProto) -> Iterator[Guess]:
    """The two probabilities of a sigmoid, whose logits `classifier.add_two_logits` put beside them."""
    for name in made:
        if name.rstrip("_") == f"{node.output[0]}_logits":
            yield Guess(name, "softmax")


def only(guesses: Iterator[Guess], link: Link) -> Iterator[Guess]:
    """The guesses of one link."""
    return (guess for guess in guesses if guess.link == link)


READERS: Final[Mapping[str, Callable[[Nodes, NodeProto], Iterator[Guess]]]] = {
    "Softmax": before_softmax,
    "LogSoftmax": before_softmax,
    "Sigmoid": before_sigmoid,
    "Log": before_log,
    "Exp": before_exp,
    "Sub": before_difference,
    "Div": before_division,
    "Mul": before_product,
    "Reciprocal": before_inverse,
    "Concat": before_concat,
}
