"""What a classifier's file is, and where a head can stand behind it, for somebody who brings one."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.engine.rows import Input
from service.errors import HeadError, UsedWrongly
from service.heads import classifier
from service.heads.choice import Candidates, choose, text_of
from service.heads.logits import Link
from service.heads.trial import Arrays, read_inputs


@dataclass
class Description:
    """A classifier as `inspect` prints it.

    Attributes:
        producer: what exported it, with its version.
        opsets: the version of each domain; the default one is `ai.onnx`.
        inputs: type and shape of each, as `float32 [N, 64]`.
        outputs: the same of each output, as it came out, and what it holds.
        logits: the tensors that can be the logits, and the output that each leads to.
        options: those of `export` and `fit` beside `--onto`, one list for each way to put a head behind it.
        refusal: why there is no way, or none without an option.
    """

    producer: str
    opsets: dict[str, int]
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    logits: dict[str, str] = field(default_factory=dict)
    options: list[list[str]] = field(default_factory=list)
    refusal: str | None = None


def describe(path: Path, rows: Arrays | None = None) -> Description:
    """What the classifier in the file `path` is, after a run on `rows` of its inputs, or on made-up ones.

    Raises:
        CannotStart, HeadError: the file cannot be read.
    """
    model = classifier.load(path)
    producer = " ".join(word for word in (model.producer_name, model.producer_version) if word)
    opsets = sorted((one.domain or "ai.onnx", one.version) for one in model.opset_import)
    about = Description(producer or "unknown", dict(opsets))
    try:
        about.inputs = {name: input_text(given) for name, given in read_inputs(model).items()}
        found = Candidates(model, path, rows)
    except HeadError as error:
        about.refusal = str(error)
        return about
    about.outputs = {entry.name: output_text(found, entry.name) for entry in model.graph.output}
    about.logits = {one.tensor: one.output for one in found.logits or found.sigmoids}
    for options in ways(found):
        add_way(about, path, rows, options)
    return about


def ways(found: Candidates) -> list[list[str]]:
    """The options for each way that a head may get behind it, of which some may be refused."""
    if found.logits:
        return [["--output", one.tensor] for one in found.logits]
    if found.sigmoids:
        return [["--family", "sigmoid", "--output", one.tensor] for one in found.sigmoids]
    single = [name for name, one in found.outputs.items() if one.holds == "logits" and one.values.shape[1] == 1]
    if single:
        return [[], *(["--family", "sigmoid", "--output", name] for name in single)]
    holds = {one.holds for one in found.outputs.values()}
    if "probabilities" in holds:
        return [[], ["--from-probabilities"]]
    if "sigmoids" in holds:
        return [[], ["--family", "sigmoid", "--from-probabilities"]]
    return [[]]


def add_way(about: Description, path: Path, rows: Arrays | None, options: list[str]) -> None:
    """Try one way, and write down its options, or why it is refused."""
    tensor = options[-1] if "--output" in options else None
    link: Link = "sigmoid" if "sigmoid" in options else "softmax"
    try:
        choose(path, tensor, link=link, from_probabilities="--from-probabilities" in options, rows=rows)
    except (HeadError, UsedWrongly) as error:
        about.refusal = about.refusal or str(error)
    else:
        about.options.append(options)


def input_text(given: Input) -> str:
    """`float32 [N, 64]`."""
    dtype, shape = given
    sizes = ", ".join(["N", *("any" if size is None else str(size) for size in shape)])
    return f"{'string' if dtype is np.object_ else dtype.__name__} [{sizes}]"


def output_text(found: Candidates, name: str) -> str:
    """`float32 [N, 10], probabilities`."""
    holds = f", {found.outputs[name].holds}" if name in found.outputs else ""
    return text_of(found, name) + holds
