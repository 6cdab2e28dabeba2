"""The models folder: what is served, what is not and why, and swaps under load that no request notices."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engine.head import Head
from service.errors import CannotStart, HeadError, UnknownModel, UnknownVersion
from service.model_files import model_files
from service.repository import Repository
from tests.api.bodies import until
from tests.conftest import ROOT, Running
from tests.heads_made import head, put
from tests.threads import Threads

SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with version 1 of `softmax`."""
    put(tmp_path / "models", "softmax", 1, SHIPPED)
    return tmp_path / "models"


@pytest.fixture
def warmer(tmp_path: Path) -> Callable[[float], Path]:
    """Heads by their temperature."""

    def made(temperature: float) -> Path:
        return head(tmp_path / f"at {temperature}" / "model.onnx", temperature)

    return made


def again(repository: Repository) -> None:
    """Look at the folder, as the watch does."""
    repository.swap(*repository.scan())


def test_what_is_no_version_is_not_looked_at(models: Path) -> None:
    for name in ("0", "01", "-1", "1.0", "latest", "²", ".2"):
        place = models / "softmax" / name
        place.mkdir()
        (place / "model.onnx").write_bytes(b"junk")
    (models / "README").write_text("hello")
    (models / "softmax" / "2").mkdir()
    assert list(Repository(models, Head).models["softmax"]) == [1]


def test_the_highest_version_is_the_default_by_number_not_by_letter(models: Path) -> None:
    put(models, "softmax", 9, SHIPPED)
    put(models, "softmax", 10, SHIPPED)
    repository = Repository(models, Head)
    assert repository.find("softmax").version == "10"
    assert [repository.find("softmax", v).version for v in ("1", "9", "10")] == ["1", "9", "10"]
    assert repr(repository).endswith("3 versions, 0 failures>")
    assert repr(repository.find("softmax", "9")).startswith("<Model softmax/9 <Head ")
    assert str(repository.find("softmax", "9").head) == "softmax/9"


def test_who_asks_for_what_is_not_there_hears_what_is(models: Path) -> None:
    repository = Repository(models, Head)
    with pytest.raises(UnknownModel, match="expected one of softmax"):
        repository.find("other")
    for version in ("2", "0", "", "one", "1.0", "²", "9" * 5000):
        with pytest.raises(UnknownVersion, match="it has 1"):
            repository.find("softmax", version)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (shutil.rmtree, "is not there: name it with --models"),
        (lambda models: shutil.rmtree(models / "softmax"), "has no NAME/VERSION/model.onnx: make one"),
        (
            lambda models: (models / "softmax/1/model.onnx").write_bytes(b"junk"),
            "is not an ONNX model that can be loaded",
        ),
        (lambda models: (models / "softmax/1/model.onnx").write_bytes(b""), "is not an ONNX model that can be loaded"),
    ],
    ids=["no folder", "empty folder", "corrupt file", "empty file"],
)
def test_a_folder_that_cannot_be_served_stops_the_start(models: Path, prepare: Any, sentence: str) -> None:
    prepare(models)
    with pytest.raises(CannotStart, match=sentence):
        Repository(models, Head)


def broken(models: Path, name: str, version: int) -> None:
    """A file that does not load."""
    path = models / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")


