"""A refit over HTTP, from an alarm to the calibration that is back; of published rows where they are at hand."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.cli import main
from service.commands import live_refit
from service.datasets import files
from service.datasets.dataset import Floats, Ints
from service.journal.channel import Unreachable
from tests.calibration.conftest import PUBLISHED
from tests.process.test_live import until
from tests.processes import Process, serve

SET = PUBLISHED / "cifar10_vgg19_bn_chenyaofo.npz"
AT_ONCE = 200
SHARPER = 1.5
PATIENCE_S = 300  # who writes a version is nice to the others of a busy machine


def rows_of_a_set(folder: Path) -> tuple[Path, Floats, Ints]:
    """A file to fit on, and other rows of the same kind."""
    if SET.exists():
        test = files.load(SET)["test"]
        return SET, np.asarray(test.logits, np.float64), test.labels
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (10_000, 10))
    labels = (logits / 2 + random.gumbel(size=logits.shape)).argmax(axis=1)
    np.savez(folder / "rows.npz", logits=logits[:5000].astype(np.float32), labels=labels[:5000])
    return folder / "rows.npz", logits[5000:], labels[5000:]


class Client:
    """Predicts rows, and tells their labels."""

    def __init__(self, process: Process, logits: Floats, labels: Ints) -> None:
        self.client, self.logits, self.labels = process.client, logits, labels
        self.random = np.random.default_rng(1)
        self.n_requests = 0

    def predict(self, n: int, factor: float = 1.0) -> list[dict[str, Any]]:
        """Have rows answered whose logits are `factor` times too large, and return their labels."""
        labels = []
        for _ in range(n // AT_ONCE):
            at = self.random.integers(len(self.labels), size=AT_ONCE)
            key = f"r{self.n_requests}"
            body = {"id": key, "logits": (factor * self.logits[at]).round(5).tolist(), "outputs": ["prediction"]}
            answer = self.client.post("/v1/models/m/predict", json=body)
            assert answer.status_code == 200
            labels += [{"id": key, "row": i, "label": one} for i, one in enumerate(self.labels[at].tolist())]
            self.n_requests += 1
        return labels

    def tell(self, labels: list[dict[str, Any]]) -> httpx.Response:
        """Once the answers are read."""
        answer: httpx.Response = until(partial(self.taken, labels), PATIENCE_S)
        return answer

    def taken(self, labels: list[dict[str, Any]]) -> httpx.Response | None:
        answer = self.client.post("/v1/labels", json={"labels": labels})
        assert answer.status_code == 202
        return answer if not answer.json()["pending"] else None

    def get(self, what: str, version: int = 1) -> Any:
        return self.client.get(f"/v1/models/m/versions/{version}/{what}").json()

    def go_on(self, factor: float, enough: Callable[[], Any]) -> Any:
        """Predict and tell labels until there is enough."""
        end = time.monotonic() + PATIENCE_S
        while not (found := enough()):
            assert time.monotonic() < end, self.get("refit")
            self.tell(self.predict(AT_ONCE, factor))
        return found

    def earned(self, labels: int = 0) -> dict[str, Any] | None:
        """The refit, once it has earned its place, on so many labels, and nothing is against it."""
        page: dict[str, Any] = self.get("refit")
        is_due = page["state"] == "earned" and not page["refusal"] and page["labels"]["fitted"] >= labels
        return page if is_due else None

    def serves(self, version: str) -> bool:
        return bool(self.client.get("/v1/models/m").json()["version"] == version)

    def approve(self) -> httpx.Response:
        """Look at the refit, and promote it; again where it was fitted anew in between."""
        answer: httpx.Response = until(self.approve_once, PATIENCE_S)
        return answer

    def approve_once(self) -> httpx.Response | None:
        path = "/v1/models/m/versions/1"
        tag = self.client.get(f"{path}/refit").headers["etag"]
        answer = self.client.post(f"{path}/promote", json={"by": "ann"}, headers={"If-Match": tag}, timeout=PATIENCE_S)
        return None if answer.status_code == 412 else answer


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Floats, Ints]:
    """A models folder, and rows of the kind that its head was fitted on."""
    folder = tmp_path_factory.mktemp("refit")
    data, logits, labels = rows_of_a_set(folder)
    options = ["--method", "temperature", "--no-laplace", "--no-report", "--models", str(folder / "models")]
    assert main(["fit", "--data", str(data), "--name", "m", *options]) == 0
    return folder / "models", logits, labels


Serve = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def service(fitted: tuple[Path, Floats, Ints], tmp_path: Path) -> Serve:
    """Serves the head, with a journal in a folder beside its models."""
    folder, logits, labels = fitted
    shutil.copytree(folder, tmp_path / "models")

    @contextmanager
    def run(*options: str) -> Iterator[Client]:
        places = ("--journal", tmp_path / "j", "--models", tmp_path / "models", "--default-model", "m")
        with serve(*places, *options) as process:
            yield Client(process, logits, labels)

    return run


@pytest.fixture
def client(service: Serve) -> Iterator[Client]:
    with service() as client:
        yield client


def test_from_late_labels_over_an_alarm_to_an_approved_refit_and_the_calibration_is_back(client: Client) -> None:
    late = client.predict(10_000)
    client.random.shuffle(late)
    client.tell(late)
    client.tell(late[:5000])
    strange = [{"id": f"never{i}", "row": 0, "label": 1} for i in range(1000)]
    assert client.client.post("/v1/labels", json={"labels": strange}).json()["pending"] == 1000
    before = until(lambda: (page := client.get("calibration"))["labels"] == 10_000 and page)
    assert not any(one["alarm"] for one in before["monitors"] if one["null"] == "as fitted")

    page = client.go_on(SHARPER, partial(client.earned, 800))
    alarmed = client.get("calibration")
    assert next(one for one in alarmed["monitors"] if one["scope"] == "model")["alarm_at"] < 10_000 + 800
    assert page["because"] == "alarm"
    assert page["temperature"]["proposed"] / page["temperature"]["served"] == pytest.approx(SHARPER, rel=0.2)

    path = "/v1/models/m/versions/1"
    stale = client.client.post(f"{path}/promote", json={"by": "ann"}, headers={"If-Match": '"0"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    promoted = client.approve()
    assert (promoted.status_code, promoted.json()) == (200, {"version": "2"}), promoted.text
    until(lambda: client.get("refit")["state"] == "promoted")
    until(partial(client.serves, "2"))

    about = client.client.get("/v1/models/m").json()["metadata"]
    assert about["refit"]["by"] == "ann"
    assert about["refit"]["labels"]["fitted"] >= 200
    assert about["refit"]["evidence"]["max_e"] >= 100
    assert about["reference_curve"]["n"] >= 200
    client.tell(client.predict(4000, SHARPER))
    after = until(lambda: (page := client.get("calibration", 2))["labels"] == 4000 and page)
    assert page["ece"]["proposed"] < page["ece"]["served"]
    assert after["ece"]["debiased"] < before["ece"]["debiased"] + 0.02  # without a refit it is 0.03 more
    assert not next(one for one in after["monitors"] if one["scope"] == "model")["alarm"]
    assert client.get("refit", 2)["back"]["labels"] > 0
    body = {"logits": client.logits[:50].tolist(), "alpha": 0.1}
    sets = client.client.post("/v1/models/m/predict", json=body)
    assert sets.status_code == 200, sets.text


def test_where_that_is_the_policy_it_is_promoted_by_itself(service: Serve) -> None:
    with service("--refit", "promote") as client:
        client.tell(client.predict(AT_ONCE))
        client.client.post("/v1/models/m/versions/1/refit", json={"by": "ann"}).raise_for_status()
        client.go_on(SHARPER, partial(client.serves, "2"))
        before, after = (client.client.get(f"/v1/models/m/versions/{one}").json() for one in (1, 2))
        assert after["temperature"] == pytest.approx(SHARPER * before["temperature"], rel=0.2)
        assert after["metadata"]["refit"]["by"] == "the policy promote"


def test_what_people_decide_in_the_terminal_and_the_old_version_is_put_back_where_it_was_right(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def calibrant(*arguments: object) -> tuple[int, str]:
        places = ["--journal", tmp_path / "j", *(("--models", tmp_path / "models") if "promote" in arguments else ())]
        code = main(["live", *map(str, arguments), *map(str, places)])
        found = capsys.readouterr()
        return code, (found.out + found.err).strip()

    client.tell(client.predict(AT_ONCE))
    assert calibrant("propose", "m/1", "--by", "ann") == (0, "m/1 is shadowed at another temperature")
    assert calibrant("propose", "m/1")[0] == 1
    done = calibrant("acknowledge", "m/1", "--by", "ann")
    assert done == (0, "m/1 is in epoch 1, its evidence is 1 again")
    until(lambda: [one["by"] for one in client.get("calibration")["epochs"]] == ["ann"])
    assert calibrant("acknowledge", "m/7") == (
        1, "calibrant live acknowledge: no label of m/7 has come; expected an alarm to acknowledge",
    )  # fmt: skip
    code, text = calibrant("promote", "m/1")
    assert (code, "expected at least 200 for the method temperature" in text) == (1, True)
    assert calibrant("dismiss", "m/1", "--by", "ann") == (0, "m/1 has no refit any more")
    calibrant("propose", "m/1", "--by", "ann")
    client.go_on(SHARPER, client.earned)
    path = tmp_path / "models" / "m" / "2" / "model.onnx"
    assert calibrant("promote", "m/1", "--by", "ann") == (0, f"m/2: {path}")
    until(partial(client.serves, "2"))
    until(lambda: client.get("refit")["state"] == "promoted")
    assert [one["what"] for one in client.get("refit")["history"] if one["what"] != "fitted"] == [
        "proposed", "dismissed", "proposed", "promoted",
    ]  # fmt: skip
    assert calibrant("promote", "m")[1].endswith(
        "'m' does not name a version; expected MODEL/VERSION, such as digits/1"
    )

    client.go_on(1.0, partial(client.serves, "3"))
    old, new = (client.client.get(f"/v1/models/m/versions/{one}").json() for one in (1, 3))
    assert new["temperature"] == old["temperature"]
    story = new["metadata"]["refit"]
    assert (story["from"], story["copy_of"], story["by"]) == ("2", "1", "the guard")
    until(lambda: client.get("refit", 2)["history"][-1]["what"] == "put back")


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (Unreachable("nobody answers"), 3, "nobody answers; expected a service that runs with --journal j"),
        ({"away": "disk full"}, 3, "the store of the live process is away: disk full"),
        ({"refused": "stale", "message": "it was fitted anew"}, 1, "it was fitted anew"),
        (
            {"factor": 1.5, "rows": None, "story": {}},
            3,
            "m/1 is not in none; expected the models folder of the service",
        ),
    ],
)
def test_what_cannot_be_done_is_said(
    answer: Any, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(live_refit, "ask", ask)
    assert main(["live", "acknowledge", "m/1", "--journal", "j", "--by", " "]) == 2
    assert "--by is ' '; expected a name of 1 to 256 characters" in capsys.readouterr().err
    assert main(["live", "promote", "m/1", "--journal", "j", "--models", "none"]) == code
    assert sentence in capsys.readouterr().err
    monkeypatch.setattr(live_refit, "find_spec", lambda _: None)
    assert main(["live", "promote", "m/1", "--journal", "j"]) == 3
    assert "the package onnx is not installed" in capsys.readouterr().err
