"""The ready networks of the literature: published sizes, shapes, and refused arguments."""

from __future__ import annotations

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import compact
from pyro_vd.networks import conv_classifier, lenet5, lstm_classifier, resnet20, transformer_encoder, vgg_like


def _weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters() if parameter.ndim > 1)


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (lambda: _weights(lenet5()), 430_500),
        (lambda: _weights(vgg_like()), 14_710_464 + 512 * 512 + 512 * 10),
        (lambda: _count(resnet20()), 269_722),
        (lambda: _weights(lstm_classifier()), 20_000 * 300 + 4 * 128 * (300 + 128) + 128 * 2),
    ],
    ids=["lenet5", "vgg_like", "resnet20", "lstm_classifier"],
)
def test_sizes_are_those_of_the_literature(count, wanted):
    with torch.device("meta"):
        assert count() == wanted


@pytest.mark.parametrize(
    ("net", "x", "classes"),
    [
        (conv_classifier((7, 9), 3, 4), torch.randn(2, 7, 9), 3),
        (conv_classifier((3, 1, 20)), torch.randn(2, 3, 1, 20), 10),
        (lenet5(3), torch.randn(2, 28, 28), 3),
        (lenet5(), torch.randn(2, 1, 28, 28), 10),
        (vgg_like(4), torch.randn(2, 3, 32, 32), 4),
        (resnet20(), torch.randn(2, 3, 32, 32), 10),
        (lstm_classifier(30, 5, 8, 6), torch.randint(30, (2, 7)), 5),
        (transformer_encoder(30, 5, 9, 8, 2), torch.randint(30, (2, 9)), 5),
        (transformer_encoder(30, 5, 9, 8, 2), torch.zeros(2, 4, dtype=torch.int64), 5),
    ],
    ids=[
        *("small", "small with channels", "lenet5", "lenet5 with channel", "vgg_like", "resnet20", "lstm", "transformer"),
        "transformer, padding only",
    ],
)
def test_outputs_are_logits_and_every_parameter_learns(net, x, classes):
    logits = net(x)
    assert logits.shape == (2, classes)
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


def test_padding_in_front_does_not_change_the_mean_over_words():
    net = transformer_encoder(30, 5, 9, 8, 2, layers=1).eval()
    net.encoder = nn.Identity()  # what is left is the mean over the words
    text = torch.randint(1, 30, (3, 4))
    longer = torch.cat([torch.zeros(3, 5, dtype=torch.int64), text], 1)
    torch.testing.assert_close(net(longer), net(text))


def test_scaled_filters_start_at_one_and_go_as_a_whole():
    net, x = lenet5(scaled=True).eval(), torch.rand(3, 28, 28)
    scales = next(module for module in net if isinstance(module, nn.Conv2d) and module.groups > 1)
    plain = nn.Sequential(*(module for module in net if module is not scales))
    assert torch.equal(net(x), plain(x))
    assert _count(net) == _count(lenet5()) + 50
    with torch.no_grad():
        scales.weight[10:] = 0
    small = compact(net, x)
    assert [layer.weight.shape[0] for layer in small.modules() if isinstance(layer, nn.Conv2d)] == [20, 10, 10]
    torch.testing.assert_close(small(x), net(x))
    with refuses("scaled", "yes"):
        lenet5(scaled="yes")


@pytest.mark.parametrize("make", [conv_classifier, lenet5, vgg_like, resnet20, lstm_classifier, transformer_encoder])
@pytest.mark.parametrize("classes", [0, 2.5, "ten"])
def test_a_number_of_classes_that_is_none_is_refused(make, classes):
    with refuses("classes", classes):
        make(classes=classes)


@pytest.mark.parametrize(
    ("shape", "name", "value"), [((4,), "shape", [4]), ((1, 1, 4, 4), "shape", [1, 1, 4, 4]), ((4, 0), "shape[1]", 0)]
)
def test_an_image_has_two_or_three_sizes(shape, name, value):
    with refuses(name, value):
        conv_classifier(shape)


def test_heads_must_divide_the_width():
    with refuses("width", 10, "multiple of heads (=4)"):
        transformer_encoder(width=10, heads=4)
