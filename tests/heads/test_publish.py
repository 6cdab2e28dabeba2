"""Checked, then written whole or not at all."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from service.calibration.select import MOST_MATRIX_CLASSES
from service.errors import CannotStart, HeadError, UsedWrongly
from service.families import find_family
from service.heads.attach import attach
from service.heads.build import build, short_graph
from service.heads.entropy import EntropyTemperature
from service.heads.publish import publish, write
from service.heads.stages import Stages
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY, Metadata
from tests.heads import classifiers


def model(stages: Stages | None = None, classes: int | None = None) -> ModelProto:
    """A head."""
    return build(stages or Stages(), classes, Metadata())


def with_short_graph(whole: ModelProto) -> ModelProto:
    """The head, as a file holds it."""
    short = base64.b64encode(short_graph(whole).SerializeToString(deterministic=True)).decode()
    whole.metadata_props.append(onnx.StringStringEntryProto(key=SHORT_KEY, value=short))
    return whole


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    """The same model with its short graph, and nothing left beside it."""
    path = write(model(Stages(1.7)), tmp_path / "head.onnx")
    assert onnx.load(path) == with_short_graph(model(Stages(1.7)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.onnx"]


def test_the_same_head_is_the_same_bytes(tmp_path: Path) -> None:
    """A file can be compared by its checksum."""
    one, two = (write(model(Stages(1.7), 3), tmp_path / name) for name in ("one.onnx", "two.onnx"))
    assert one.read_bytes() == two.read_bytes()


def test_a_head_that_is_written_again_is_the_same_bytes(tmp_path: Path) -> None:
    """Its short graph comes in the place of the one that it had."""
    one = write(model(Stages(1.7), 3), tmp_path / "one.onnx")
    assert write(onnx.load(one), tmp_path / "two.onnx").read_bytes() == one.read_bytes()
    changed = onnx.load(one)
    changed.metadata_props[1].value = "of another head"
    assert write(changed, tmp_path / "three.onnx").read_bytes() == one.read_bytes()


def test_a_short_graph_is_stored_where_it_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters stand in the file twice; a head that is written again without one keeps none."""
    path = write(model(Stages(1.7, np.zeros(3)), 3), tmp_path / "head.onnx")
    assert [prop.key for prop in onnx.load(path).metadata_props] == ["calibrant", SHORT_KEY]
    monkeypatch.setattr("service.heads.publish.MOST_SHORT", len(onnx.load(path).metadata_props[1].value) - 1)
    write(onnx.load(path), path)
    assert [prop.key for prop in onnx.load(path).metadata_props] == ["calibrant"]


@pytest.mark.parametrize("family", ["sigmoid", "sparsemax"])
def test_a_graph_without_logsumexp_is_stored_where_softmax_is_not_computed(tmp_path: Path, family: str) -> None:
    """It comes in the place of the one that it had."""
    path = write(model(Stages(family=find_family(family)), 3), tmp_path / "head.onnx")
    keys = ["calibrant", SHORT_KEY, NO_LOGSUMEXP_KEY]
    assert [prop.key for prop in onnx.load(path).metadata_props] == keys
    assert write(onnx.load(path), tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["matrix", "vocabulary"])
def test_the_largest_heads_of_today_have_a_short_graph(tmp_path: Path, kind: str) -> None:
    """A matrix as wide as one is fitted, with all that can stand beside it, and a bias for a language model."""
    k = {"matrix": MOST_MATRIX_CLASSES, "vocabulary": 250_000}[kind]
    bias, line = np.zeros(k), EntropyTemperature(0.1, 0.2, -1.0, 2.0)
    rich = Stages(1.0, bias, matrix=np.eye(k), log_input=1.3, entropy=line, laplace=0.01) if kind == "matrix" else None
    path = write(model(rich or Stages(1.7, bias), k), tmp_path / "head.onnx")
    assert [prop.key for prop in onnx.load(path).metadata_props] == ["calibrant", SHORT_KEY]


