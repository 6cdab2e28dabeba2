"""Files as blocks of rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.engine.signature import Signature
from service.errors import CannotStart, DataError
from service.scoring.options import Options
from service.scoring.sources import Source, open_source
from tests.scoring.files import NAMES, logits, save, table

THREE = Signature("stub", "1", classes=3, labels=NAMES)
ANY = Signature("stub", "1")


def source(path: Path, model: Signature = THREE, **options: Any) -> Source:
    return open_source(path, model, Options(Path("model.onnx"), **options))


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_a_span_begins_anywhere(tmp_path: Path, suffix: str) -> None:
    rows = logits(40_000)
    path = tmp_path / f"rows{suffix}"
    if suffix == ".npz":
        np.savez(path, logits=rows, id=np.arange(40_000))
    else:
        save(path, table(rows, NAMES, id=np.arange(40_000)), **({"row_group_size": 9000} if suffix != ".csv" else {}))
    found = source(path)
    spans = found.spans(15_000)
    for start in (0, 1, 9000, 12_345):
        at = 0
        for span in spans:
            n = found.span_rows(span) or 40_000
            blocks = list(found.blocks(span, start))
            assert sum(len(block.inputs["logits"]) for block in blocks) == max(0, n - start)
            for block in blocks:
                ids = np.array(block.others["id"].to_pylist()).astype(int)
                assert ids.tolist() == list(range(block.start, block.start + len(ids)))
                assert np.array_equal(block.inputs["logits"].astype(np.float32), rows[ids])
            assert not blocks or blocks[0].start == at + start
            at += n
        assert at == 40_000
    assert len(spans) == (1 if suffix == ".csv" else 3)


def test_groups_and_masks_come_along(tmp_path: Path) -> None:
    rows, mask = logits(4), np.eye(4, 3) == 0
    np.savez(tmp_path / "a.npz", logits=rows, mask=mask, tenant=np.array([1, 1, 2, 2]))
    save(tmp_path / "a.parquet", pa.table({"logits": rows.tolist(), "mask": mask.tolist(), "tenant": [1, 1, 2, 2]}))
    for suffix in ("npz", "parquet"):
        found = source(tmp_path / f"a.{suffix}", group="tenant")
        (block,) = found.blocks(found.spans(10)[0], 0)
        assert block.groups == ["1", "1", "2", "2"]
        assert block.mask is not None
        assert np.array_equal(block.mask, mask)
        assert list(block.others) == ["tenant"]


def test_a_mask_for_all_rows_is_every_row_s(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=logits(4), mask=np.array([True, False, True]))
    found = source(tmp_path / "a.npz")
    (block,) = found.blocks(range(1, 3), 0)
    assert block.mask is not None
    assert block.mask.tolist() == [[True, False, True]] * 2


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        ({"scores": np.eye(3)}, {}, "has no array 'logits', found scores; expected --logits NAME"),
        ({"logits": np.zeros(3)}, {}, r"logits are float64 \[3\]; expected floats \[rows, classes\]"),
        ({"logits": np.eye(3)}, {"group": "tenant"}, "there is no array 'tenant' of 3 values, found logits"),
        ({"logits": np.eye(4)}, {}, r"a\.npz has 4 logits a row \(0, 1, 2, 3, \.\.\.\), the model has 3 classes"),
        ({"logits": np.eye(3), "mask": np.eye(2) > 0}, {}, "the mask has the shape"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(
    tmp_path: Path, arrays: Any, options: dict[str, Any], sentence: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=sentence):
        source(tmp_path / "a.npz", **options)


def test_columns_that_could_be_either_are_refused_for_a_head_without_names(tmp_path: Path) -> None:
    path = save(tmp_path / "rows.csv", table(logits(10), NAMES, fold=[1, 2] * 5))
    with pytest.raises(DataError, match="the column 'fold' could be a logit or not"):
        source(path, ANY)
    assert source(path, ANY, logits="cat,dog,eel").columns == NAMES
    with pytest.raises(DataError, match="there is no column 'tenant', found fold, cat"):
        source(path, ANY, group="tenant", logits="cat,dog,eel")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("a.npz", "a.csv"):
        with pytest.raises(CannotStart, match="there is no file"):
            source(tmp_path / name)
