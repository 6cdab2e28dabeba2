"""The models folder as others hand it over: a ConfigMap's volume, swapped as a whole, and a bucket with one model."""

import os
import shutil
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from service import model_files
from service.engine.head import Head
from service.repository import Repository
from tests.api.bodies import until
from tests.conftest import Running
from tests.heads_made import head, put
from tests.test_repository import SHIPPED, Clients, again

stamps = count()


def project(volume: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a volume as the kubelet does: a new folder, a rename of the link `..data`, the old folder gone."""
    volume.mkdir(parents=True, exist_ok=True)
    new, data, draft = volume / f"..2026_01_01_00_00_00.{next(stamps)}", volume / "..data", volume / "..data_tmp"
    for path, content in files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).write_bytes(content)
    old = data.resolve() if data.is_symlink() else None
    draft.symlink_to(new.name)
    os.rename(draft, data)
    tops = {path.partition("/")[0] for path in files}
    for top in tops:
        if not (volume / top).is_symlink():
            (volume / top).symlink_to(f"..data/{top}")
    for link in volume.iterdir():
        if link.is_symlink() and not link.name.startswith("..") and link.name not in tops:
            link.unlink()
    if old is not None:
        shutil.rmtree(old)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Heads by their temperature."""
    place = tmp_path_factory.mktemp("heads")
    return {t: head(place / str(t) / "model.onnx", float(t)).read_bytes() for t in range(1, 6)}


def test_the_dot_folders_of_a_volume_are_no_models(tmp_path: Path, heads: dict[int, bytes]) -> None:
    project(tmp_path, {"softmax/1/model.onnx": heads[1], "2/model.onnx": heads[2]})
    assert (tmp_path / "..data/2/model.onnx").is_file()
    assert list(Repository(tmp_path, Head).models) == ["softmax"]


@pytest.mark.parametrize("mounted", [".", "softmax"], ids=["at the models folder", "at a model's folder"])
@pytest.mark.parametrize("polling", ["", "true"], ids=["events", "polling"])
def test_a_volume_that_is_swapped_under_load_loses_no_request(
    mounted: str,
    polling: str,
    tmp_path: Path,
    heads: dict[int, bytes],
    run: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polling)
    prefix = "softmax/" if mounted == "." else ""
    project(tmp_path / mounted, {f"{prefix}1/model.onnx": heads[1]})
    running = run(models=tmp_path, watch=True)

    def answered() -> tuple[str, float]:
        body = running.predict({"logits": [1, 2]}).json()
        return body["version"], body["temperature"]

    with Clients(running.url, 4, ["/v1/predict", "/v1/models/softmax/predict"]) as clients:
        for t in range(2, 6):
            project(tmp_path / mounted, {f"{prefix}{t}/model.onnx": heads[t]})
            until(lambda t=t: answered() == (str(t), float(t)))
        project(tmp_path / mounted, {f"{prefix}5/model.onnx": heads[1]})
        until(lambda: answered() == ("5", 1.0))
    assert len(clients.heard) > 8
    assert [heard for heard in clients.heard if heard[0] != 200] == []


def test_a_folder_that_looks_empty_for_a_moment_loses_no_model(tmp_path: Path, monkeypatch: Any) -> None:
    put(tmp_path, "softmax", 1, SHIPPED)
    found = Repository(tmp_path, Head)
    before, look, looks = found.models["softmax"][1], model_files.model_files, count()
    monkeypatch.setattr("service.repository.model_files", lambda *given: look(*given) if next(looks) else {})
    again(found)
    assert found.find("softmax") is before
    monkeypatch.setattr("service.repository.model_files", lambda *_: {})
    again(found)
    assert found.models == {}


def test_a_file_that_goes_during_the_look_is_served_until_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    put(tmp_path, "softmax", 1, SHIPPED)
    found = Repository(tmp_path, Head)
    look = model_files.model_files

    def look_and_remove(*given: Any) -> Any:
        files = look(*given)
        shutil.rmtree(tmp_path / "softmax", ignore_errors=True)
        return files

    monkeypatch.setattr("service.repository.model_files", look_and_remove)
    again(found)
    assert list(found.models) == ["softmax"]
    again(found)
    assert found.models == {}


@pytest.mark.parametrize("place", ["model.onnx", "1/model.onnx", "digits/1/model.onnx"])
def test_a_folder_of_one_model_may_be_flat(place: str, tmp_path: Path, run: Callable[..., Running]) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SHIPPED, tmp_path / place)
    running = run(models=tmp_path, default_model="digits")
    for path in ("/v1/predict", "/v1/models/digits/predict", "/v1/models/digits/versions/1/predict"):
        assert running.client.post(path, json={"logits": [1, 2]}).json()["model"] == "digits"


def test_what_lies_under_its_name_goes_before_what_lies_flat(tmp_path: Path, heads: dict[int, bytes]) -> None:
    (tmp_path / "model.onnx").write_bytes(heads[1])
    for path, t in {"1": 2, "2": 3, "softmax/1": 4}.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "model.onnx").write_bytes(heads[t])
    versions = Repository(tmp_path, Head).models["softmax"]
    assert {number: model.signature.temperature for number, model in versions.items()} == {1: 4.0, 2: 3.0}