def test_behind_a_classifier_there_is_no_short_graph(tmp_path: Path) -> None:
    """It would hold the classifier a second time; one that the classifier brings is dropped."""
    classifier = classifiers.linear()
    classifier.metadata_props.append(onnx.StringStringEntryProto(key=SHORT_KEY, value="of another head"))
    path = write(attach(classifier, "logits", Stages(), Metadata()), tmp_path / "head.onnx")
    assert [prop.key for prop in onnx.load(path).metadata_props] == ["calibrant"]


@pytest.mark.parametrize("classes", [None, 1, 2, 7, 10])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 40.0])
def test_every_head_that_is_built_passes_its_check(tmp_path: Path, classes: int | None, temperature: float) -> None:
    """Also with a bias, where the number of classes is known."""
    biases = (None,) if classes is None else (None, np.linspace(-2, 2, classes))
    for bias in biases:
        write(model(Stages(temperature, bias), classes), tmp_path / "head.onnx")


@pytest.mark.parametrize(
    ("op", "instead"),
    [("Exp", "Sigmoid"), ("ReduceMax", "ReduceMin"), ("Sub", "Add"), ("ReduceLogSum", "ReduceSum")],
)
def test_a_head_that_computes_something_else_is_not_written(tmp_path: Path, op: str, instead: str) -> None:
    """The old file stays."""
    path = write(model(), tmp_path / "head.onnx")
    before = path.read_bytes()
    wrong = model()
    next(node for node in wrong.graph.node if node.op_type == op).op_type = instead
    with pytest.raises(HeadError, match="further than"):
        write(wrong, path)
    assert path.read_bytes() == before


def test_a_model_that_is_no_valid_onnx_is_not_written(tmp_path: Path) -> None:
    """One sentence, without the checker's stack."""
    wrong = model()
    wrong.graph.node[3].input[0] = "nowhere"
    with pytest.raises(HeadError, match="not valid ONNX") as raised:
        write(wrong, tmp_path / "head.onnx")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """`write` makes no folders."""
    with pytest.raises(CannotStart, match="cannot be written: No such file"):
        write(model(), tmp_path / "nowhere" / "head.onnx")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """The target is a folder, so that the rename fails."""
    (tmp_path / "head.onnx").mkdir()
    with pytest.raises(CannotStart, match="cannot be written"):
        write(model(), tmp_path / "head.onnx")
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.onnx"]


def test_versions_count_up_from_the_highest(tmp_path: Path) -> None:
    """Gaps stay gaps, and what is no version does not count."""
    assert publish(model(), tmp_path, "mine") == tmp_path / "mine" / "1" / "model.onnx"
    for other in ("7", "08", "old", "9.tmp"):
        (tmp_path / "mine" / other).mkdir()
    assert publish(model(), tmp_path, "mine") == tmp_path / "mine" / "8" / "model.onnx"


def test_those_who_publish_at_once_each_get_a_version(tmp_path: Path) -> None:
    """Making the folder claims the number."""
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: publish(model(), tmp_path, "mine"), range(16)))
    assert sorted(int(path.parent.name) for path in paths) == list(range(1, 17))
    assert all(onnx.load(path) == with_short_graph(model()) for path in paths)


def test_a_head_that_fails_its_check_claims_no_version(tmp_path: Path) -> None:
    """No empty folder is left for the repository to stumble over."""
    wrong = model()
    wrong.graph.node[-1].input[0] = "nowhere"
    with pytest.raises(HeadError):
        publish(wrong, tmp_path, "mine")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_leaves_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claimed number is given back."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotStart, match="cannot be written: No space left"):
        publish(model(), tmp_path, "mine")
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "ä", "a b", "a\n"])
def test_a_name_that_is_no_folder_name_everywhere_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is written outside of the models folder."""
    with pytest.raises(UsedWrongly, match="is not a model name; expected"):
        publish(model(), tmp_path, name)


def test_a_file_can_be_read_by_others(tmp_path: Path) -> None:
    """A server under another user reads it; the umask decides, not a private temporary file."""
    (tmp_path / "plain").touch()
    mode = write(model(), tmp_path / "head.onnx").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode
