"""Each family's distribution, loss and Jacobian, against formulas that are worked out in another way."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from service.families import Family, find_family
from service.families.family import Floats

SOFTMAX, SIGMOID, SPARSEMAX, ENTMAX15 = (find_family(n) for n in ("softmax", "sigmoid", "sparsemax", "entmax15"))
ENTMAX = find_family("entmax", 1.25)
ALL = [SOFTMAX, SIGMOID, SPARSEMAX, ENTMAX15, ENTMAX, find_family("entmax", 1.75)]
ONE_CLASS = [family for family in ALL if family.chooses_one]
FAMILIES = pytest.mark.parametrize("family", ALL, ids=repr)


def rows(k: int, n: int = 40, *, holes: bool = True) -> Floats:
    """Scores of all sizes, some of them -inf, at least one of each row finite."""
    draw = np.random.default_rng(k)
    x = draw.normal(size=(n, k)) * 10.0 ** draw.uniform(-3, 1.5, (n, 1))
    if holes:
        x[draw.random((n, k)) < 0.2] = -np.inf
        x[:, 0] = np.where(np.isneginf(x).all(axis=1), 0, x[:, 0])
    return x


def exact_sparsemax(x: Floats) -> list[float]:
    """In fractions, by trying every support."""
    z = [Fraction(float(v)) for v in x if v > -np.inf]
    for size in range(1, len(z) + 1):
        tau = (sum(sorted(z, reverse=True)[:size]) - 1) / size
        if sum(v > tau for v in z) == size:
            break
    return [float(max(Fraction(float(v)) - tau, Fraction(0))) if v > -np.inf else 0.0 for v in x]


def bisected(x: Floats, alpha: float) -> Floats:
    """Entmax of one row by halving the interval of tau a hundred times, in the widest float."""
    s = (x - x.max()).astype(np.longdouble) * (alpha - 1)
    low, high = np.longdouble(-1), np.longdouble(0)
    for _ in range(100):
        middle = (low + high) / 2
        total = (np.maximum(s - middle, 0) ** (1 / np.longdouble(alpha - 1))).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.asarray(np.maximum(s - low, 0) ** (1 / np.longdouble(alpha - 1)), np.float64)


@pytest.mark.parametrize("k", [1, 2, 3, 17, 300])
def test_the_softmax_and_the_sigmoid_are_scipy_s(k: int) -> None:
    x = rows(k)
    p, log_p = SOFTMAX.distribution(x)
    assert np.allclose(p, softmax(x, axis=1), rtol=1e-13, atol=0)
    assert np.allclose(log_p, log_softmax(x, axis=1), rtol=1e-13, atol=1e-13)
    p, log_p = SIGMOID.distribution(x)
    assert np.allclose(p, expit(x), rtol=1e-13, atol=0)
    assert np.allclose(log_p, log_expit(x), rtol=1e-13, atol=0)


@pytest.mark.parametrize("k", [1, 2, 3, 17, 60])
def test_sparsemax_is_exact(k: int) -> None:
    x = rows(k)
    right = np.array([exact_sparsemax(row) for row in x])
    p, _ = SPARSEMAX.distribution(x)
    assert np.allclose(p, right, rtol=0, atol=1e-15)
    assert ((p == 0) == (right == 0)).all()


@pytest.mark.parametrize("alpha", [1.05, 1.25, 1.5, 1.75, 1.95])
@pytest.mark.parametrize("k", [1, 2, 17, 300])
def test_entmax_is_what_halving_finds(alpha: float, k: int) -> None:
    family = ENTMAX15 if alpha == 1.5 else find_family("entmax", alpha)
    x = rows(k)
    p, _ = family.distribution(x)
    assert np.allclose(p, [bisected(row, alpha) for row in x], rtol=0, atol=1e-12)


@FAMILIES
def test_a_row_without_a_class_is_zeros(family: Family) -> None:
    p, log_p = family.distribution(np.array([[-np.inf, -np.inf], [0.0, 1.0]]))
    assert p[0].tolist() == [0, 0]
    assert np.isneginf(log_p[0]).all()
    assert p[1].any()


def softened(family: Family, k: int) -> tuple[Floats, Floats]:
    """Rows, and soft targets that are 0 where no class is."""
    x = rows(k, n=12)
    y = np.where(x > -np.inf, np.random.default_rng(1).random(x.shape), 0)
    return x, y / y.sum(axis=1, keepdims=True) if family.chooses_one else y


def slopes(family: Family, x: Floats, y: Floats, h: float = 1e-6) -> Floats:
    """The loss's gradient by differences."""
    found = np.zeros_like(x)
    for k in range(x.shape[1]):
        step = np.zeros_like(x)
        step[:, k] = h
        found[:, k] = (family.losses(x + step, y) - family.losses(x - step, y)) / (2 * h)
    return found


