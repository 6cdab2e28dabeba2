"""The models folder as a whole: gone, unreadable, replaced, empty, or of one model alone."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.engine.head import Head
from service.errors import UnknownModel
from service.model_files import misplaced_sentence
from service.repository import Repository
from tests.api.bodies import until
from tests.conftest import Running
from tests.heads_made import put
from tests.test_model_files import forbid
from tests.test_repository import SHIPPED, again, lines
from tests.test_repository import models as models
from tests.test_repository import warmer as warmer


def test_a_models_folder_that_goes_away_leaves_its_models_behind_and_may_come_back(
    models: Path, warmer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put(models, "other", 1, SHIPPED)
    repository = Repository(models, Head)
    before = repository.find("softmax")
    caplog.clear()
    models.rename(models.with_name("gone"))
    again(repository)
    again(repository)
    assert repository.find("softmax") is before
    assert repository.failures.keys() == {"other/1", "softmax/1"}
    assert repository.public_failures()["other/1"].startswith("the models folder cannot be read (No such file or dir")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "model other/1, softmax/1 does not load; the version loaded before stays in service: the models folder "
    )
    assert "cannot be read (No such file or directory)" in line
    put(models, "softmax", 1, warmer(2.0))
    again(repository)
    assert (list(repository.models), repository.failures) == (["softmax"], {})
    assert repository.find("softmax").signature.temperature == 2.0


def test_a_models_folder_that_cannot_be_read_stays_as_it_was(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(models, "other", 1, SHIPPED)
    repository = Repository(models, Head)
    with monkeypatch.context() as patch:
        forbid(patch, models / "other")
        patch.setattr("service.repository.model_files", lambda *_: {("softmax", 1): models / "softmax/1/model.onnx"})
        again(repository)
        assert list(repository.models) == ["other", "softmax"]
        assert repository.failures.keys() == {"other/1"}
        assert "cannot be read (Permission denied)" in repository.failures["other/1"]
    forbid(monkeypatch, models / "new")
    (models / "new").mkdir()
    again(repository)
    assert repository.failures.keys() == {"new/*"}
    with pytest.raises(UnknownModel, match=r"the model new is not served.*new cannot be read"):
        repository.find("new")


def test_the_going_of_the_default_model_is_warned_of(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(models, "other", 1, SHIPPED)
    repository = Repository(models, Head)
    shutil.rmtree(models / "softmax")
    again(repository)
    again(repository)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["the default model softmax is not there, /v1/predict answers 404: see --default-model"]


def test_a_file_that_may_not_be_read_is_tried_again_once_it_may(models: Path) -> None:
    def load(path: Path) -> Head:
        if path.parent.name == "2" and refusals:
            raise refusals.pop(0)(13, "Permission denied", str(path))
        return Head(path)

    refusals = [PermissionError]
    put(models, "softmax", 2, SHIPPED)
    repository = Repository(models, load)
    assert "model.onnx cannot be read (Permission denied); expected it" in repository.failures["softmax/2"]
    again(repository)
    assert list(repository.models["softmax"]) == [1, 2]


def test_a_flat_file_is_said_to_be_the_default_model(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Repository(models, Head)
    assert caplog.records == []
    Repository(models / "softmax", Head, default_model="digits")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{models / 'softmax/1/model.onnx'} is served as version 1 of the default model digits"


def test_with_nothing_served_the_service_is_not_ready_until_something_is(
    models: Path, run: Callable[..., Running]
) -> None:
    running = run(models=models, watch=True)
    elsewhere = models.with_name("elsewhere")
    shutil.rmtree(models / "softmax")
    until(lambda: running.client.get("/readyz").status_code == 503)
    assert running.client.get("/readyz").json()["error"].startswith("no model is served; expected MODEL/VERSION/")
    models.rename(elsewhere)
    put(elsewhere, "softmax", 1, SHIPPED)
    elsewhere.rename(models)
    until(lambda: running.client.get("/readyz").status_code == 200)


def test_another_folder_in_the_place_of_the_models_folder_is_followed(
    models: Path, warmer: Any, run: Callable[..., Running]
) -> None:
    running = run(models=models, watch=True)
    models.rename(models.with_name("gone"))
    until(lambda: "softmax/1" in lines(running)["failures"])
    assert running.client.get("/readyz").status_code == 200
    assert running.predict({"logits": [1, 2]}).status_code == 200
    for temperature in (2.0, 4.0):
        put(models, "softmax", 1, warmer(temperature))
        until(lambda t=temperature: running.predict({"logits": [1, 2]}).json()["temperature"] == t)
    assert lines(running)["failures"] == {}


@pytest.mark.parametrize("deep", [b"x\xff/1", b"softmax/1/x\xff/y"])
@pytest.mark.parametrize("first", [True, False])
def test_a_name_that_is_no_text_is_told_of_and_does_not_end_the_watch(
    models: Path, run: Callable[..., Running], caplog: pytest.LogCaptureFixture, deep: bytes, first: bool
) -> None:
    def make() -> None:
        os.makedirs(os.fsencode(models) + b"/" + deep)
        shutil.copyfile(SHIPPED, os.fsencode(models) + b"/" + deep + b"/model.onnx")

    if first:
        make()
    running = run(models=models, watch=True)
    assert lines(running)["models"][0]["model"] == "softmax"
    if not first:
        make()
    for name in ("other", "another"):
        put(models, name, 1, SHIPPED)
        until(lambda name=name: running.predict({"logits": [1, 2]}, name).status_code == 200)
    assert [line["model"] for line in lines(running)["models"]] == ["another", "other", "softmax"]
    assert running.client.get("/readyz").status_code == 200
    told = [r.getMessage() for r in caplog.records if "xff has a name that is not UTF-8" in r.getMessage()]
    assert told == [misplaced_sentence(models, models / os.fsdecode(b"x\xff"))] * (deep[:1] == b"x")
    assert len([r for r in caplog.records if "cannot be followed" in r.getMessage()]) <= 1 + (deep[:1] != b"x")


def test_a_folder_that_may_not_be_read_and_has_no_name_is_no_failure_of_a_model(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := models / os.fsdecode(b"x\xff")).mkdir()
    forbid(monkeypatch, folder)
    assert Repository(models, Head).failures == {}
