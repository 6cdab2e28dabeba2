"""From a file to a head: what is refused, with which sentence, and that nothing is waited for longer than allowed."""

import hashlib
import shutil
import time
from pathlib import Path

import pytest

from service.engine.loader import Loader, read_checksums
from service.engine.trial import Trials
from service.errors import CannotStart, HeadError
from tests.engine.hostile import FITTED, KINDS, SHIPPED, dropped


def loader(root: Path, *, timeout_s: float = 20.0, memory_mb: int = 1024, **options: object) -> Loader:
    """One with limits that suit a test."""
    trials = Trials(timeout_s=timeout_s, memory_mb=memory_mb, max_nodes=8192)
    settings = {"provider": "cpu", "intra_op_threads": 1, "max_file_mb": 2048, "trials": trials} | options
    return Loader(root, **settings)  # type: ignore[arg-type]


def place(root: Path) -> Path:
    path = root / "softmax/1/model.onnx"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_a_failure_with_a_sentence_within_its_limits(kind: str, tmp_path: Path) -> None:
    make, sentence = KINDS[kind]
    path = place(tmp_path)
    make(path)
    began = time.monotonic()
    with pytest.raises(HeadError, match=sentence) as raised:
        loader(tmp_path, timeout_s=5.0 if kind == "endless loop" else 30.0).load(path)
    assert str(raised.value).startswith(f"{path} ")
    assert len(str(raised.value)) <= 500
    assert str(raised.value).isprintable()
    assert time.monotonic() - began < 35


def test_a_good_file_passes_its_trial(tmp_path: Path) -> None:
    path = place(tmp_path)
    shutil.copy(SHIPPED, path)
    assert loader(tmp_path).load(path).signature.takes == "logits"


def test_a_dropout_outside_of_training_changes_nothing_and_is_taken(tmp_path: Path) -> None:
    path = place(tmp_path)
    dropped(path, training=False)
    assert loader(tmp_path).load(path).signature.takes == "logits"


def test_a_trial_is_of_the_content_that_was_read_whatever_the_file_has_become(tmp_path: Path) -> None:
    path, trials = place(tmp_path), Trials(timeout_s=20, memory_mb=1024, max_nodes=8192)
    path.write_bytes(b"another")
    trials.run(path, FITTED.read_bytes())
    shutil.copy(FITTED, path)
    with pytest.raises(HeadError, match="is not"):
        trials.run(path, b"another")


def test_what_was_tried_is_loaded_though_the_file_becomes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path)
    shutil.copy(SHIPPED, path)
    run = Trials.run

    def run_and_replace(trials: Trials, path: Path, content: bytes) -> None:
        run(trials, path, content)
        shutil.copy(FITTED, path)

    monkeypatch.setattr(Trials, "run", run_and_replace)
    assert loader(tmp_path).load(path).signature.classes is None


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    shutil.copy(SHIPPED, tmp_path / "..data")
    path = place(tmp_path)
    path.symlink_to(tmp_path / "..data/model.onnx")
    assert loader(tmp_path, trials=None).load(path).path == path


def test_only_what_the_checksums_list_is_served(tmp_path: Path) -> None:
    path, listed = place(tmp_path / "models"), tmp_path / "sums"
    shutil.copy(SHIPPED, path)
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    listed.write_text(f"{digest}  ./softmax/1/model.onnx\n")
    checksums = read_checksums(listed)
    assert loader(tmp_path / "models", trials=None, checksums=checksums).load(path).path == path
    with pytest.raises(HeadError, match=r"not listed in the checksums; expected a line for softmax/1/model\.onnx"):
        loader(tmp_path / "models", trials=None, checksums={}).load(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(HeadError, match="has another SHA-256 than the checksums list"):
        loader(tmp_path / "models", trials=None, checksums=checksums).load(path)


def test_a_file_that_may_not_be_read_is_not_taken_for_a_bad_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(SHIPPED, place(tmp_path)))

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        loader(tmp_path).load(path)


def test_checksums_that_are_none_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot be read"):
        read_checksums(tmp_path / "nowhere")
    with pytest.raises(CannotStart, match=r"cannot be read \(Is a directory\); expected a file as sha256sum writes it"):
        read_checksums(tmp_path)
    (tmp_path / "bytes").write_bytes(b"%064d  a\xff/1/model.onnx\n" % 0)
    with pytest.raises(CannotStart, match=r"bytes cannot be read \(it is not UTF-8\); expected .*--model-checksums"):
        read_checksums(tmp_path / "bytes")
    (tmp_path / "sums").write_text("hello\n")
    with pytest.raises(CannotStart, match=r"line 1 of .* is not one of sha256sum's"):
        read_checksums(tmp_path / "sums")