@FAMILIES
@pytest.mark.parametrize("k", [2, 7])
def test_the_gradient_of_the_loss_is_p_minus_y(family: Family, k: int) -> None:
    x, y = softened(family, k)
    p, _ = family.distribution(x)
    assert np.allclose(np.where(x > -np.inf, p - y, 0), slopes(family, x, y), atol=2e-6)


@FAMILIES
def test_the_products_are_those_of_the_jacobian(family: Family) -> None:
    x, upstream = rows(6, n=12, holes=False) / 3, np.random.default_rng(3).normal(size=(12, 6))
    for products, of in ((family.product, 0), (family.log_product, 1)):
        h, jacobian = 1e-6, np.zeros((12, 6, 6))
        for k in range(6):
            step = np.zeros(6)
            step[k] = h
            with np.errstate(invalid="ignore"):
                jacobian[:, :, k] = (family.distribution(x + step)[of] - family.distribution(x - step)[of]) / (2 * h)
        p, _ = family.distribution(x)
        jacobian[~np.isfinite(jacobian)] = 0  # of the logarithm of 0
        near = ((p > 0) & (p < 1e-4)).any(axis=1)  # differences step over a class's edge there
        right = np.einsum("nj,njk->nk", np.where(p > 0, upstream, 0) if of else upstream, jacobian)
        assert np.allclose(products(x, upstream)[~near], right[~near], atol=1e-4)
        assert not near.all()


@pytest.mark.parametrize("family", ONE_CLASS, ids=repr)
@settings(max_examples=60)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9), st.floats(0.1, 10))
def test_the_loss_is_that_of_fenchel_and_young(family: Family, x: list[float], t: float) -> None:
    """L = max over q of <q, x> + H(q), less <y, x> + H(y): never below 0, and 0 where y is p."""
    z = np.array([x]) / t
    p, _ = family.distribution(z)
    assert abs(p.sum() - 1) < 1e-9
    assert abs(family.losses(z, p)[0] - family.entropies(p)[0]) < 1e-7
    y = np.eye(len(x))[:1]
    assert family.losses(z, y)[0] >= -1e-12


def test_golden_figures() -> None:
    def near(found: NDArray[np.float64], right: list[float], atol: float = 1e-8) -> None:
        assert np.allclose(found, right, rtol=0, atol=atol)

    near(SOFTMAX.distribution(np.array([1.0, 2, 3]))[0], [0.09003057317038046, 0.24472847105479764, 0.6652409557748219])
    near(SOFTMAX.distribution(np.array([-1.0, 10, 5000]))[1], [-5001, -4990, 0])
    near(SPARSEMAX.distribution(np.array([1, 0.75, -np.inf]))[0], [0.625, 0.375, 0])
    near(SPARSEMAX.distribution(np.array([1.0, 0, -1]))[0], [1, 0, 0])
    near(ENTMAX15.distribution(np.array([1, 0.75, -np.inf]))[0], [0.588042, 0.411958, 0], 1e-6)
    near(SPARSEMAX.losses(np.array([[0.25, 0]]), np.array([[0.0, 1]])), [0.390625])
    near(ENTMAX15.losses(np.array([[0.25, 0]]), np.array([[0.0, 1]])), [0.526551], 1e-6)
    z = np.array([[1.0, 2, 3]])
    jacobian = np.array([SOFTMAX.product(z, row[None])[0] for row in np.eye(3)])
    near(jacobian[0], [0.08192507, -0.02203304, -0.05989202])
    near(jacobian[1:, 1:].ravel(), [0.18483645, -0.16280340, -0.16280340, 0.22269543])
    near(SOFTMAX.product(z, np.array([[0.1, -0.2, 0.3]]))[0], [-0.00536849, -0.08801161, 0.09338011])
    sure = np.log(np.r_[0.99, np.full(999, 0.01 / 999)])[None]
    hard = np.eye(1, 1000)
    near(SOFTMAX.losses(sure, hard), [0.01005033585])
    near(SOFTMAX.losses(sure, 0.9 * hard + 0.1 / 1000), [1.1590876113])
