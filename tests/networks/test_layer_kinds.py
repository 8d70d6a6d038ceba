"""What the kinds of layers claim: today's, and two toy ones."""

from __future__ import annotations

import torch
from layer_kind_support import Gated, GatedKind, ScaledLinear, ScaledLinearKind
from torch import Tensor, nn

from pyro_vd.networks.convolution_kinds import ConvolutionKind, TransposedConvolutionKind
from pyro_vd.networks.linear_kind import LinearKind
from pyro_vd.testing import LayerKindConformance


class TestLinear(LayerKindConformance):
    kind = LinearKind()

    def layer(self) -> nn.Module:
        return nn.Linear(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


class TestLinearOverPositions(TestLinear):
    def layer(self) -> nn.Module:
        return nn.Linear(5, 4, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 6, 5)


class TestConv1d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv1d(3, 4, 3, padding=20, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 7)


class TestConv2d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(1, 0), padding_mode="circular")

    def example(self) -> Tensor:
        return torch.randn(2, 3, 6, 7)


class TestConv3d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv3d(2, 3, 2, dilation=2, padding="same")

    def example(self) -> Tensor:
        return torch.randn(2, 2, 4, 5, 4)


class TestGroupedConv2d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv2d(4, 6, 3, groups=2)

    def example(self) -> Tensor:
        return torch.randn(2, 4, 5, 5)


class TestConvTranspose1d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose1d(3, 4, 3, stride=2, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 5)


class TestConvTranspose2d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose2d(3, 4, 2, stride=3, padding=1, output_padding=2, dilation=4)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 5, 4)


class TestConvTranspose3d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose3d(4, 6, 2, groups=2)

    def example(self) -> Tensor:
        return torch.randn(2, 4, 3, 3, 3)


class TestScaledLinear(LayerKindConformance):
    kind = ScaledLinearKind()

    def layer(self) -> nn.Module:
        return ScaledLinear(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


class TestGated(LayerKindConformance):
    kind = GatedKind()

    def layer(self) -> nn.Module:
        return Gated(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)
