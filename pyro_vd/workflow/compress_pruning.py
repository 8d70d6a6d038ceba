"""What a compression removes: the guide that learns it, and the threshold at which the file is small enough."""

from __future__ import annotations

import copy

from torch import nn

from pyro_vd.compaction.compacting import compacted
from pyro_vd.distributions.priors import LogUniform, NormalJeffreys
from pyro_vd.guides.group_variational_dropout import GroupVariationalDropout
from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs
from pyro_vd.pruning.gauge import gauge_of
from pyro_vd.pruning.pruned import masked
from pyro_vd.pruning.rule import PruningRule, pruning_masks
from pyro_vd.workflow.compress_deploy import Deploy, Reach, file_bytes

_FACTORS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.5, 1.75, 2.0, 3.0, 5.0)
"""What the wanted compression is multiplied by, in turn, until the file is as small as it has to be."""
_SPARE = 64
"""The bytes by which what an ONNX file holds beside its numbers may vary with their count."""


def made_guide(
    net: nn.Module, likelihood: Likelihood | None, deploy: Deploy, example: Inputs
) -> tuple[WeightGuide, PruningRule]:
    """Return the guide that removes what the file loses, units or single weights, and the rule of its training."""
    net, likelihood = copy_network(net), copy.deepcopy(likelihood)
    if deploy == "sparse":
        return VariationalDropout(BayesianNetwork(net, likelihood, prior=LogUniform), log_sigma2=-8.0), PruningRule(3.0)
    model = BayesianNetwork(net, likelihood, prior=NormalJeffreys)
    return GroupVariationalDropout(model, log_sigma2=-4.0, weight_noise=False, example=example), PruningRule(0.0)


def pruned_to(guide: WeightGuide, rule: PruningRule, wanted: Reach, deploy: Deploy, example: Inputs) -> tuple[nn.Module, float]:
    """Prune a trained guide at the highest threshold at which the file of the compact network is small enough; return both.

    Where none is low enough, the lowest one is taken. The threshold is never above that of the rule: what is beyond was held at
    zero in training.

    Args:
        guide: that is trained.
        rule: of its training.
        wanted: the compression that the training had as its target, and the most bytes of the file.
        deploy: what is deployed.
        example: a batch of inputs.
    """
    gauge, overhead = gauge_of(guide, rule, example), None
    for factor in _FACTORS:
        shift = min(0.0, gauge.shift_for(wanted.compression * factor))
        threshold = rule.threshold + shift
        pruned = masked(guide, pruning_masks(guide, PruningRule(threshold)))
        small = compacted(pruned, example).net
        stored = sum(tensor.numel() * tensor.element_size() for tensor in small.state_dict().values())
        if deploy != "onnx":
            size = file_bytes(small, deploy, example)
        else:  # writing one takes seconds, and what is in it beside the numbers is nearly the same
            overhead = file_bytes(small, deploy, example) - stored + _SPARE if overhead is None else overhead
            size = stored + overhead
        if size <= wanted.bytes:
            break
    return pruned, threshold