def test_a_broken_version_beside_a_good_one_does_not_stop_the_start(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken(models, "softmax", 2)
    repository = Repository(models, Head)
    assert repository.find("softmax").version == "1"
    assert repository.failures.keys() == {"softmax/2"}
    assert "model softmax/2 does not load; it is not served" in caplog.text
    with pytest.raises(
        UnknownVersion, match=r"version 2 of model softmax does not load: softmax/2/model\.onnx"
    ) as raised:
        repository.find("softmax", "2")
    assert (raised.value.code, str(models) in str(raised.value)) == ("version_failed", False)


def test_a_broken_version_stops_a_strict_start_and_a_broken_model_any(models: Path) -> None:
    broken(models, "softmax", 2)
    with pytest.raises(CannotStart, match="is not an ONNX model"):
        Repository(models, Head, strict=True)
    broken(models, "other", 1)
    with pytest.raises(CannotStart, match=r"other/1/model\.onnx"):
        Repository(models, Head)


def test_a_model_that_fails_while_the_service_runs_is_told_in_its_404(models: Path) -> None:
    repository = Repository(models, Head)
    broken(models, "other", 1)
    again(repository)
    with pytest.raises(UnknownModel, match="the model other is not served, it does not load: other/1") as raised:
        repository.find("other")
    assert raised.value.code == "model_failed"


def test_a_file_without_a_version_is_named_and_stops_the_start_only_where_it_is_all_there_is(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models / "mine").mkdir()
    misplaced = Path(shutil.copy(SHIPPED, models / "mine"))
    (models / "..data").mkdir()
    shutil.copy(SHIPPED, models / "..data")
    again(Repository(models, Head))
    sentence = f"{misplaced} is not served; expected {models / 'mine/1/model.onnx'}"
    assert [record.getMessage() for record in caplog.records] == [sentence]
    shutil.rmtree(models / "softmax")
    with pytest.raises(CannotStart) as raised:
        Repository(models, Head)
    assert str(raised.value) == sentence


def test_a_file_that_comes_without_a_version_is_named_once_in_the_log(
    models: Path, run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    running = run(models=models, watch=True)

    def named(name: str) -> int:
        sentence = f"{models / name / 'model.onnx'} is not served; expected {models / name / '1' / 'model.onnx'}"
        return [record.getMessage() for record in caplog.records].count(sentence)

    (models / "mine").mkdir()
    shutil.copy(SHIPPED, models / "mine")
    until(lambda: named("mine") == 1)
    put(models, "softmax", 2, SHIPPED)
    until(lambda: 2 in running.service.repository.models["softmax"])
    assert named("mine") == 1
    (models / "mine" / "model.onnx").unlink()
    until(lambda: not running.service.repository.misplaced)
    shutil.copy(SHIPPED, models / "mine")
    until(lambda: named("mine") == 2)


def test_a_fault_of_the_loader_is_the_files_failure(models: Path) -> None:
    def load(path: Path) -> Head:
        if path.parent.name == "2":
            raise IndexError("tuple index out of range")
        return Head(path)

    repository = Repository(models, load)
    put(models, "softmax", 2, SHIPPED)
    again(repository)
    assert list(repository.models["softmax"]) == [1]
    assert "IndexError" in repository.failures["softmax/2"]


@pytest.mark.parametrize("kind", [HeadError, OSError, ValueError])
def test_a_failure_is_short_and_prints_whatever_the_file_says(kind: type[Exception], models: Path) -> None:
    def load(path: Path) -> Head:
        if path.parent.name == "2":
            raise kind(f"{path} has the node \x1b[31m{'red' * 1000}")
        return Head(path)

    repository = Repository(models, load)
    put(models, "softmax", 2, SHIPPED)
    again(repository)
    assert len(why := repository.failures["softmax/2"]) <= 500
    assert why.isprintable()


def test_a_fault_of_the_machine_is_not_held_against_the_file(models: Path) -> None:
    faults = [OSError(24, "Too many open files")]

    def load(path: Path) -> Head:
        if path.parent.name == "2" and faults:
            raise faults.pop()
        return Head(path)

    repository = Repository(models, load)
    put(models, "softmax", 2, SHIPPED)
    again(repository)
    assert "Too many open files" in repository.failures["softmax/2"]
    again(repository)
    assert list(repository.models["softmax"]) == [1, 2]


def test_an_unchanged_file_is_not_loaded_again(models: Path) -> None:
    loaded: list[Path] = []

    def load(path: Path) -> Head:
        loaded.append(path)
        return Head(path)

    repository = Repository(models, load)
    before = repository.find("softmax")
    put(models, "other", 1, SHIPPED)
    again(repository)
    assert repository.find("softmax") is before
    assert len(loaded) == 2


def test_a_replaced_file_takes_its_place(models: Path, warmer: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    repository = Repository(models, Head)
    before = repository.find("softmax")
    put(models, "softmax", 1, warmer(2.0))
    again(repository)
    assert (before.signature.temperature, repository.find("softmax").signature.temperature) == (1.0, 2.0)
    assert "model softmax/1 was replaced by its new file" in caplog.text


def test_a_removed_version_is_no_longer_served(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    put(models, "softmax", 2, SHIPPED)
    repository = Repository(models, Head)
    shutil.rmtree(models / "softmax" / "2")
    again(repository)
    assert repository.find("softmax").version == "1"
    assert "model softmax/2 is no longer served" in caplog.text


def test_a_file_that_does_not_load_leaves_the_old_one_serving(models: Path, warmer: Any, caplog: Any) -> None:
    repository = Repository(models, Head)
    before = repository.find("softmax")
    (models / "softmax/1/model.onnx").write_bytes(b"junk")
    (models / "softmax/2").mkdir()
    (models / "softmax/2/model.onnx").write_bytes(b"junk")
    again(repository)
    again(repository)
    assert repository.find("softmax") is before
    assert repository.failures.keys() == {"softmax/1", "softmax/2"}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "softmax/1 does not load; the version loaded before stays in service" in warnings[0]
    assert "softmax/2 does not load; it is not served" in warnings[1]
    put(models, "softmax", 1, warmer(3.0))
    shutil.rmtree(models / "softmax/2")
    again(repository)
    assert repository.failures == {}
    assert repository.find("softmax").signature.temperature == 3.0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError("not now"), "cannot be read, what is loaded goes on: not now"),
        (KeyError("a fault"), "failed, what is loaded goes on"),
    ],
)
def test_the_watch_survives_a_scan_that_fails(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, sentence: str
) -> None:
    repository = Repository(models, Head)
    n_scans = 0

    def failing(root: Path, default_model: str) -> Any:
        nonlocal n_scans
        n_scans += 1
        if n_scans == 1:
            raise error
        return model_files(root, default_model)

    monkeypatch.setattr("service.repository.model_files", failing)

    async def main() -> None:
        task = asyncio.create_task(repository.watch())
        version = 2
        async with asyncio.timeout(20):
            while version not in repository.models["softmax"]:
                if not n_scans or version == 2:
                    version += n_scans
                    put(models, "softmax", version, SHIPPED)
                await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(main())
    assert sentence in caplog.text


def test_memory_is_given_back_after_each_change(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, served = Repository(models, Head), []
    monkeypatch.setattr("service.repository.give_back", lambda: served.append(max(repository.models["softmax"])))

    async def main() -> None:
        task = asyncio.create_task(repository.watch())
        version = 1
        async with asyncio.timeout(20):
            while not served or served[-1] == 1:
                version += 1  # again and again, as the watch takes a moment to begin
                put(models, "softmax", version, SHIPPED)
                await asyncio.sleep(0.3)
        task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("above", [".venv", ".git", "node_modules"])
def test_a_folder_that_tools_pass_over_is_watched_like_any_other(tmp_path: Path, above: str) -> None:
    put(tmp_path / above / "models", "softmax", 1, SHIPPED)
    repository = Repository(tmp_path / above / "models", Head)

    async def main() -> None:
        task = asyncio.create_task(repository.watch())
        version = 1
        async with asyncio.timeout(20):
            while len(repository.models["softmax"]) == 1:
                version += 1  # again and again, as the watch takes a moment to begin
                put(repository.root, "softmax", version, SHIPPED)
                await asyncio.sleep(0.3)
        task.cancel()

    asyncio.run(main())


def lines(running: Running) -> Any:
    """`/v1/models`."""
    return running.client.get("/v1/models").json()


def test_a_running_service_picks_up_new_replaced_and_removed_files(
    models: Path, warmer: Any, run: Callable[..., Running]
) -> None:
    running = run(models=models, watch=True)

    def answered() -> tuple[str, float]:
        body = running.predict({"logits": [1, 2]}).json()
        return body["version"], body["temperature"]

    put(models, "softmax", 2, warmer(2.0))
    until(lambda: answered() == ("2", 2.0))
    put(models, "softmax", 2, warmer(4.0))
    until(lambda: answered() == ("2", 4.0))
    (models / "softmax" / "2" / "model.onnx").write_bytes(b"junk")
    until(lambda: "softmax/2" in lines(running)["failures"])
    assert answered() == ("2", 4.0)
    assert "is not an ONNX model" in lines(running)["failures"]["softmax/2"]
    shutil.rmtree(models / "softmax" / "2")
    until(lambda: answered() == ("1", 1.0))
    assert lines(running)["failures"] == {}
    put(models, "other", 1, warmer(8.0))
    until(lambda: [line["model"] for line in lines(running)["models"]] == ["other", "softmax"])


class Clients(Threads):
    """Clients that ask without a pause, and write down what they hear."""

    def __init__(self, url: str, n: int, paths: list[str]) -> None:
        super().__init__(n)
        self.url = url
        self.paths = paths
        self.heard: list[tuple[int, Any]] = []

    def work(self, i: int) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.stopping.is_set():
                for path in self.paths:
                    try:
                        response = client.post(
                            path, json={"logits": [[0.0, 1.0]] * (i % 3 + 1), "outputs": ["log_probabilities"]}
                        )
                        self.heard.append((response.status_code, response.json()))
                    except Exception as error:
                        self.heard.append((0, repr(error)))


@pytest.fixture
def versions(tmp_path: Path) -> dict[int, Path]:
    """Twenty heads; version v has the temperature v."""
    return {v: head(tmp_path / f"v{v}" / "model.onnx", float(v)) for v in range(2, 22)}


def test_twenty_versions_are_swapped_under_sixteen_clients_and_no_request_fails(
    models: Path, versions: dict[int, Path], run: Callable[..., Running]
) -> None:
    running = run(models=models, watch=True)
    served: set[str] = set()
    with Clients(running.url, 16, ["/v1/predict", "/v1/models/softmax/versions/1/predict"]) as clients:
        for step, (version, source) in enumerate(versions.items()):
            put(models, "softmax", version, source)
            if step % 4 == 3:
                until(lambda v=version: running.service.repository.find("softmax").version == str(v))
                n_heard = len(clients.heard)
                until(lambda n=n_heard: len(clients.heard) > n + 64)
        served |= {str(v) for v in running.service.repository.models["softmax"]}
        for version in list(versions)[::-1]:
            shutil.rmtree(models / "softmax" / str(version))
            if version % 5 == 2:
                until(lambda v=version: v not in running.service.repository.models["softmax"])
                n_heard = len(clients.heard)
                until(lambda n=n_heard: len(clients.heard) > n + 64)
        until(lambda: running.service.repository.find("softmax").version == "1")
    assert [heard for heard in clients.heard if heard[0] != 200] == []
    assert len({body["version"] for _, body in clients.heard}) > 4
    for _, body in clients.heard:
        t = float(body["version"])
        assert body["temperature"] == t
        for worse, better in body["log_probabilities"]:
            assert better - worse == pytest.approx(1 / t, abs=1e-6)
    assert len(served) == 21


def test_a_file_replaced_under_load_answers_as_the_old_one_or_the_new_one(
    models: Path, warmer: Any, run: Callable[..., Running]
) -> None:
    running = run(models=models, watch=True)
    with Clients(running.url, 4, ["/v1/predict"]) as clients:
        for temperature in (2.0, 4.0, 8.0):
            put(models, "softmax", 1, warmer(temperature))
            until(lambda t=temperature: running.service.repository.find("softmax").signature.temperature == t)
    for status, body in clients.heard:
        assert status == 200, body
        for worse, better in body["log_probabilities"]:
            assert better - worse == pytest.approx(1 / body["temperature"], abs=1e-6)
