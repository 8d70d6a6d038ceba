"""A training with ``shrink=True`` goes on with less of the network, and its result is that of the network that it was given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shrinking_support import (
    EPOCHS,
    LABELS,
    NETWORKS,
    Network,
    Watch,
    by_column,
    deaden,
    dense,
    flattened,
    group,
    group_shared,
    half_of,
    log_normal,
    normalised,
    state_of,
    trained,
    variational,
    words,
)
from support import refuses
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pyro_vd import BayesianNetwork, VariationalDropout, fit, prune
from pyro_vd.distributions import LogUniform
from pyro_vd.guides import BernoulliDropout, WeightGuide
from pyro_vd.networks import mlp
from pyro_vd.networks.sizes import weight_counts
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.training import FrameRecorder
from pyro_vd.training.frame_files import read_frames
from pyro_vd.training.smaller_pair import selected


@pytest.mark.parametrize(
    ("network", "make"),
    [
        *((network, make) for network in NETWORKS for make in (variational, group_shared)),
        *((network, make) for network in (flattened, normalised) for make in (by_column, group, log_normal)),
    ],
)
@torch.no_grad()
def test_the_network_that_was_given_computes_what_the_smaller_one_has_learnt(
    network: Callable[[], Network], make: Callable[[nn.Module, Tensor], WeightGuide]
) -> None:
    guide, x, watch = trained(network, make)
    shrinking = watch.state.shrinking
    assert shrinking is not None
    assert len(shrinking.plans) == 1
    small, rule = shrinking.pair.guide, watch.state.spec.rule
    of_small, of_whole = pruned_or_mean(small, rule), prune(guide, rule)
    given = x
    for plan in shrinking.plans:
        given = given if plan.inputs is None else selected(given, plan.inputs)
    torch.testing.assert_close(of_small(given), of_whole(x), rtol=1e-4, atol=1e-5)
    theirs = {name: weight.shape for name, weight in network()[0].named_parameters()}
    assert {name: weight.shape for name, weight in of_whole.named_parameters()} == theirs
    assert watch.weights[0] == watch.weights[2] == weight_counts(of_whole, guide.site_names)[0] - _plain(of_whole, guide)
    assert watch.weights[3] < 0.95 * watch.weights[2]
    assert sum(int(mask.sum()) for name in guide.site_names if (mask := guide.mask(name)) is not None) <= watch.weights[-1]
    one, other = (weight_counts(net, guide.site_names)[1] for net in (of_small, of_whole))
    assert one - _plain(of_small, guide) == other - _plain(of_whole, guide), "the same weights are kept"


def _plain(net: nn.Module, guide: WeightGuide) -> int:
    """Weights without a prior."""
    return sum(weight.numel() for name, weight in net.named_parameters() if weight.ndim > 1 and name not in guide.site_names)


def test_removed_words_share_a_row_that_is_zero_for_good() -> None:
    guide, _, watch = trained(words, variational)
    shrinking, name = watch.state.shrinking, "embedding.weight"
    assert shrinking is not None
    whole, small = guide.mask(name), shrinking.pair.guide.mask(name)
    assert whole is not None
    assert small is not None
    is_dead, is_shared = ~whole.any(1), ~small.any(1)
    assert int(is_shared.sum()) == 1
    assert int(is_dead.sum()) == len(half_of(40))
    assert len(small) == 40 - int(is_dead.sum()) + 1


def test_inputs_are_selected_from_tensors_once_and_from_other_batches_as_they_come() -> None:
    def in_batches(**options: Any) -> tuple[dict[str, Any], Watch]:
        torch.manual_seed(1)
        net, x = flattened()
        guide, watch = variational(net, x), Watch()
        deaden(guide)
        fit(guide, options.pop("data"), epochs=5, shrink=True, callbacks=[watch], progress=False, **options)
        return state_of(guide), watch

    data = flattened()[1], LABELS
    of_tensors, watch = in_batches(data=data, batch_size=40, augment=lambda x: x)
    of_selected, _ = in_batches(data=data, batch_size=40)
    assert of_tensors == of_selected
    assert watch.state.shrinking is not None
    assert watch.state.shrinking.batches is watch.state.batches
    of_loader, _ = in_batches(data=DataLoader(TensorDataset(*data), batch_size=40))
    assert of_loader.keys() == of_tensors.keys()


def test_records_and_frames_are_of_the_whole_network(tmp_path: Path) -> None:
    data = dense()[1], LABELS
    guide, _, watch = trained(dense, variational, validation=data, callbacks=[FrameRecorder(tmp_path, 1, data, "validation")])
    frames = read_frames(tmp_path)
    assert len(frames) == EPOCHS + 1
    assert {name: values.shape[1:] for name, values in frames.weights.items()} == {
        name: weight.shape for name, weight in guide.model.initial_weights.items()
    }
    assert frames.left(EPOCHS) == [int(prune(guide).get_parameter(name).count_nonzero()) for name in guide.site_names]
    record = watch.state.history[-1]
    whole, kept = weight_counts(prune(guide), guide.site_names)
    assert record.compression == whole / kept


class Own(BayesianNetwork):
    def forward(self, x: Any, y: Any = None) -> Any:
        return super().forward(x, y)


class Latent(nn.Module):
    def forward(self, *_: Any) -> None:
        pass


def appended(net: nn.Module) -> WeightGuide:
    guide = VariationalDropout(BayesianNetwork(net))
    other = Latent()
    other.scale = nn.Parameter(torch.ones(()))
    guide.append(other)
    return guide


class Wide(LogUniform):
    """A prior of the user's own, which may depend on more than the shape."""


