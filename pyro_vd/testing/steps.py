"""Steps by :meth:`~pyro_vd.VariationalDropoutELBO.backward`, which with the same noise are those of autograd."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.testing.guide_case import GuideCase

STEPS = 50


def steps_agree(guide: WeightGuide, *batch: Any, train_threshold: float | None = None) -> frozenset[str]:
    """Train two copies of a guide, one with the gradients that autograd finds for the whole loss, and compare all parameters.

    Of weights that were removed, no parameter of their own moves.

    In float64, where rounding stays small however the steps amplify it.

    Args:
        guide: with its model; neither is changed.
        batch: inputs and observations.
        train_threshold: see :func:`~pyro_vd.fit`.

    Returns:
        The sites whose KL was added in closed form.
    """
    trained, elbo = [], VariationalDropoutELBO(kl_weight=0.1)
    for by_backward in (True, False):
        own = copy.deepcopy(guide)
        pair: Any = elbo(own.model.double(), own.double())
        own.train_threshold = train_threshold
        removed = {name: _of_removed(own, name) for name in own.site_names}
        optimizer = torch.optim.Adam(pair.parameters(), lr=0.01)
        torch.manual_seed(5)
        for _ in range(STEPS):
            optimizer.zero_grad()
            if by_backward:
                loss = elbo.backward(own.model, own, *batch)
            else:
                loss = pair(*batch)
                loss.backward()
            optimizer.step()
        for name, values in removed.items():
            torch.testing.assert_close(_of_removed(own, name), values, rtol=0, atol=0)
        trained.append({"loss": loss.detach(), **dict(pair.named_parameters())})
    for name, value in trained[1].items():
        scale = value.detach().abs().max().clamp_min(1e-30)
        torch.testing.assert_close(trained[0][name].detach() / scale, value.detach() / scale, rtol=0, atol=1e-6, msg=name)
    return elbo.closed_form


def _of_removed(guide: WeightGuide, name: str) -> dict[str, Tensor]:
    """The parameters of the removed weights of a site, of those that each weight has for itself."""
    site = guide.site(name)
    if (mask := site._buffers.get("mask")) is None:
        return {}
    gone = ~mask
    return {key: value[gone].detach().clone() for key, value in site.named_parameters() if value.shape == gone.shape}


class StepsOfGuide(GuideCase):
    """Tests of the steps of a guide."""

    def batch(self) -> tuple[Tensor, Tensor]:
        """The data in float64."""
        x, y = self.data()
        return x.double(), y

    def test_steps_are_those_of_autograd(self) -> None:
        """Of a network and of a convolution, whatever part of the gradient is added in closed form."""
        for net in (self.network(), self.convolution()):
            steps_agree(self.guide(net), *self.batch())

    def test_steps_with_removed_weights_are_those_of_autograd(self) -> None:
        """And removed weights do not move."""
        guide = self.guide()
        self.remove_half(guide)
        steps_agree(guide, *self.batch())

    def test_steps_at_a_threshold_are_those_of_autograd(self) -> None:
        """Where the guide learns α."""
        guide = self.guide()
        steps_agree(guide, *self.batch(), train_threshold=0.0 if guide.learns_alpha else None)
