"""A baseline for regressions: ridge regression, as an ordinary network."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.models.number_likelihoods import Normal
from pyro_vd.networks.modules import Standardize

ALPHAS = np.logspace(-3, 5, 33)
"""The penalties on the squared weights among which :func:`ridge_regression` chooses."""


def ridge_regression(data: Arrays, standardize: bool = False) -> tuple[nn.Module, Normal]:
    """scikit-learn's ``RidgeCV`` as a linear network with a likelihood.

    The penalty and the noise are chosen by leave-one-out cross-validation on the given data alone.

    Args:
        data: inputs ``(n, …)``, which are flattened, and numbers ``(n,)`` or ``(n, d)``.
        standardize: whether the inputs are standardized first, which becomes part of the network.

    Returns:
        The network, and a likelihood whose scale is the root mean square of the leave-one-out residuals.
    """
    from sklearn.linear_model import RidgeCV

    x, y = data[0].flatten(1), data[1].reshape(len(data[1]), -1)
    front = [Standardize(x.shape[1]).to(x).fit(x)] if standardize else []
    x = nn.Sequential(*front)(x)
    found = RidgeCV(ALPHAS).fit(x.double().numpy(), y.double().numpy())
    linear = nn.Linear(x.shape[1], y.shape[1], dtype=x.dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.atleast_2d(found.coef_)))
        linear.bias.copy_(torch.from_numpy(np.atleast_1d(found.intercept_)))
    return nn.Sequential(nn.Flatten(), *front, linear).eval(), Normal(math.sqrt(-found.best_score_))
