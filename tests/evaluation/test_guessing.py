"""Whether a network has learnt anything: what is said must not depend on the size of the batches."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyro_vd import BayesianNetwork
from pyro_vd.evaluation.guessing import looks_untrained
from pyro_vd.evaluation.standard_error import losses_by_example
from pyro_vd.models.data_checks import check_held_out
from pyro_vd.networks import mlp


@pytest.mark.parametrize(("size", "is_told"), [(1, False), (2, True), (3, True), (64, True)])
def test_batches_of_any_size(size: int, is_told: bool) -> None:
    """A network is right about all examples or, with other observations, guesses; of single examples nothing can be said."""
    torch.manual_seed(0)
    model = BayesianNetwork(net := mlp([5, 3]))
    x = torch.randn(300, 5)
    good = net(x).argmax(1)
    for y, guesses in ((good, False), (good[torch.randperm(300)], True)):
        data = check_held_out("data", DataLoader(TensorDataset(x, y), batch_size=size), model)
        found = looks_untrained(net, data, model.observed, losses_by_example(net, data, model.observed))
        assert (found is not None) == (guesses and is_told)


def test_in_a_small_batch_nobody_keeps_an_input() -> None:
    """A network that is wrong about 42 % of three classes has learnt: among two examples, guessing is as wrong as elsewhere."""
    torch.manual_seed(0)
    model = BayesianNetwork(net := mlp([5, 3]))
    x = torch.randn(3000, 5)
    right = net(x).argmax(1)
    y = torch.where(torch.rand(3000) < 0.42, (right + torch.randint(1, 3, (3000,))) % 3, right)
    data = check_held_out("data", DataLoader(TensorDataset(x, y), batch_size=2), model)
    assert looks_untrained(net, data, model.observed, losses_by_example(net, data, model.observed)) is None
