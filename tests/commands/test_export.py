"""`calibrant export`, from the command line to the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.cli import main
from service.heads.reading import read_stages
from service.metadata import Metadata
from tests.heads import classifiers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*options: object) -> int:
    """Run the command with these options."""
    return main(["export", *map(str, options)])


def story(path: Path | str) -> Metadata:
    """What the file says of itself."""
    return Metadata.from_props({prop.key: prop.value for prop in onnx.load(path).metadata_props})


def test_a_name_gets_the_next_version_in_the_models_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one line says what was written."""
    assert export("--name", "mine") == 0
    assert export("--name", "mine", "--models", "models", "--temperature", "1.7") == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote models/mine/1/model.onnx: softmax, any number of classes, temperature 1",
        "wrote models/mine/2/model.onnx: softmax, any number of classes, temperature 1.7",
    ]
    assert read_stages(onnx.load(folder / "models/mine/2/model.onnx")).temperature == 1.7


def test_a_file_can_be_named_instead(folder: Path) -> None:
    """Nothing else is made."""
    assert export("--to", "head.onnx", "--classes", "10") == 0
    assert [entry.name for entry in folder.iterdir()] == ["head.onnx"]
    assert story("head.onnx").classes == 10


@pytest.mark.parametrize(
    ("options", "method"),
    [([], "none"), (["--temperature", "2"], "temperature"), (["--bias", "bias.txt"], "bias")],
    ids=str,
)
def test_the_file_tells_how_it_calibrates(folder: Path, options: list[str], method: str) -> None:
    """The method, the temperature, and when it was made."""
    (folder / "bias.txt").write_text("0.5, -1\n2e-1\n")
    assert export("--to", "head.onnx", *options) == 0
    told = story("head.onnx")
    assert told.calibrator["method"] == method
    assert told.created is not None
    assert told.created.endswith("+00:00")
    assert told.masks_first == (method != "bias")


def test_labels_come_from_a_file_one_a_line(folder: Path) -> None:
    """Windows line ends and a byte order mark do no harm."""
    (folder / "labels.txt").write_bytes("\ufeffcat\r\ndög\r\n10\r\n".encode())
    assert export("--to", "head.onnx", "--classes", "labels.txt") == 0
    assert (story("head.onnx").labels, story("head.onnx").classes) == (("cat", "dög", "10"), 3)


@pytest.mark.parametrize("name", ["bias.npy", "bias.txt"])
def test_a_bias_comes_from_numpy_or_from_text(folder: Path, name: str) -> None:
    """One number for each class; it tells the number of classes too."""
    bias = np.array([0.1, -2.0, 3.0])
    if name.endswith(".npy"):
        np.save(name, bias)
    else:
        (folder / name).write_text("0.1\n-2\n3\n")
    assert export("--to", "head.onnx", "--bias", name) == 0
    assert np.all(read_stages(onnx.load("head.onnx")).bias == bias)
    assert story("head.onnx").classes == 3


