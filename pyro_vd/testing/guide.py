"""What every guide over weights satisfies."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro.infer import SVI

from pyro_vd._core.errors import InputError
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.testing.guide_draws import DrawsOfGuide
from pyro_vd.testing.guide_state import StateOfGuide
from pyro_vd.testing.steps import StepsOfGuide


class GuideConformance(DrawsOfGuide, StateOfGuide, StepsOfGuide):
    """Tests of a guide: it starts at the network, trains, predicts, removes weights for good, and is saved and resumed.

    A subclass says how the guide is made, and which prior it needs if that is not ``LogUniform``::

        class TestMyGuide(GuideConformance):
            def make(self, model):
                return MyGuide(model)
    """

    def test_training_moves_every_parameter_and_lowers_the_data_term(self) -> None:
        """One step changes every parameter; all stay finite, and the network learns."""
        guide = self.guide()
        start = [p.detach().clone() for p in guide.parameters()]
        self.fit(guide, epochs=1, batch_size=60)
        assert all(not torch.equal(a, b) for a, b in zip(start, guide.parameters(), strict=True))
        history = self.fit(guide).history
        assert history[-1].data_term < history[0].data_term
        assert all(p.isfinite().all() for p in guide.parameters())

    def test_it_is_a_guide_of_pyros(self) -> None:
        """SVI takes a step with it, also of a convolution, whose loss and KL are finite."""
        guide, elbo = self.guide(self.convolution()), VariationalDropoutELBO()
        svi = SVI(guide.model, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
        assert math.isfinite(svi.step(*self.data()))
        assert elbo.kl.isfinite()

    def test_a_threshold_of_training_needs_an_alpha_that_is_learnt(self) -> None:
        """It can be held to a threshold if, and only if, it learns α."""
        guide = self.guide()
        if guide.learns_alpha:
            self.fit(guide, epochs=1, train_threshold=0.0)
            assert guide.train_threshold == 0
            assert math.isfinite(sum(p.sum().item() for p in guide.parameters()))
        else:
            with pytest.raises(InputError):
                guide.train_threshold = 0.0
