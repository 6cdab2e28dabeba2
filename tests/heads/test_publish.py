"""Checked, then written whole or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from service.errors import CannotStart, HeadError, UsedWrongly
from service.heads.publish import publish, write
from service.heads.softmax import build
from service.heads.stages import Stages
from service.metadata import Metadata


def model(stages: Stages | None = None, classes: int | None = None) -> ModelProto:
    """A head."""
    return build(stages or Stages(), classes, Metadata())


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    """The same model, and nothing left beside it."""
    path = write(model(Stages(1.7)), tmp_path / "head.onnx")
    assert onnx.load(path) == model(Stages(1.7))
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.onnx"]


def test_the_same_head_is_the_same_bytes(tmp_path: Path) -> None:
    """A file can be compared by its checksum."""
    one, two = (write(model(Stages(1.7), 3), tmp_path / name) for name in ("one.onnx", "two.onnx"))
    assert one.read_bytes() == two.read_bytes()


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
    assert all(onnx.load(path) == model() for path in paths)


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
