"""The head behind a classifier: the user's own ONNX graph that ends in logits, served whole."""

from pathlib import Path

from onnx import ModelProto

from service.errors import HeadError
from service.heads.stages import Stages
from service.metadata import Metadata


def attach(classifier: ModelProto | Path, output: str, stages: Stages, metadata: Metadata) -> ModelProto:
    """Not yet."""
    raise HeadError("a head cannot be put behind a classifier yet")
