"""Steps of a layer whose KL is added in closed form."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.number_likelihoods import Normal
from pyro_vd.networks.inputs import Inputs, run, tensors_in
from pyro_vd.testing.layer_case import LayerCase
from pyro_vd.testing.steps import steps_agree


class _OfItsInputs(nn.Module):
    """The output of a layer for the same inputs at every step, added to the inputs of the network, as one example."""

    def __init__(self, layer: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.layer, self.inputs = layer, inputs

    def forward(self, x: Tensor) -> Tensor:
        return x + next(tensors_in(run(self.layer, self.inputs))).reshape(1, -1)


class StepsOfLayer(LayerCase):
    """Tests of the steps of a layer."""

    def test_steps_are_those_of_autograd(self) -> None:
        """Whether the output is drawn or the weight."""
        guide = VariationalDropout(
            BayesianNetwork(_OfItsInputs(copy.deepcopy(self.made), self.inputs), Normal()), log_sigma2=-3
        )
        zeros = torch.zeros(1, self.output().numel(), dtype=torch.float64)
        assert steps_agree(guide, zeros, zeros) == set(guide.site_names)
