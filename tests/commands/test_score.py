"""`calibrant score`: what the service would answer, of whole files, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from service.engine.head import Head
from service.families.outputs import outputs_of
from tests import heads_made
from tests.conftest import ROOT, Running, serving
from tests.scoring.files import DIGITS, MODELS, NAMES, logits, read, save, score, table

EVERY = ("probabilities", "log_probabilities", "prediction", "confidence", "margin", "entropy", "logsumexp")
N_ASKED = 4000  # rows of a request


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of three classes with names."""
    return heads_made.head(tmp_path_factory.mktemp("heads") / "model.onnx", 1.7, labels=NAMES)


def same(found: Any, answered: Any) -> bool:
    """Whether numbers are the same to the bit; null in an answer is -inf."""
    numbers = np.array([-np.inf if x is None else x for row in answered for x in np.atleast_1d(row)], np.float32)
    return np.array(found, np.float32).tobytes() == numbers.tobytes()


def ask(running: Running, model: str, rows: Any, **options: Any) -> dict[str, list[Any]]:
    """The service's answers to many rows, requests joined."""
    found: dict[str, list[Any]] = {}
    for at in range(0, len(rows), N_ASKED):
        answer = running.predict({"logits": rows[at : at + N_ASKED].tolist(), **options}, model).json()
        for name, values in answer.items():
            for part, one in values.items() if isinstance(values, dict) else [("", values)]:
                if isinstance(one, list):
                    found.setdefault(f"{name} {part}".strip(), []).extend(one)
    return found


def test_a_hundred_thousand_rows_have_every_output_of_the_service_to_the_bit(tmp_path: Path) -> None:
    rows = logits(100_000, 10)
    save(tmp_path / "rows.parquet", table(rows, DIGITS, id=np.arange(len(rows))))
    options = ("--outputs", ",".join(EVERY), "--top-k", "3", "--alpha", "0.1", "--abstain-below", "0.5")
    assert score(tmp_path / "rows.parquet", tmp_path / "out.parquet", *options) == 0
    found = read(tmp_path / "out.parquet")
    with serving() as running:
        asked = {"outputs": EVERY, "top_k": 3, "alpha": 0.1, "abstain_below": 0.5}
        answered = ask(running, "digits", rows, **asked)
    assert found["id"] == list(range(len(rows)))
    for name in EVERY:
        assert found[name] == answered[name] if name == "prediction" else same(found[name], answered[name]), name
    assert None in found["prediction"]
    assert found["prediction_label"] == answered["labels"]
    for column, key in (("top", "top"), ("prediction_set", "prediction_set")):
        for part in ("classes", "labels"):
            name = f"{column}_{part}".removesuffix("_classes" if column == "prediction_set" else "")
            assert found[name] == answered[f"{key} {part}"], name
    assert same(np.concatenate(found["top_probabilities"]), answered["top probabilities"])


FAMILIES = ("sigmoid-affine-a", "sparsemax", "entmax15", "entmax-1.25", "ensemble-probabilities")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_what_the_service_answers(tmp_path: Path, family_models: Path, family: str) -> None:
    file = family_models / family / "1" / "model.onnx"
    signature = Head(file).signature
    outputs = outputs_of(signature.family, signature.averages)
    rows = logits(300 * 3, 4).reshape(300, 3, 4) if signature.averages else logits(300, 4)
    np.savez(tmp_path / "rows.npz", logits=rows, labels=np.arange(300))
    options = ("--outputs", ",".join(outputs), "--top-k", "2")
    assert score(tmp_path / "rows.npz", tmp_path / "out.parquet", *options, model=str(file)) == 0
    found = read(tmp_path / "out.parquet")
    with serving(models=family_models) as running:
        answered = ask(running, family, rows, outputs=outputs, top_k=2)
    for name in outputs:
        assert found[name] == answered[name] if name == "prediction" else same(found[name], answered[name]), name
    assert found["top_classes"] == answered["top classes"]
    assert found["labels"] == list(range(300))


def test_a_csv_and_a_parquet_say_the_same_to_the_bit(tmp_path: Path) -> None:
    rows = logits(5000, 10)
    others = {"id": [f"{i:05d}" for i in range(5000)], "note": ['a "b",\nc', ""] * 2500}
    outputs = ("--outputs", ",".join(EVERY), "--alpha", "0.1", "--top-k", "2", "--no-lists")
    for data in ("csv", "parquet"):
        save(tmp_path / f"rows.{data}", table(rows, DIGITS, **others))
        for output in ("csv", "parquet"):
            assert score(tmp_path / f"rows.{data}", tmp_path / f"{data}.{output}", *outputs) == 0
    expected = read(tmp_path / "parquet.parquet")
    assert read(tmp_path / "csv.parquet") == expected
    assert expected["id"] == others["id"]
    assert expected["note"] == others["note"]
    kinds = {name: pa.float32() for name in expected if "probability" in name or name in EVERY[3:]}
    kinds |= dict.fromkeys(("id", "note", "prediction_set", "prediction_set_labels"), pa.string())
    how = csv.ParseOptions(newlines_in_values=True), csv.ConvertOptions(column_types=kinds)
    for data in ("csv", "parquet"):
        found = csv.read_csv(tmp_path / f"{data}.csv", None, *how).to_pydict()
        for name, values in expected.items():
            assert found[name] == ([json.dumps(x).replace(", ", ",") for x in values] if "set" in name else values), (
                name
            )


