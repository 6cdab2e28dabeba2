"""Parts of an output: whole or not there, of the sizes that the plan says, and joined."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from service.errors import CannotStart, DataError, UsedWrongly
from service.scoring.parts import Folder, Sizes, regroup, write_parts


def batches(*lengths: int) -> Iterator[Any]:
    """Batches of so many rows, numbered through."""
    start = 0
    for n in lengths:
        yield pa.RecordBatch.from_pydict({"i": list(range(start, start + n)), "text": ['a "b"\n'] * n})
        start += n


@pytest.mark.parametrize("lengths", [(25,), (3, 7, 15), (10, 10, 5), (1,) * 25, (0, 25, 0)])
def test_rows_are_regrouped_whatever_they_come_in(lengths: tuple[int, ...]) -> None:
    tables = list(regroup(batches(*lengths), 10))
    assert [len(table) for table in tables] == [10, 10, 5]
    assert pa.concat_tables(tables).column("i").to_pylist() == list(range(25))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("n", [25, 40])
def test_parts_join_to_one_file(tmp_path: Path, form: Any, n: int) -> None:
    folder = Folder(tmp_path / "parts", form, {}, overwrite=False)
    heard: list[int] = []
    assert write_parts(batches(n), Sizes(5, 10), lambda i: folder.part(0, i), heard.append) == n
    assert heard == [5] * (n // 5)
    assert len(folder.parts()) == -(-n // 10)
    assert folder.n_finished(0, 0) == len(folder.parts())
    assert folder.n_finished(0, 1) == len(folder.parts()) - 1
    folder.join(tmp_path / f"all.{form}")
    whole = tmp_path / f"all.{form}"
    parse = csv.ParseOptions(newlines_in_values=True)
    table = csv.read_csv(whole, parse_options=parse) if form == "csv" else parquet.read_table(whole)
    assert table.to_pydict() == {"i": list(range(n)), "text": ['a "b"\n'] * n}
    assert list(tmp_path.iterdir()) == [whole]


def test_a_part_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "parts", "parquet", {"data": 1}, overwrite=False)

    def broken() -> Iterator[Any]:
        yield from batches(15)
        raise DataError("row 15 is wrong")

    with pytest.raises(DataError, match="row 15"):
        write_parts(broken(), Sizes(5, 10), lambda i: folder.part(0, i), lambda _: None)
    assert [part.name for part in folder.parts()] == ["part-00000-00000.parquet"]
    Folder(tmp_path / "parts", "parquet", {"data": 1}, overwrite=False)
    assert not list(folder.path.glob(".part*"))


def test_csv_parts_of_other_columns_do_not_join(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "parts", "csv", {}, overwrite=False)
    folder.part(0, 0).write_text('"a"\n1\n')
    folder.part(1, 0).write_text('"b"\n1\n')
    with pytest.raises(DataError, match=r"part-00001-00000\.csv has other columns than part-00000-00000\.csv"):
        folder.join(tmp_path / "all.csv")


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="cannot be written: Not a directory"):
        Folder(tmp_path / "file" / "parts", "csv", {}, overwrite=False)


def test_a_manifest_that_does_not_read_is_another_score_s(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "parts", "csv", {"data": 1}, overwrite=False)
    folder.part(0, 0).write_text('"a"\n1\n')
    (folder.path / ".calibrant.json").write_text("{")
    with pytest.raises(UsedWrongly, match="holds parts of another score"):
        Folder(tmp_path / "parts", "csv", {"data": 1}, overwrite=False)
    Folder(tmp_path / "parts", "csv", {"data": 1}, overwrite=True)
    assert folder.parts() == []


def test_rows_whose_columns_change_are_refused(tmp_path: Path) -> None:
    def changing() -> Iterator[Any]:
        yield pa.RecordBatch.from_pydict({"i": [1]})
        yield pa.RecordBatch.from_pydict({"i": ["x"]})

    with pytest.raises(DataError, match="the columns change within the file"):
        write_parts(changing(), Sizes(5, 10), lambda i: tmp_path / f"{i}.parquet", lambda _: None)


def test_a_disk_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.scoring.parts.open_writer", full)
    with pytest.raises(CannotStart, match="cannot be written: No space left on device"):
        write_parts(batches(5), Sizes(5, 10), lambda i: tmp_path / f"{i}.csv", lambda _: None)


def test_wide_rows_make_smaller_parts() -> None:
    assert Sizes.of(10) == (65536, 524288)
    assert Sizes.of(250_000) == (33, 264)
