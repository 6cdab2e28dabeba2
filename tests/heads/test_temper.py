"""A head at another temperature: the same graph, and metadata that say so."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from service.engine.head import Head
from service.errors import CannotStart, HeadError
from service.families.outputs import graph_bits
from service.heads.attach import attach
from service.heads.build import build
from service.heads.publish import write
from service.heads.stages import Stages
from service.heads.temper import publish_tempered, read
from service.heads.top import TopLabel
from service.metadata import Metadata
from tests import heads_made
from tests.heads import classifiers, running

LOGITS = np.random.default_rng(0).normal(0, 3, (7, 3)).astype(np.float32)
BIAS = np.array([0.3, 0.0, -0.3])
PARAMETERS = {"method": "temperature", "temperature": 2.0, "temperature_error": 0.1}


def answered(path: Path) -> NDArray[Any]:
    """The probabilities of the head at `path`, at the temperature that is in it."""
    mask = np.ones(LOGITS.shape, bool)
    return running.run(running.session(onnx.load(path)), logits=LOGITS, mask=mask)["probabilities"]


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_the_next_version_answers_at_the_new_temperature_and_says_so(tmp_path: Path) -> None:
    old = tmp_path / "m" / "1" / "model.onnx"
    old.parent.mkdir(parents=True)
    write(build(Stages(2.0, BIAS), 3, Metadata(calibrator=PARAMETERS)), old)
    path = publish_tempered(old, old.parent.parent, 1.5, {"refit": {"from": "1"}, "n_rows": 7})
    assert path == tmp_path / "m" / "2" / "model.onnx"
    metadata = Head(path).metadata
    assert metadata.calibrator == {"method": "temperature", "temperature": 3.0}
    assert (metadata.refit, metadata.n_rows) == ({"from": "1"}, 7)
    assert answered(path) == pytest.approx(softmax((LOGITS + BIAS) / 3), rel=1e-6)
    assert answered(old) == pytest.approx(softmax((LOGITS + BIAS) / 2), rel=1e-6)


def test_the_temperatures_of_groups_go_with_it(tmp_path: Path) -> None:
    parameters = {"method": "temperature", "temperature": 2.0, "group_temperatures": {"a": 2.2, "b": 1.0}}
    old = tmp_path / "1" / "model.onnx"
    old.parent.mkdir()
    write(build(Stages(2.0, group_temperatures=np.array([1.1, 0.5])), 3, Metadata(calibrator=parameters)), old)
    path = publish_tempered(old, tmp_path, 2.0, {})
    assert Head(path).metadata.calibrator["group_temperatures"] == {"a": 4.4, "b": 2.0}
    assert read(path)[1].temperature == 4.0


@pytest.mark.parametrize("laplace", [0.0, 0.01])
def test_behind_a_stage_for_the_best_class_the_temperature_divides_what_that_answers(
    tmp_path: Path, laplace: float
) -> None:
    stages = Stages(2.0, laplace=laplace, top=TopLabel(-0.3, (0.6, 1.5, 0.2), (-0.5, 1.2)))
    old = tmp_path / "1" / "model.onnx"
    old.parent.mkdir()
    write(build(stages, 3, Metadata(calibrator=PARAMETERS)), old)
    before = np.log(answered(old).astype(np.float64))
    path = publish_tempered(publish_tempered(old, tmp_path, 1.5, {}), tmp_path, 0.8, {})
    assert answered(path) == pytest.approx(softmax(before / 1.2), rel=1e-5)
    head = Head(path)
    assert head.temperature == pytest.approx(2.4)
    short = head.run({"logits": LOGITS}, graph_bits(("probabilities",), head.signature.family))
    assert short["probabilities"] == pytest.approx(softmax(before / 1.2), rel=1e-5)


def test_a_classifier_is_tempered_whole(tmp_path: Path) -> None:
    old = tmp_path / "1" / "model.onnx"
    old.parent.mkdir()
    write(attach(classifiers.linear(), "logits", Stages(2.0), Metadata(calibrator=PARAMETERS)), old)
    path = publish_tempered(old, tmp_path, 0.5, {})
    assert Head(path).temperature == 1.0


def test_without_a_factor_it_is_a_copy_with_another_story(tmp_path: Path) -> None:
    old = tmp_path / "1" / "model.onnx"
    old.parent.mkdir()
    write(build(Stages(2.0), 3, Metadata(calibrator=PARAMETERS)), old)
    path = publish_tempered(old, tmp_path, 1.0, {"refit": {"copy_of": "1"}})
    one, two = read(old), read(path)
    assert one[0].graph == two[0].graph
    assert two[1].calibrator == PARAMETERS
    assert two[1].refit == {"copy_of": "1"}


def test_what_is_not_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot be read"):
        read(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(HeadError, match="is not an ONNX model"):
        read(tmp_path / "text.onnx")
    foreign = heads_made.foreign(tmp_path / "1" / "model.onnx", props=Metadata().to_props())
    with pytest.raises(HeadError, match="has no default for the input temperature"):
        publish_tempered(foreign, tmp_path, 2.0, {})
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["1"]