def test_a_head_goes_onto_a_classifier(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its number of classes is the classifier's."""
    onnx.save(classifiers.linear(), folder / "classifier.onnx")
    assert export("--name", "mine", "--onto", "classifier.onnx", "--output", "logits") == 0
    assert "softmax behind a classifier, 3 classes" in capsys.readouterr().out
    assert story("models/mine/1/model.onnx").takes == "inputs"


def test_the_same_options_give_the_same_graph(folder: Path) -> None:
    """Only the moment differs."""
    files = []
    for name in ("one.onnx", "two.onnx"):
        assert export("--to", name, "--classes", "3", "--temperature", "1.5") == 0
        files.append(onnx.load(folder / name))
    assert files[0].graph == files[1].graph


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--temperature", "0"], 2, "the temperature is 0.0; expected a finite number > 0"),
        (["--temperature", "nan"], 2, "expected a finite number > 0"),
        (["--classes", "0"], 2, "--classes is 0; expected 1 or more"),
        (["--classes", "none.txt"], 3, "--classes: none.txt cannot be read: No such file"),
        (["--classes", "empty.txt"], 2, "empty.txt is empty; expected one label a line"),
        (["--classes", "twice.txt"], 2, "line 3 of twice.txt repeats the label 'a'"),
        (["--classes", "gap.txt"], 2, "line 2 of gap.txt is empty"),
        (["--classes", "latin.txt"], 2, "latin.txt is not text in UTF-8"),
        (["--bias", "none.npy"], 3, "--bias: none.npy cannot be read: No such file"),
        (["--bias", "none.txt"], 3, "--bias: none.txt cannot be read: No such file"),
        (["--bias", "twice.txt"], 2, "twice.txt does not hold one number for each class"),
        (["--bias", "bad.npy"], 2, "bad.npy does not hold one number for each class"),
        (["--bias", "pickle.npy"], 2, "pickle.npy does not hold one number for each class"),
        (["--bias", "empty.txt"], 2, "expected one finite number for each class"),
        (
            ["--bias", "bias.txt", "--classes", "3"],
            2,
            "there are 2 numbers in the bias; expected one for each of the 3",
        ),
        (["--output", "logits"], 2, "--output is about a classifier; expected --onto FILE beside it"),
        (["--inputs", "rows.npz"], 2, "--inputs is about a classifier; expected --onto FILE beside it"),
        (["--from-probabilities"], 2, "--from-probabilities is about a classifier; expected --onto FILE beside it"),
        (["--onto", "none.onnx", "--output", "logits"], 3, "none.onnx cannot be read: No such file"),
        (["--onto", "twice.txt", "--output", "logits"], 3, "twice.txt is not an ONNX model"),
        (["--onto", "classifier.onnx", "--output", "y"], 2, "has no output y, it has: logits"),
        (
            ["--onto", "classifier.onnx", "--output", "logits", "--bias", "bias.txt"],
            2,
            "has 3 classes; expected 2",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_an_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, sentence: str
) -> None:
    """What was wrong and what was expected; nothing is written."""
    onnx.save(classifiers.linear(), folder / "classifier.onnx")
    for name, text in (("empty", ""), ("twice", "a\nb\na\n"), ("gap", "a\n\nb\n"), ("bias", "1 2")):
        (folder / f"{name}.txt").write_text(text)
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    (folder / "bad.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "pickle.npy", np.array([{}], object), allow_pickle=True)
    assert export("--name", "mine", *options) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("calibrant export: ")
    assert said.count("\n") == 1
    assert not (folder / "models").exists()


@pytest.mark.parametrize("options", [[], ["--name", "a", "--to", "b"], ["--name", "a", "--temperature", "warm"]])
def test_options_that_do_not_read_end_with_one_sentence(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and where to read on."""
    assert export(*options) == 2
    said = capsys.readouterr().err
    assert said.startswith("calibrant export: ")
    assert said.endswith("; see `calibrant export --help`\n")
    assert said.count("\n") == 1


def test_a_classifier_that_takes_one_number_of_rows_is_refused_before_it_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could not be served, and the next start would stop at it."""
    onnx.save(classifiers.linear(n=1), folder / "classifier.onnx")
    assert export("--name", "mine", "--onto", "classifier.onnx", "--output", "logits") == 3
    assert "batch dimension fixed at 1: export the classifier again" in capsys.readouterr().err
    assert not (folder / "models" / "mine").exists()


@pytest.mark.usefixtures("folder")
def test_a_missing_onnx_is_said_with_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serving does not need it."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export("--name", "mine") == 3
    assert "pip install 'calibrant[calibration]'" in capsys.readouterr().err


def test_the_help_needs_no_onnx() -> None:
    """It is imported when a head is built, not before."""
    code = "import sys; sys.modules['onnx'] = None; from service.cli import main; main(['export', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--onto" in done.stdout


def test_the_shipped_softmax_is_what_the_command_makes(folder: Path) -> None:
    """Any number of classes, T = 1; only the moment differs."""
    shipped = onnx.load(Path(__file__).parents[2] / "models/softmax/1/model.onnx")
    assert export("--name", "softmax") == 0
    assert onnx.load(folder / "models/softmax/1/model.onnx").graph == shipped.graph
