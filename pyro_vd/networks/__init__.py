"""Ordinary PyTorch networks: which layers can be pruned, in which order they run, how large they are."""

from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.modules import Rescale, SelectInputs
from pyro_vd.networks.ready import mlp

__all__ = ["Rescale", "SelectInputs", "mlp", "named_weights"]
