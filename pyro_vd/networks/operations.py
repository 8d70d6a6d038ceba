"""Modules that act on each number by itself."""

from __future__ import annotations

from torch import nn

from pyro_vd.networks.modules import Rescale

ELEMENTWISE: frozenset[type[nn.Module]] = frozenset(
    {
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid),
        *(nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity, Rescale),
        *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    }
)
"""Modules whose output at each place depends, in evaluation mode, on the input at the same place alone."""
