"""The families against torch and the entmax package, where they are installed."""

from typing import Any

import numpy as np
import pytest

from service.families import find_family

torch = pytest.importorskip("torch")
entmax = pytest.importorskip("entmax")

LOSSES: dict[str, Any] = {
    "softmax": lambda x, y: -(y * torch.log_softmax(x, -1)).sum(),
    "sigmoid": lambda x, y: torch.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="sum"),
    "sparsemax": lambda x, y: entmax.sparsemax_loss(x[None], y.argmax()[None]).sum(),
    "entmax15": lambda x, y: entmax.entmax15_loss(x[None], y.argmax()[None]).sum(),
}
DISTRIBUTIONS: dict[str, Any] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "sigmoid": torch.sigmoid,
    "sparsemax": lambda x: entmax.sparsemax(x, -1),
    "entmax15": lambda x: entmax.entmax15(x, -1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("k", [1, 2, 10, 1000, 50_000])
def test_losses_gradients_and_products_are_those_of_autograd(name: str, k: int) -> None:
    draw, family = np.random.default_rng(k), find_family(name)
    for scale in (0.01, 1, 5, 30):
        x = draw.normal(size=(1, k)) * scale
        y = np.eye(k)[draw.integers(k)][None] if k < 5000 else np.zeros((1, k))
        if k >= 5000:
            y[0, draw.integers(k)] = 1
        z = torch.tensor(x[0], dtype=torch.float64, requires_grad=True)
        loss = LOSSES[name](z, torch.tensor(y[0], dtype=torch.float64))
        (gradient,) = torch.autograd.grad(loss, z)
        p, _ = family.distribution(x)
        assert np.allclose(family.losses(x, y), loss.item(), rtol=1e-6, atol=1e-6)
        assert np.allclose(p - y, gradient.numpy(), rtol=1e-6, atol=1e-6)
        upstream = draw.normal(size=(1, k))
        answer = DISTRIBUTIONS[name](z)
        (product,) = torch.autograd.grad(answer, z, torch.tensor(upstream[0], dtype=torch.float64))
        assert np.allclose(p[0], answer.detach().numpy(), rtol=0, atol=1e-9)
        assert np.allclose(family.product(x, upstream)[0], product.numpy(), rtol=1e-6, atol=1e-6)
