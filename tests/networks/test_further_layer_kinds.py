"""What the kinds of embeddings, attention, recurrent and bilinear layers claim, and those of other packages."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

from pyro_vd.networks.attention_kind import AttentionKind
from pyro_vd.networks.bilinear_kind import BilinearKind
from pyro_vd.networks.embedding_kinds import (
    EmbeddingBagKind,
    EmbeddingKind,
    RemappedEmbeddingBagKind,
    RemappedEmbeddingKind,
)
from pyro_vd.networks.foreign_kinds import Conv1DKind, GeometricLinearKind
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.recurrent_kinds import RecurrentCellKind, RecurrentKind
from pyro_vd.networks.remapped import RemappedEmbedding, RemappedEmbeddingBag
from pyro_vd.testing import LayerKindConformance


class TestEmbedding(LayerKindConformance):
    kind = EmbeddingKind()

    def layer(self) -> nn.Module:
        return nn.Embedding(7, 4, padding_idx=2)

    def example(self) -> Tensor:
        return torch.tensor([[0, 3, 5], [5, 5, 1]])


class TestEmbeddingBag(LayerKindConformance):
    """Rows that occur several times in a bag, an empty bag, and padding."""

    kind = EmbeddingBagKind()

    def layer(self) -> nn.Module:
        return nn.EmbeddingBag(7, 4, padding_idx=-1)

    def example(self) -> Inputs:
        return torch.tensor([0, 2, 2, 6, 1, 1, 1]), torch.tensor([0, 4, 4, 6])


class TestWeightedEmbeddingBag(TestEmbeddingBag):
    def layer(self) -> nn.Module:
        return nn.EmbeddingBag(7, 4, mode="sum", include_last_offset=True)

    def example(self) -> Inputs:
        return torch.tensor([0, 2, 2, 6, 1, 1]), torch.tensor([0, 4, 6]), torch.randn(6)


class TestEmbeddingBagOfMatrix(TestEmbeddingBag):
    def layer(self) -> nn.Module:
        return nn.EmbeddingBag(7, 4)

    def example(self) -> Tensor:
        return torch.tensor([[0, 2, 2], [5, 5, 5], [1, 2, 3]])


class TestRemappedEmbedding(TestEmbedding):
    kind = RemappedEmbeddingKind()

    def layer(self) -> nn.Module:
        made = RemappedEmbedding(7, 4, 4, padding_idx=2, padding_row=2)
        made.rows.copy_(torch.tensor([0, 1, 2, 0, 1, 3, 0]))
        return made


class TestRemappedEmbeddingBag(TestEmbeddingBag):
    kind = RemappedEmbeddingBagKind()

    def layer(self) -> nn.Module:
        made = RemappedEmbeddingBag(7, 4, 4, padding_idx=2, padding_row=2)
        made.rows.copy_(torch.tensor([0, 1, 2, 0, 1, 3, 0]))
        return made


class TestSelfAttention(LayerKindConformance):
    kind = AttentionKind()

    def layer(self) -> nn.Module:
        return nn.MultiheadAttention(6, 2, batch_first=True)

    def example(self) -> Inputs:
        x = torch.randn(3, 5, 6)
        return x, x, x

    def setup_method(self) -> None:
        super().setup_method()
        self.inputs = (self.x, self.x, self.x)

    def other_operations(self) -> int:
        queries, keys = 5, 5
        return 2 * 2 * 3 * queries * keys * 6  # QKᵀ and its product with V, for 3 examples


class TestCrossAttention(LayerKindConformance):
    kind = AttentionKind()

    def layer(self) -> nn.Module:
        return nn.MultiheadAttention(6, 2, kdim=4, vdim=8, bias=False)

    def example(self) -> Inputs:
        return torch.randn(5, 3, 6), torch.randn(7, 3, 4), torch.randn(7, 3, 8)

    def other_operations(self) -> int:
        return 2 * 2 * 3 * 5 * 7 * 6


class TestLSTM(LayerKindConformance):
    kind = RecurrentKind()

    def layer(self) -> nn.Module:
        return nn.LSTM(5, 4, num_layers=2, bidirectional=True, proj_size=3, batch_first=True)

    def example(self) -> Tensor:
        return torch.randn(3, 6, 5)


class TestGRU(TestLSTM):
    def layer(self) -> nn.Module:
        return nn.GRU(5, 4, bias=False, batch_first=True)


class TestRNN(TestLSTM):
    def layer(self) -> nn.Module:
        return nn.RNN(5, 4, nonlinearity="relu")


class TestLSTMCell(LayerKindConformance):
    kind = RecurrentCellKind()

    def layer(self) -> nn.Module:
        return nn.LSTMCell(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


class TestGRUCell(TestLSTMCell):
    def layer(self) -> nn.Module:
        return nn.GRUCell(5, 4)


class TestRNNCell(TestLSTMCell):
    def layer(self) -> nn.Module:
        return nn.RNNCell(5, 4)


class TestBilinear(LayerKindConformance):
    kind = BilinearKind()

    def layer(self) -> nn.Module:
        return nn.Bilinear(3, 4, 5)

    def example(self) -> Inputs:
        return torch.randn(2, 6, 3), torch.randn(2, 6, 4)


class TestConv1D(LayerKindConformance):
    kind = Conv1DKind()

    def layer(self) -> nn.Module:
        from transformers.pytorch_utils import Conv1D

        return Conv1D(4, 5)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 5)


class TestGeometricLinear(LayerKindConformance):
    kind = GeometricLinearKind()

    def layer(self) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the package compiles with torch.jit
            from torch_geometric.nn.dense.linear import Linear

        return Linear(5, 4)

    def example(self) -> Tensor:
        return torch.randn(6, 5)


def test_classes_of_other_packages_are_known_without_importing_them() -> None:
    code = "import sys, pyro_vd.networks; print({'transformers', 'torch_geometric'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_output_projection_of_attention_is_a_linear_layer() -> None:
    layer = nn.MultiheadAttention(6, 2)
    kind = kind_of(layer.out_proj)
    assert kind is not None
    assert kind.weights(layer.out_proj) == {"weight": ("out", "in")}


@pytest.mark.parametrize("layer", [nn.Embedding(4, 3, max_norm=1.0), nn.Embedding(4, 3, sparse=True)])
def test_options_of_embeddings_that_cannot_be_drawn(layer: nn.Module) -> None:
    assert EmbeddingKind().refusal(layer) is not None
    assert EmbeddingKind().refusal(nn.Embedding(4, 3)) is None
