"""The stages through which every network of the list goes, for the conformance test and for the table of the README."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from without_units import with_zeros
from zoo import Specimen

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, compact, fit, log_alpha, prune
from pyro_vd.export.onnx_file import load_onnx, save_onnx
from pyro_vd.export.torch_file import load_torch_export, save_torch_export
from pyro_vd.networks.inputs import Inputs, in_float64, map_tensors, run, tensors_in

EXPORTS = {"ONNX": (save_onnx, load_onnx), "torch.export": (save_torch_export, load_torch_export)}


@dataclass(frozen=True)
class Trained:
    """A network after a short training.

    Attributes:
        model: the Bayesian network.
        guide: its guide.
        without_gradient: the sites of whose posterior no gradient of the data reaches a parameter.
        pruned: the plain network, without the half of its weights whose log α is largest.
    """

    model: BayesianNetwork
    guide: VariationalDropout
    without_gradient: set[str]
    pruned: nn.Module


def train(specimen: Specimen) -> Trained:
    """Train for two epochs of two steps each, and prune."""
    x, y = specimen.seeded_batch(4)
    model = BayesianNetwork(specimen.seeded(small=True), output=specimen.output)
    guide = VariationalDropout(model)
    fit(guide, (x, y), epochs=2, batch_size=2, progress=False)
    guide.zero_grad()  # of the last step, with that of the KL divergence
    VariationalDropoutELBO(kl_weight=0.0)(model, guide)(x, y).backward()
    without = {name for name in model.weight_names if not all(p.grad.any() for p in guide.site(name).parameters())}
    median = torch.cat([values.flatten() for values in log_alpha(guide).values()]).median()
    return Trained(model, guide, without, prune(guide, float(median)))


def share_under_a_prior(net: nn.Module, output: str | None) -> float:
    """The share of a network's parameters that are weights with a prior."""
    weights = BayesianNetwork(net, output=output).initial_weights
    return sum(w.numel() for w in weights.values()) / parameters(net)


def parameters(net: nn.Module) -> int:
    """The number of a network's parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


@cache
def pruned(specimen: Specimen, *, small: bool = True) -> nn.Module:
    """The network without 40 % of its units and 30 % of its other weights."""
    return with_zeros(specimen.seeded(small=small), specimen.seeded_batch(8)[0])


@cache
def compacted(specimen: Specimen, *, small: bool = True) -> nn.Module:
    """The pruned network made smaller."""
    return compact(pruned(specimen, small=small), specimen.seeded_batch(2)[0])


def exported(net: nn.Module, specimen: Specimen, kind: str, path: Path) -> nn.Module:
    """A network written to a file of one of ``EXPORTS``, for every size that its inputs may have, and read again."""
    save, load = EXPORTS[kind]
    save(net, path, specimen.seeded_batch(2)[0], dynamic=specimen.dynamic)
    return load(path)


def other_sizes(specimen: Specimen) -> list[Inputs]:
    """Inputs of other batch sizes than those with which a file was made, and of another length where there is one."""
    several: Any = map_tensors(lambda x: x[:, :-3] if specimen.has_length else x, specimen.seeded_batch(5, seed=2)[0])
    return [specimen.seeded_batch(1, seed=1)[0], several]


@torch.no_grad()
def tolerance(net: nn.Module, x: Inputs) -> float:
    """How far another program's outputs in float32 may be from a network's: 1e-5, or four times what float64 differs by."""
    wanted = list(tensors_in(run(net, x)))
    exact = copy.deepcopy(net).double()
    found = tensors_in(run(exact, in_float64(x)))
    return max(1e-5, 4 * apart(zip(wanted, found, strict=True)))


@torch.no_grad()
def difference(found: nn.Module, wanted: nn.Module, x: Inputs) -> float:
    """The largest difference of outputs as a share of the largest output; infinite where that says nothing.

    A mapping may lack what is no tensor, such as a cache. Outputs that are nearly the same for all examples say nothing.
    """
    ours, theirs = run(found, x), run(wanted, x)
    if isinstance(ours, Mapping):
        theirs = {key: theirs[key] for key in ours}
    pairs: list[tuple[Tensor, Tensor]] = list(zip(tensors_in(ours), tensors_in(theirs), strict=True))
    if not pairs or any(a.shape != b.shape or (len(b) > 1 and b.std(0).max() < 1e-3 * b.abs().max()) for a, b in pairs):
        return float("inf")
    return apart(pairs)


def apart(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The largest difference of the tensors of a pair, as a share of the largest number in the second one; of all pairs."""
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)