def test_shuffled_columns_are_read_by_their_names(tmp_path: Path, head: Path) -> None:
    rows = logits(50)
    save(tmp_path / "a.parquet", table(rows, NAMES))
    save(tmp_path / "b.parquet", table(rows, NAMES).select(["eel", "cat", "dog"]))
    for name in "ab":
        assert score(tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv", model=str(head)) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_lists_of_logits_are_read_as_the_columns(tmp_path: Path, head: Path) -> None:
    rows = logits(50)
    save(tmp_path / "a.parquet", table(rows, NAMES))
    save(tmp_path / "b.parquet", pa.table({"logits": rows.tolist()}))
    for name in "ab":
        assert score(tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv", model=str(head)) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_missing_number_is_named_or_masks_its_class(
    tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("id,cat,dog,eel\nx,1,2,3\ny,1,,3\nz,1,nan,\n")
    np.savez(tmp_path / "rows.npz", logits=np.array([[1, 2, 3], [1, np.nan, 3], [1, np.nan, np.nan]]))
    save(tmp_path / "rows.parquet", pa.table({"cat": [1.0, 1, 1], "dog": [2.0, None, np.nan], "eel": [3.0, 3, None]}))
    for suffix, column in (("csv", "dog"), ("npz", "1"), ("parquet", "dog")):
        data = tmp_path / f"rows.{suffix}"
        assert score(data, tmp_path / "out.csv", model=str(head)) == 2
        sentence = f"rows.{suffix}, row 1, column {column}: the number is missing, or NaN; expected a logit, or"
        assert f"{sentence} --missing-is-masked" in capsys.readouterr().err
        assert score(data, tmp_path / f"{suffix}.parquet", "--missing-is-masked", model=str(head)) == 0
        p = read(tmp_path / f"{suffix}.parquet")["probabilities"]
        assert [[x > 0 for x in row] for row in p] == [[True] * 3, [True, False, True], [True, False, False]]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_score_that_is_killed_goes_on_and_is_whole_and_equal(tmp_path: Path, jobs: str) -> None:
    rows = logits(1_500_000, 10)
    np.savez(tmp_path / "rows.npz", logits=rows, id=np.arange(len(rows)))
    output = tmp_path / "out"
    options = ["--data", str(tmp_path / "rows.npz"), "--output", str(output), "--jobs", jobs, *MODELS]
    command = [sys.executable, "-m", "service", "score", "--model", "digits", *options]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    end = time.monotonic() + 60
    while not list(output.glob("part-*")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    while in_session(process.pid):
        assert time.monotonic() < end, "its processes did not end"
        time.sleep(0.01)
    kept = {part: part.stat().st_mtime_ns for part in output.glob("part-*")}
    assert 1 <= len(kept) < 3
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "rows had been written before" in again.stdout
    assert kept.items() <= {part: part.stat().st_mtime_ns for part in output.glob("part-*")}.items()
    assert not list(output.glob(".part*"))
    assert score(tmp_path / "rows.npz", tmp_path / "whole") == 0
    for part in sorted((tmp_path / "whole").glob("part-*")):
        assert part.read_bytes() == (output / part.name).read_bytes()
    assert len(list(output.glob("part-*"))) == 3


def in_session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_many_files_become_parts_in_their_order(tmp_path: Path, head: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    for i, place in enumerate(("a.parquet", "b/c.parquet", "z.parquet")):
        save(tmp_path / "in" / place, table(logits(10, seed=i), NAMES, id=np.arange(10 * i, 10 * i + 10)))
    (tmp_path / "in" / "_SUCCESS.csv").write_text("")
    for i, data in enumerate((tmp_path / "in", tmp_path / "in" / "**" / "*.parquet")):
        output = tmp_path / f"out-{i}"
        assert score(data, output, "--jobs", "2", model=str(head)) == 0
        assert read(output)["id"] == list(range(30))
        assert len(list(output.glob("part-*.parquet"))) == 3
        assert score(data, tmp_path / f"{output.name}.parquet", model=str(head)) == 0
        assert read(tmp_path / f"{output.name}.parquet") == read(output)


def test_a_folder_of_another_score_is_left_alone(
    tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path / "rows.parquet", table(logits(10), NAMES))
    output = tmp_path / "out"
    assert score(data, output, model=str(head)) == 0
    assert score(data, output, model=str(head)) == 0
    assert "0 rows in" in capsys.readouterr().out
    assert score(data, output, "--temperature", "2", model=str(head)) == 2
    assert "holds parts of another score, options changed; expected a new folder" in capsys.readouterr().err
    assert score(data, output, "--temperature", "2", "--overwrite", model=str(head)) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert score(data, tmp_path / "mine", model=str(head)) == 2
    assert "holds something else" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_replaced_unasked(
    tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path / "rows.parquet", table(logits(10), NAMES))
    output = tmp_path / "out.csv"
    for options, code in (((), 0), ((), 2), (("--overwrite",), 0)):
        assert score(data, output, *options, model=str(head)) == code
    assert "out.csv is there already; expected another --output, or --overwrite" in capsys.readouterr().err
    assert not (tmp_path / "out.csv.parts").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--outputs", "mood"), "outputs[0] is"),
        (("--alpha", "0.1"), "was not fitted with scores for prediction sets"),
        (("--group", "id"), "has one temperature for all; expected no group"),
        (("--temperature", "0"), "temperature is 0; expected a finite number above 0"),
        (("--top-k", "0"), "top_k"),
        (("--jobs", "0"), "--jobs is 0; expected 1 or more"),
        (("--logits", "cat,cow,eel"), "--logits: there is no column 'cow', found id, cat, dog, eel"),
        (("--logits", "cat,dog"), "has 2 logits a row (cat, dog, ...), the model has 3 classes"),
        (("--logits", "cat,eel,dog"), "the columns are cat, eel, dog, the classes cat, dog, eel: expected one order"),
        (("--outputs", "confidence", "--format", "csv"), "expected a name with .parquet or .csv, or a folder"),
        (("--prior", "nowhere.json"), "--prior: nowhere.json cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    tmp_path: Path, head: Path, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path / "rows.parquet", table(logits(10), NAMES, id=np.arange(10)))
    assert score(data, tmp_path / "out.parquet", *options, model=str(head)) in (2, 3)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()


def test_a_column_of_the_data_s_own_wants_a_prefix(
    tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path / "rows.parquet", table(logits(10), NAMES, confidence=np.zeros(10)))
    asked = ("--outputs", "confidence")
    assert score(data, tmp_path / "out.parquet", *asked, model=str(head)) == 2
    assert "the data have a column 'confidence' of their own; expected a --prefix" in capsys.readouterr().err
    assert score(data, tmp_path / "out.parquet", *asked, "--prefix", "new_", "--overwrite", model=str(head)) == 0
    assert list(read(tmp_path / "out.parquet")) == ["confidence", "new_confidence"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_number_that_is_none_ends_the_score_with_its_place(
    tmp_path: Path, head: Path, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = logits(20_000).astype(np.float64)
    rows[17_000, 1] = np.inf
    data = save(tmp_path / "rows.parquet", table(rows, NAMES), row_group_size=5000)
    assert score(data, tmp_path / "out.parquet", "--jobs", jobs, model=str(head)) == 2
    assert "rows.parquet, row 17000, column dog: the logit is inf; expected a number" in capsys.readouterr().err


def test_odd_rows_are_counted(tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = logits(10)
    rows[2:5] = -np.inf
    data = save(tmp_path / "rows.parquet", table(rows, NAMES))
    assert score(data, tmp_path / "out.parquet", "--outputs", "prediction", model=str(head)) == 0
    assert "warning: 3 rows: no class is left" in capsys.readouterr().err
    assert read(tmp_path / "out.parquet")["prediction"][2:5] == [None] * 3


def test_files_without_rows_say_so(tmp_path: Path, head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("id,cat,dog,eel\n")
    assert score(tmp_path / "rows.csv", tmp_path / "out.parquet", model=str(head)) == 2
    assert "there are no rows in rows.csv" in capsys.readouterr().err
    assert score(tmp_path / "nowhere*.csv", tmp_path / "out.parquet", model=str(head)) == 3
    assert "there is no file" in capsys.readouterr().err


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Of ten times the rows no more than 60 MB more is taken."""
    peaks = []
    for n in (100_000, 1_000_000):
        np.savez(tmp_path / f"{n}.npz", logits=logits(n, 10))
        code = (
            "import resource, sys; from service.cli import main; assert main(sys.argv[1:]) == 0; "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        options = ["score", "--model", "digits", "--data", tmp_path / f"{n}.npz", "--output", tmp_path / f"{n}"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, options), *MODELS],
            cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COVERAGE_PROCESS_START": ""},
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 60, peaks
