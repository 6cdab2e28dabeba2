"""Classifiers of Keras and Hugging Face, and two that packages ship, with what these answer themselves."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from optimum.exporters.onnx import main_export
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification

from tests.exporters.saving import save

HELD_OUT = slice(600, None)
SHIPPED: Final = {
    "magika": "models/standard_v3_3/model.onnx",
    "rapidocr_onnxruntime": "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
}


def make(folder: Path) -> None:
    """Write them all."""
    with_keras(folder)
    bert(folder)
    shipped(folder)


def with_keras(folder: Path) -> None:
    """Two layers that end in a softmax, by Keras' own exporter."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:600], y[:600], epochs=5, verbose=0)
    place = folder / "keras"
    place.mkdir(parents=True, exist_ok=True)
    model.export(place / "classifier.onnx", format="onnx", verbose=False)
    (name,) = [entry.name for entry in onnx.load(place / "classifier.onnx").graph.input]
    p = model.predict(x[HELD_OUT], verbose=0)
    save(folder, "keras", None, {name: x[HELD_OUT]}, y[HELD_OUT], probabilities=p)


def bert(folder: Path) -> None:
    """A small BERT with random weights, from a folder as `transformers` saves it, exported by optimum."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=100, num_labels=3, initializer_range=0.5, **sizes)
    ).eval()
    place = folder / "optimum-bert"
    model.save_pretrained(place)
    main_export(place, place, task="text-classification", library_name="transformers", do_validation=False)
    (place / "model.onnx").rename(place / "classifier.onnx")
    rng = np.random.default_rng(0)
    inputs = {"input_ids": rng.integers(0, 100, (300, 9)), "attention_mask": np.ones((300, 9), np.int64)}
    inputs["token_type_ids"] = np.zeros((300, 9), np.int64)
    with torch.no_grad():
        own = model(**{name: torch.tensor(values) for name, values in inputs.items()}).logits.numpy()
    labels = (own + rng.gumbel(size=own.shape)).argmax(axis=1)
    save(folder, "optimum-bert", None, inputs, labels, logits=own)


def shipped(folder: Path) -> None:
    """Files that packages ship: magika's types of files, and whether a line of text stands upside down."""
    rng = np.random.default_rng(0)
    source = Path(np.__file__).read_bytes() + Path(onnx.__file__).read_bytes()
    places = rng.integers(0, len(source) - 2048, 40)
    files = np.stack([np.frombuffer(source, np.uint8, 2048, at) for at in places]).astype(np.int32)
    images = rng.uniform(-1, 1, (40, 3, 48, 192)).astype(np.float32)
    for package, values in (("magika", files), ("rapidocr_onnxruntime", images)):
        place = folder / package
        place.mkdir(parents=True, exist_ok=True)
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        shutil.copyfile(Path(spec.origin).parent / SHIPPED[package], place / "classifier.onnx")
        running = onnxruntime.InferenceSession(place / "classifier.onnx")
        inputs: dict[str, Any] = {running.get_inputs()[0].name: values}
        (p,) = running.run(None, inputs)
        save(folder, package, None, inputs, p.argmax(axis=1), probabilities=p)
