"""What batching is worth: this project's server with its default bounds against `--max-batch-rows 1`.

`batching` with the shipped head, whose run costs next to nothing; `expensive` with a head behind a classifier that
multiplies by a 4,096 x 4,096 matrix.
"""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import Spec, calibrant
from tests.benchmarks.race import Cell, raced, summed, table
from tests.benchmarks.work import Work, dumped, softmax

OFF: Final = ("--max-batch-rows", "1")
N_FEATURES, WIDTH, N_CLASSES = 16, 4096, 10
CONNECTIONS: Final = (1, 64)


def run(options: Options) -> dict[str, Any]:
    """Latency at one connection, throughput at 64."""
    cells = [Cell.read(text) for text in options.cells or ("1x10@1", "1x10@64")]
    return compared("Batching on against off", (), cells, options)


def run_expensive(options: Options) -> dict[str, Any]:
    """The same with a head that is really expensive."""
    with tempfile.TemporaryDirectory() as folder:
        work = expensive(Path(folder))
        cells = [Cell(work, n) for n in CONNECTIONS]
        chosen = ("--models", folder, "--default-model", "wide")
        return compared(f"Batching, behind a {WIDTH} x {WIDTH} matmul", chosen, cells, options)


def compared(title: str, chosen: tuple[str, ...], cells: list[Cell], options: Options) -> dict[str, Any]:
    """Race the two."""
    specs = [
        Spec("batching", calibrant(*chosen), "default bounds"),
        Spec("off", calibrant(*chosen, *OFF), " ".join(OFF)),
    ]
    runs = raced(specs, cells, options)
    lines = summed(sorted(runs, key=lambda run: run.cell))
    console.print(table(title, lines, ["off"]))
    return {"lines": lines}


def expensive(folder: Path) -> Work:
    """Write `wide/1/model.onnx` under `folder`: x [N, 16], two hidden layers of 4,096, 10 classes, and our head."""
    # these come with onnx, which serving does without
    from onnx import helper, numpy_helper

    from service.heads.attach import attach
    from service.heads.publish import write
    from service.heads.stages import Stages
    from service.metadata import Metadata

    random = np.random.default_rng(0)
    sizes = (N_FEATURES, WIDTH, WIDTH, N_CLASSES)
    weights = [(random.standard_normal(size) * np.sqrt(2 / size[0])).astype(np.float32) for size in pairwise(sizes)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["m0"]),
        helper.make_node("Relu", ["m0"], ["r0"]),
        helper.make_node("MatMul", ["r0", "w1"], ["m1"]),
        helper.make_node("Relu", ["m1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", 1, ["N", N_FEATURES])],
        [helper.make_tensor_value_info("logits", 1, ["N", N_CLASSES])],
        [numpy_helper.from_array(values, f"w{i}") for i, values in enumerate(weights)],
    )
    classifier = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = folder / "wide" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    write(attach(classifier, "logits", Stages(), Metadata(classes=N_CLASSES)), path)

    x = random.standard_normal((1, N_FEATURES)).astype(np.float32)
    hidden = x.astype(np.float64)
    for layer in weights[:-1]:
        hidden = np.maximum(hidden @ layer.astype(np.float64), 0)
    logits = hidden @ weights[-1].astype(np.float64)
    allowed = np.ones((1, N_CLASSES), np.bool_)
    expected = softmax(logits, allowed, np.ones(1))
    # a sum of thousands of float32 products is further off than a softmax
    return Work("wide", dumped({"inputs": {"x": x}}), expected, allowed, tolerance=1e-4)
