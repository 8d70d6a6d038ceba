"""Ordinary PyTorch networks: the kinds of their layers, the order in which these run, and how large a network is.

:class:`LayerKind` describes a kind of layer and :func:`register_layer` adds one; everything else in the library asks the
registry what a layer's weights are, how they are counted and how the layer is made smaller.
"""

from pyro_vd.networks.attention_kind import AttentionKind
from pyro_vd.networks.bilinear_kind import BilinearKind
from pyro_vd.networks.convolution_kinds import ConvolutionKind, TransposedConvolutionKind
from pyro_vd.networks.embedding_kinds import (
    EmbeddingBagKind,
    EmbeddingKind,
    RemappedEmbeddingBagKind,
    RemappedEmbeddingKind,
)
from pyro_vd.networks.foreign_kinds import Conv1DKind, GeometricLinearKind
from pyro_vd.networks.layer_kind import FixedUnitsKind, LayerKind
from pyro_vd.networks.layer_registry import register_layer
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.linear_kind import LinearKind
from pyro_vd.networks.linear_map import LinearMap
from pyro_vd.networks.modules import Rescale, SelectInputs, Standardize
from pyro_vd.networks.ready import conv_classifier, lenet5, mlp, vgg_like
from pyro_vd.networks.ready_residual import resnet20
from pyro_vd.networks.ready_sequences import lstm_classifier, transformer_encoder
from pyro_vd.networks.recurrent_kinds import RecurrentCellKind, RecurrentKind
from pyro_vd.networks.remapped import RemappedEmbedding, RemappedEmbeddingBag

for _kind in (
    *(LinearKind(), ConvolutionKind(), TransposedConvolutionKind(), EmbeddingKind(), EmbeddingBagKind(), AttentionKind()),
    *(RecurrentKind(), RecurrentCellKind(), BilinearKind(), Conv1DKind(), GeometricLinearKind()),
    *(RemappedEmbeddingKind(), RemappedEmbeddingBagKind()),
):
    register_layer(_kind)

__all__ = [
    "FixedUnitsKind",
    "LayerKind",
    "LinearMap",
    "RemappedEmbedding",
    "RemappedEmbeddingBag",
    "Rescale",
    "SelectInputs",
    "Standardize",
    "conv_classifier",
    "lenet5",
    "lstm_classifier",
    "mlp",
    "named_weights",
    "register_layer",
    "resnet20",
    "transformer_encoder",
    "vgg_like",
]
