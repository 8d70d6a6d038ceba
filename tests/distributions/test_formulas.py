"""The formulas for a compiler are those of the KLs, with their gradients in closed form."""

from __future__ import annotations

import pytest
import torch

from pyro_vd.distributions.formulas import closed_gradients
from pyro_vd.distributions.kl import kl_approximate, kl_ard, kl_exact

FORMS = {"approximate": kl_approximate, "exact": kl_exact, "ard": kl_ard}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_sum_and_gradients(form: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(400, generator=generator, dtype=dtype)
    theta[:3] = torch.tensor([0.0, 1e-25, 1e18])
    log_sigma2 = torch.empty(400, dtype=dtype).uniform_(-20, 20, generator=generator)
    of_theta, of_variance = torch.randn(2, 400, generator=generator, dtype=dtype)
    theta.requires_grad_(), log_sigma2.requires_grad_()
    weight, variance = torch.tensor(0.7, dtype=dtype), log_sigma2.exp()
    kl = FORMS[form](theta, log_sigma2).sum()
    (weight * kl + (of_theta * theta).sum() + (of_variance * variance).sum()).backward()
    found = closed_gradients(form, theta.detach(), variance.detach(), of_theta, of_variance, weight)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, (theta.grad, log_sigma2.grad, kl.detach()), rtol=20 * tolerance, atol=tolerance)
    alone = closed_gradients(form, theta.detach(), variance.detach(), None, None, weight)
    torch.testing.assert_close(alone[0], found[0] - of_theta, rtol=1e-4, atol=1e-5)
