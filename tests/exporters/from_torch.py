"""Classifiers of PyTorch, through both of its exporters, and one of them quantised by ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from sklearn.datasets import load_digits
from torch import nn

from tests.exporters.saving import save

HELD_OUT = slice(600, None)
OPSETS = (7, 9, 11, 13, 15, 17, 18)  # of the exporter that traces
N_WORDS = 100
Tensors = Mapping[str, torch.Tensor]


class Ending(nn.Module):
    """A body, and what is put behind its logits."""

    def __init__(self, body: nn.Module, end: Any) -> None:
        super().__init__()
        self.body, self.end = body, end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.body(x))


class Transformer(nn.Module):
    """Token ids and an attention mask to logits [N, 4]; or to those of each token, [N, T, 4]."""

    def __init__(self, *, pooled: bool = True) -> None:
        super().__init__()
        self.pooled = pooled
        self.words, self.places = nn.Embedding(N_WORDS, 16), nn.Embedding(64, 16)
        self.reads = nn.Linear(16, 48)
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        query, key, value = self.reads(x).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / 4 + (attention_mask[:, None].to(x.dtype) - 1) * 1e4
        x = self.norm(x + scores.softmax(-1) @ value)
        there = attention_mask[..., None].to(x.dtype)
        return self.last((x * there).sum(1) / there.sum(1)) if self.pooled else self.last(x)


class Recurrent(nn.Module):
    """A sequence and the state before it to logits [N, 3] and the state behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.last = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> Any:
        y, after = self.gru(x, state)
        return self.last(y[:, -1]), after


def spell_out(z: torch.Tensor) -> torch.Tensor:
    """Softmax as Exp, ReduceSum and Div, less the maximum."""
    e = torch.exp(z - z.amax(1, keepdim=True))
    return e / e.sum(1, keepdim=True)


def spell_out_simply(z: torch.Tensor) -> torch.Tensor:
    """The same without the maximum."""
    e = torch.exp(z)
    return e / e.sum(1, keepdim=True)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The digits, float32 [n, 64] from 0 to 1, and their labels."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)


def trained(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 60) -> nn.Module:
    """The model after some steps on the first 600 rows: enough to be good and overconfident."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:600]), y[:600]).backward()
        optimizer.step()
    return model.eval()


def place_of(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name / "classifier.onnx"


def trace(folder: Path, name: str, model: nn.Module, inputs: Tensors, opset: int = 17, **more: Any) -> None:
    """Export by tracing."""
    dynamic = {
        key: {0: "batch", **({1: "steps"} if value.dtype == torch.int64 else {})} for key, value in inputs.items()
    }
    options: dict[str, Any] = {"dynamic_axes": dynamic, "output_names": ["out"]}
    torch.onnx.export(
        model, tuple(value[:2] for value in inputs.values()), place_of(folder, name), dynamo=False,
        opset_version=opset, input_names=list(inputs), **options | more,
    )  # fmt: skip


def arrays(inputs: Tensors) -> dict[str, NDArray[Any]]:
    return {key: value.numpy() for key, value in inputs.items()}


def make(folder: Path) -> None:
    """Write them all."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = digits()
    mlp = trained(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), x, y)
    rows = {"x": x[HELD_OUT]}
    labels = y[HELD_OUT].numpy()
    with torch.no_grad():
        own = mlp(rows["x"]).numpy()
    for opset in OPSETS:
        trace(folder, f"torch-logits-{opset}", mlp, rows, opset)
        save(folder, f"torch-logits-{opset}", None, arrays(rows), labels, logits=own)
    for name, end in (
        ("softmax", nn.Softmax(1)),
        ("log-softmax", nn.LogSoftmax(1)),
        ("spelt-out", spell_out),
        ("spelt-out-simply", spell_out_simply),
        ("reshaped", lambda z: z.softmax(1).reshape(-1, 10, 1).flatten(1).clone()),
        ("cast", lambda z: z.double().softmax(1).float()),
    ):
        trace(folder, f"torch-{name}", Ending(mlp, end), rows)
        save(folder, f"torch-{name}", None, arrays(rows), labels, logits=own)
    trace(folder, "torch-sigmoid", Ending(mlp, nn.Sigmoid()), rows)
    save(folder, "torch-sigmoid", None, arrays(rows), labels, logits=own)
    one = nn.Sequential(nn.Linear(64, 1), nn.Flatten()).eval()
    trace(folder, "torch-sigmoid-one", Ending(one, nn.Sigmoid()), rows)
    with torch.no_grad():
        save(folder, "torch-sigmoid-one", None, arrays(rows), labels, logits=one(rows["x"]).numpy())
    trace(folder, "torch-fixed", mlp, rows, dynamic_axes={})
    save(folder, "torch-fixed", None, arrays(rows), labels, logits=own)
    half = Ending(mlp, lambda z: z.half())
    trace(folder, "torch-half", nn.Sequential(Ending(nn.Identity(), torch.Tensor.float), half), {"x": rows["x"].half()})
    with torch.no_grad():
        own_half = mlp(rows["x"].half().float()).half().float().numpy()
    save(folder, "torch-half", None, arrays({"x": rows["x"].half()}), labels, logits=own_half)
    quantised(folder, rows, labels)
    modern(folder, mlp, rows, labels, own)
    convolution(folder, x, y)
    sequences(folder)


