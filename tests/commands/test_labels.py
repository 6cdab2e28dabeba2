"""`calibrant live label FILE`: the labels of a table, sent to a running service."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from service.cli import main
from service.commands import labels
from service.commands.labels import read_labels
from service.errors import DataError
from tests.process.test_live import published, until
from tests.processes import Process, serve


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with answers `a0` to `a4`, of three rows each."""
    folder = tmp_path_factory.mktemp("labels") / "j"
    with serve("--journal", folder, "--api-keys", "secret") as process:
        process.client.headers["authorization"] = "Bearer secret"
        for i in range(5):
            body = {"logits": [[0.0] * 9 + [5]] * 3, "id": f"a{i}"}
            assert process.client.post("/v1/models/digits/predict", json=body).status_code == 200
        until(lambda: published(folder).get("models", {}).get("digits/1", {}).get("predictions") == 15)
        yield process


def send(process: Process, path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CALIBRANT_API_KEY", "secret")
        return main(["live", "label", str(path), "--url", process.url])


def test_a_key_on_the_command_line_is_warned_of_without_a_word_of_it(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,row,label\na4,0,9\n")
    assert main(["live", "label", str(table), "--url", process.url, "--api-key", "secret"]) == 0
    said = capsys.readouterr().err
    assert "--api-key is on the command line, which everybody on this machine can read" in said
    assert said.endswith("expected it in CALIBRANT_API_KEY\n")
    assert "secret" not in said


def test_a_csv_and_a_parquet_are_sent_and_sent_again(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "AT_ONCE", 4)
    table = tmp_path / "labels.csv"
    rows = [f"a{i},{row},9" for i in range(5) for row in range(2)]
    table.write_text("\n".join(["id,row,label", *rows, "nobody,0,1", "a0,7,1"]))
    for _ in range(2):
        assert send(process, table) == 1  # one can never count
        said = capsys.readouterr()
        assert said.out == "10 labels accepted, 1 pending, 1 unknown, 0 conflicts\n"
        assert said.err.splitlines() == [
            "a0, row 7: the request has 3 rows; expected a row below that",
            "nobody, row 0: no answer of this id was read yet, the label waits for one",
        ]
    moment = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
    columns = {"id": ["a0", "a1"], "row": [2, 2], "label": ["7", "9"], "at": [moment, None]}
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    assert send(process, tmp_path / "labels.parquet") == 0
    assert capsys.readouterr().out == "2 labels accepted, 0 pending, 0 unknown, 0 conflicts\n"


def test_a_contradiction_is_told_and_is_the_exit_code(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label\na3,9\na3,8\n")
    assert send(process, table) == 1
    said = capsys.readouterr()
    assert said.out == "1 label accepted, 0 pending, 0 unknown, 1 conflict\n"
    assert said.err == "a3, row 0: it has the label 9, which is kept\n"


def test_of_many_that_are_unknown_the_first_are_told(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,row,label\n" + "".join(f"a0,{row},1\n" for row in range(3, 20)))
    assert send(process, table) == 1
    said = capsys.readouterr()
    assert said.out == "0 labels accepted, 0 pending, 17 unknown, 0 conflicts\n"
    assert [line.partition(":")[0] for line in said.err.splitlines()] == [f"a0, row {row}" for row in range(3, 13)]


def test_those_that_never_count_are_told_before_those_that_wait(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,row,label\n" + "".join(f"later{i},0,1\n" for i in range(12)) + "a0,7,1\na1,0,8\na1,0,9\n")
    assert send(process, table) == 1
    said = capsys.readouterr()
    assert [line.partition(",")[0] for line in said.err.splitlines()] == ["a0", "a1", *(f"later{i}" for i in range(8))]


def test_a_label_that_replaces_is_taken(process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label,replace\na4,9,\na4,8,true\n")
    assert send(process, table) == 0
    assert capsys.readouterr().out == "2 labels accepted, 0 pending, 0 unknown, 0 conflicts\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,row\na,1\n", "labels.csv has no column label; expected id and label"),
        (
            "id,label,rows\na,1,2\n",
            "labels.csv has an unknown column rows; expected id and label, and row, at and replace if any",
        ),
        ("id,label\na,\n", "row 0, column label: the cell is empty; expected a value"),
        ("id,label\na,1\n,2\n", "row 1, column id: the cell is empty; expected a value"),
        ("id,label,row\na,1,one\n", "row 0, column row: 'one'; expected a whole number from 0 on"),
        ("id,label,row\na,1,-1\n", "row 0, column row: '-1'; expected a whole number from 0 on"),
        ("id,label,at\na,1,today\n", "row 0, column at: 'today'; expected seconds since 1970"),
        ("id,label,replace\na,1,perhaps\n", "row 0, column replace: 'perhaps'; expected true or false"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_its_row(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        list(read_labels(tmp_path / "labels.csv"))
    assert sentence in str(caught.value)


def test_cells_become_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label,row,at,replace\na,3,,1.5,1\nb,cat,2,,\n")
    expected: list[dict[str, Any]] = [
        {"id": "a", "label": 3, "at": 1.5, "replace": True},
        {"id": "b", "label": "cat", "row": 2},
    ]
    assert list(read_labels(tmp_path / "labels.csv")) == [expected]


def test_whole_numbers_that_pandas_keeps_as_floats_are_indices_and_rows(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "label": [3.0, 4.5], "row": [2.0, None], "__index_level_0__": [4, 7]}
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    expected = [{"id": "a", "label": 3, "row": 2}, {"id": "b", "label": "4.5"}]
    assert list(read_labels(tmp_path / "labels.parquet")) == [expected]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["label"], 2, "the following arguments are required: FILE; see `calibrant live label --help`"),
        (
            ["label", "{table}", "--url", "http://127.0.0.1:1"],
            1,
            "the service at http://127.0.0.1:1/v1/labels does not answer: Connection refused; expected calibrant serve",
        ),
        (["label", "{table}", "--url", "127.0.0.1:8713"], 2, "--url is '127.0.0.1:8713'; expected http:// or https://"),
        (["--jurnal", "j"], 2, "unrecognized arguments: --jurnal"),
        (["lable", "{table}"], 2, "'lable' is not something to do; expected label, status, propose"),
        ([], 2, "there is no journal; expected --journal FOLDER (CALIBRANT_JOURNAL), as serve has it"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label\na,1\n")
    assert main(["live", *(argument.format(table=table) for argument in arguments)]) == code
    assert sentence in capsys.readouterr().err


def test_a_refusal_is_told_in_the_words_of_the_service(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label\na,1\n")
    assert main(["live", "label", str(table), "--url", process.url]) == 1
    assert "the service refuses the labels: the key is missing or wrong" in capsys.readouterr().err
