"""Tables in pieces, the same of a .csv and of a .parquet."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from service.datasets.tables import Parquet, open_table
from service.errors import CannotStart, DataError


@pytest.fixture(params=[".csv", ".parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A table of 25 rows in three columns."""
    path = tmp_path / f"t{request.param}"
    if request.param == ".csv":
        path.write_text("a,b,c\n" + "".join(f'{i},"x\n{i}",{-i}\n' for i in range(25)))
    else:
        rows = {"a": [str(i) for i in range(25)], "b": [f"x\n{i}" for i in range(25)], "c": list(range(0, -25, -1))}
        parquet.write_table(pa.table(rows), path, row_group_size=10)
    return path


@pytest.mark.parametrize("start", [0, 1, 10, 13, 24, 25, 30])
def test_pieces_hold_all_rows_from_where_they_begin(path: Path, start: int) -> None:
    pieces = list(open_table(path).pieces(4, ("b", "a"), start))
    assert all(1 <= len(piece) <= 4 for piece in pieces)
    assert [row["a"] for piece in pieces for row in piece.to_pylist()] == [str(i) for i in range(start, 25)]
    assert all(piece.schema.names == ["b", "a"] for piece in pieces)
    assert [row["b"] for piece in pieces for row in piece.to_pylist()] == [f"x\n{i}" for i in range(start, 25)]


def test_row_groups_are_read_by_themselves(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": range(25)}), tmp_path / "t.parquet", row_group_size=10)
    table = open_table(tmp_path / "t.parquet")
    assert isinstance(table, Parquet)
    assert table.group_rows() == [10, 10, 5]
    found = [x for piece in table.pieces(4, None, 3, range(1, 3)) for x in piece.column("a").to_pylist()]
    assert found == list(range(13, 25))


def test_a_cell_of_a_csv_is_the_text_that_stands_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\n007,NA\n\n 1.50 ,\n")
    rows = [row for piece in open_table(tmp_path / "t.csv").pieces(9) for row in piece.to_pylist()]
    assert rows == [{"a": "007", "b": "NA"}, {"a": " 1.50 ", "b": ""}]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"a,b\n1,2\n1\n", "row 1: 1 cells, the header has 2"),
        ("t.csv", b"a,b,a\n1,2,3\n", "t.csv has the column 'a' twice; expected each name once"),
        ("t.csv", b"a,b\n" + b"1,2\n" * 9999 + b"1,\xff\n", "t.csv does not read as .csv: .*invalid UTF8"),
        ("t.csv", b"\xff\xfea\n1\n", "t.csv is not in UTF-8"),
        ("t.parquet", b"PAR1", "t.parquet does not read as .parquet"),
        ("t.xlsx", b"PK", "t.xlsx: expected a file .csv or .parquet"),
    ],
)
def test_what_is_no_table_says_why(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        list(open_table(tmp_path / name).pieces(9))


def test_a_row_of_another_length_is_named_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 1_000_000 + "1\n")
    with pytest.raises(DataError, match="row 1000000: 1 cells") as error:
        list(open_table(tmp_path / "t.csv").pieces(10_000))
    assert error.value.row == 1_000_000


def test_a_damaged_parquet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": [float(i) for i in range(1000)]}), path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet does not read as \.parquet"):
        list(open_table(path).pieces(100))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"there is no file .*t\.csv"):
        open_table(tmp_path / "t.csv")


def test_a_csv_of_a_header_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert list(open_table(tmp_path / "t.csv").pieces(10)) == []