def quantised(folder: Path, rows: Tensors, labels: NDArray[Any]) -> None:
    """Weights as int8; the package's own logits are those of ONNX Runtime on the file itself.

    Of the scales that are found while running, those of a row depend on the rows beside it.
    """
    source = folder / "torch-logits-17" / "classifier.onnx"
    quantize_dynamic(source, place_of(folder, "int8-dynamic"), weight_type=QuantType.QInt8)
    quantize_static(source, place_of(folder, "int8"), Calibrating(rows), weight_type=QuantType.QInt8)
    for name in ("int8", "int8-dynamic"):
        (own,) = onnxruntime.InferenceSession(place_of(folder, name)).run(None, arrays(rows))
        save(folder, name, None, arrays(rows), labels, logits=own)


class Calibrating(CalibrationDataReader):
    """One batch, from which the scales are found."""

    def __init__(self, rows: Tensors) -> None:
        self.batches = iter([arrays(rows)])

    def get_next(self) -> Any:
        return next(self.batches, None)


def modern(folder: Path, mlp: nn.Module, rows: Tensors, labels: NDArray[Any], own: NDArray[Any]) -> None:
    """By the exporter that is the default now: opsets from 18 on, weights in a file beside it."""
    for opset, end in ((18, nn.Softmax(1)), (19, nn.Identity()), (20, nn.LogSoftmax(1)), (21, nn.Softmax(-1))):
        name = f"torch-modern-{opset}"
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            Ending(mlp, end).eval(), (rows["x"][:2],), place_of(folder, name), dynamo=True, opset_version=opset,
            input_names=["x"], output_names=["out"], dynamic_shapes=({0: batch},), external_data=True, verbose=False,
        )  # fmt: skip
        save(folder, name, None, arrays(rows), labels, logits=own)


def convolution(folder: Path, x: torch.Tensor, y: torch.Tensor) -> None:
    """An image [N, 1, 8, 8]; the logits come out of a Flatten."""
    images = x.reshape(-1, 1, 8, 8)
    cnn = trained(
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 10, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ),
        images, y,
    )  # fmt: skip
    rows = {"image": images[HELD_OUT]}
    with torch.no_grad():
        own = cnn(rows["image"]).numpy()
    trace(folder, "torch-cnn", Ending(cnn, nn.Softmax(-1)), rows, 11)
    save(folder, "torch-cnn", None, arrays(rows), y[HELD_OUT].numpy(), logits=own)


def sequences(folder: Path) -> None:
    """A transformer, one that answers at each place, and one that wants its state."""
    ids = torch.randint(0, N_WORDS, (900, 12))
    there = torch.ones_like(ids)
    there[::2, 8:] = 0
    labels = (ids * there).sum(1) % 4
    rows = {"input_ids": ids, "attention_mask": there}
    model = Transformer().eval()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids[:600], there[:600]), labels[:600]).backward()
        optimizer.step()
    held_out = {key: value[HELD_OUT] for key, value in rows.items()}
    with torch.no_grad():
        own = model(**held_out).numpy()
    trace(folder, "torch-transformer", model, held_out, 14)
    save(folder, "torch-transformer", None, arrays(held_out), labels[HELD_OUT].numpy(), logits=own)
    trace(folder, "torch-tagger", Transformer(pooled=False).eval(), held_out, 14)
    save(folder, "torch-tagger", None, arrays(held_out), labels[HELD_OUT].numpy())
    state = {"x": torch.randn(4, 6, 5), "state": torch.zeros(1, 4, 8)}
    axes = {"x": {0: "batch"}, "state": {1: "batch"}}
    torch.onnx.export(
        Recurrent().eval(), tuple(state.values()), place_of(folder, "torch-state"), dynamo=False, opset_version=17,
        input_names=list(state), output_names=["out", "after"], dynamic_axes=axes,
    )  # fmt: skip
    save(folder, "torch-state", None, arrays(state), np.zeros(4, np.int64))
