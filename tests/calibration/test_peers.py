"""Other packages as oracles, where they are installed: the group `peers` of pyproject.toml."""

from types import ModuleType

import numpy as np
import pytest

from service.calibration import temperature
from service.conformal import Conformal, Table
from service.datasets.dataset import Dataset
from service.heads.stages import Stages
from service.measures import metrics, scores
from tests.calibration.conftest import drawn


def peer(name: str) -> ModuleType:
    """A package to compare with, or a skipped test; they warn where they like."""
    module: ModuleType = pytest.importorskip(name, exc_type=ImportError)
    return module


def answers(data: Dataset) -> np.ndarray:
    """Probabilities of the logits as they are, float64 [n, K]."""
    return np.exp(Stages().log_probabilities(data.logits, None))


@pytest.mark.filterwarnings("ignore")
def test_netcal_gives_the_same_ece_and_mce() -> None:
    netcal = peer("netcal.metrics")
    data = drawn(4000)
    found, p = metrics.measure(scores.score(data, Stages().predict)), answers(data)
    assert found["ece"] == pytest.approx(netcal.ECE(15).measure(p, data.labels), abs=1e-6)
    assert found["mce"] == pytest.approx(netcal.MCE(15).measure(p, data.labels), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_relplot_gives_the_same_smooth_ece() -> None:
    relplot = peer("relplot")
    data = drawn(4000)
    p = answers(data)
    correct = (p.argmax(axis=1) == data.labels).astype(float)
    found = metrics.measure(scores.score(data, Stages().predict))["smooth_ece"]
    assert found == pytest.approx(relplot.smECE(p.max(axis=1), correct), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_gives_the_same_brier_score_and_likelihood() -> None:
    sklearn = peer("sklearn.metrics")
    data = drawn(4000)
    found, p = metrics.measure(scores.score(data, Stages().predict)), answers(data)
    assert found["nll"] == pytest.approx(sklearn.log_loss(data.labels, p), abs=1e-9)
    assert found["brier"] == pytest.approx(((p - np.eye(5)[data.labels]) ** 2).sum(axis=1).mean(), abs=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_probmetrics_finds_the_same_temperature() -> None:
    calibrators = peer("probmetrics.calibrators")
    torch = peer("torch")
    distributions = peer("probmetrics.distributions")
    data = drawn(4000)
    fitted = calibrators.get_calibrator("ts-mix")
    logits = torch.from_numpy(data.logits)
    fitted.fit_torch(distributions.CategoricalLogits(logits), torch.from_numpy(data.labels))
    theirs = fitted.predict_proba_torch(distributions.CategoricalLogits(logits)).get_probs().numpy()
    own = Stages(temperature=temperature.fit(data).value, laplace=1 / 4001)
    assert np.abs(np.exp(own.log_probabilities(data.logits, None)) - theirs).max() < 1e-3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_mapie_gives_the_same_sets(alpha: float) -> None:
    mapie = peer("mapie.classification")
    data = drawn(2000)
    p = answers(data)
    own = Conformal("lac", 1.0, (Table.of(1 - p[np.arange(1000), data.labels[:1000]]),))
    theirs = mapie.SplitConformalClassifier(Given(), confidence_level=1 - alpha, prefit=True, conformity_score="lac")
    theirs.conformalize(p[:1000], data.labels[:1000])
    _, sets = theirs.predict_set(p[1000:])
    sizes = own.sets(np.log(p[1000:]), alpha).sum(axis=1).mean(), sets[:, :, 0].sum(axis=1).mean()
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


class Given:
    """A classifier whose inputs are its answers."""

    _estimator_type = "classifier"
    classes_ = np.arange(5)

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Given":
        """Nothing to learn."""
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The inputs."""
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class."""
        best: np.ndarray = x.argmax(axis=1)
        return best

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> object:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())