class Flat(torch.optim.SGD):
    """Keeps a copy of all numbers of a parameter in one row."""

    def step(self, closure: Any = None) -> Any:
        for each in self.param_groups:
            for parameter in each["params"]:
                self.state[parameter]["row"] = parameter.detach().flatten().clone()
        return super().step(closure)


@pytest.mark.parametrize(
    ("make", "options", "mentioned"),
    [
        (lambda net: BernoulliDropout(BayesianNetwork(net), 0.2), {}, "BernoulliDropout"),
        (lambda net: VariationalDropout(Own(net)), {}, "forward"),
        (appended, {}, "others.0.scale"),
        (lambda net: VariationalDropout(BayesianNetwork(net)), {"optimizer": Flat}, "row"),
        (lambda net: VariationalDropout(BayesianNetwork(net, prior=Wide)), {}, "Wide"),
    ],
)
def test_what_cannot_become_smaller_is_refused(make: Any, options: dict[str, Any], mentioned: str) -> None:
    x = torch.randn(8, 5)
    guide = make(mlp((5, 4, 3)))
    before = state_of(guide)
    with refuses("shrink", True, mentioned):
        fit(guide, (x, torch.arange(8) % 3), epochs=2, lr=0.1, shrink=True, progress=False, **options)
    assert state_of(guide) == before


class Branching(nn.Module):
    """A network that torch.export cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        logits: Tensor = self.head(h.relu() if h.sum().item() > 0 else h.tanh())
        return logits


class NoBias(nn.Module):
    """A constant unit is read by a layer that has no bias to take what it contributes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 8), nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head((self.layer(x) + 1).relu())
        return logits


class EqualWords(nn.Module):
    """An embedding in which words that have not come up have equal rows, which may differ later."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.head = nn.Embedding(200, 5), nn.Linear(5, 8), nn.Linear(8, 3)
        nn.init.ones_(self.words.weight)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.words(x).mean(1)).relu())
        return logits


def trained_with_dead_units(net: nn.Module, x: Tensor, shrink: bool = True, **options: Any) -> tuple[WeightGuide, Watch]:
    """Four of eight units of ``layer`` are constant, and four are not read by ``head``, of which two are constant.

    Of ``words``, if they have a prior, half are removed.
    """
    torch.manual_seed(2)
    guide, watch = VariationalDropout(BayesianNetwork(net, **options)), Watch()
    with torch.no_grad():
        for site, dead in (("layer.weight", slice(4)), ("head.weight", (..., slice(2, 6))), ("words.weight", slice(100, 200))):
            if site not in guide.site_names:
                continue
            guide.site(site).theta[dead] = 1e-3
            guide.site(site).log_sigma2[dead] = 0.0
    fit(guide, (x, torch.arange(8) % 3), epochs=6, shrink=shrink, callbacks=[watch], progress=False)
    return guide, watch


@torch.no_grad()
def test_constant_units_stay_where_a_layer_has_no_bias() -> None:
    x = torch.randn(8, 5)
    guide, watch = trained_with_dead_units(NoBias(), x)
    assert watch.weights[-1] == 5 * 4 + 4 * 3
    assert watch.state.shrinking is not None
    small = pruned_or_mean(watch.state.shrinking.pair.guide, watch.state.spec.rule)
    torch.testing.assert_close(small(x), prune(guide)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "options", "mentioned"),
    [
        (Branching, {}, "cannot be followed"),
        (EqualWords, {}, "words.weight"),
        (EqualWords, {"exclude": ["words.*"]}, "words.weight"),
    ],
)
def test_a_network_that_cannot_become_smaller_is_trained_whole(
    net: type[nn.Module], options: dict[str, Any], mentioned: str, caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.randint(9, (8, 4)) if net is EqualWords else torch.randn(8, 5)
    torch.manual_seed(3)
    given = net()
    whole, _ = trained_with_dead_units(copy.deepcopy(given), x, False, **options)
    caplog.clear()
    other, _ = trained_with_dead_units(given, x, **options)
    assert state_of(other) == state_of(whole)
    assert [mentioned in record.message for record in caplog.records if "stay plain" not in record.message] == [True]
