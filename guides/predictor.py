"""The predictor of a guide: its Monte Carlo predictive distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyro_vd.data.dataset import Arrays, Data
from pyro_vd.evaluation.checks import check_inputs
from pyro_vd.evaluation.draws import DrawMeans, Draws
from pyro_vd.evaluation.network_size import NetworkSize, network_size
from pyro_vd.evaluation.predictors import Observe
from pyro_vd.guides.means import posterior_mean
from pyro_vd.inference.joint_draws import joint_draws
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.inputs import Inputs

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide


class GuidePredictor:
    """A predictor with S joint draws of all latent sites of a guide's model.

    All examples share each draw, so that their Monte Carlo errors are not independent; see
    :func:`~pyro_vd.inference.joint_draws.joint_draws`.

    Args:
        guide: a trained guide.
        num_samples: S, at least 1.
    """

    has_draws = True

    def __init__(self, guide: WeightGuide, num_samples: int) -> None:
        self._guide, self._num_samples = guide, num_samples

    def check_inputs(self, name: str, x: Any) -> Inputs:
        return check_inputs(name, x, self._guide.model, self._guide.model.observed)

    def check_data(self, name: str, data: Data) -> Arrays:
        return check_data(name, data, self._guide.model, part="test")

    def means(self, x: Inputs, y: Any, observe: Observe) -> Draws:
        means = DrawMeans()
        joint_draws(self._guide, x, y, self._num_samples, observe, lambda _, found: means.add(found))
        return means.means()

    @torch.no_grad()
    def size(self, x: Inputs) -> NetworkSize:
        return network_size(posterior_mean(self._guide), x, self._guide.site_names)
