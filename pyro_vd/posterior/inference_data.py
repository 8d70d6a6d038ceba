"""A trained model and its guide as ArviZ data: variational parameters, posterior draws and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted
from pyro_vd._core.threads import alone
from pyro_vd.data.dataset import Data, Dataset
from pyro_vd.evaluation.checked_batches import checked_batches
from pyro_vd.evaluation.draws import Draws, join
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.gathering import gathered
from pyro_vd.guides.alpha import has_log_alpha, weight_log_alpha
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.joint_draws import joint_draws
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.inputs import named_tensors
from pyro_vd.posterior.arviz_files import check_arviz, from_tree
from pyro_vd.posterior.observed import Variables, log_likelihoods, observations, observe, predictions, weights_of
from pyro_vd.pruning.rule import Rule
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

Chosen = int | Literal["all"] | Sequence[Sequence[int]]
"""A choice of weights of a site: a number of those with the largest signal |θ|/σ, all, or a list of indices."""


def to_inference_data(
    guide: WeightGuide,
    data: Data,
    *,
    num_samples: int = 100,
    weights: int | Literal["all"] | Mapping[str, Chosen] = 20,
    rule: Rule = DEFAULT_THRESHOLD,
    seed: int = 0,
    history: Sequence[EpochRecord] = (),
    attrs: Mapping[str, str | int | float] | None = None,
) -> Any:
    """Return a trained model and its guide as ArviZ data: ``arviz.InferenceData`` for ArviZ 0.x, ``xarray.DataTree`` for 1.x.

    The draws are independent. R-hat and effective sample sizes, which diagnose Markov chains, have no meaning here: use
    ``az.summary(..., kind="stats")``. There are these groups, with S draws in one chain:

    - ``posterior``: draws of the chosen weights, by site, along ``<layer>.entry`` with labels ``"out, in"``, or along
      ``<layer>.out`` and ``<layer>.in`` for a whole layer; and draws of all other latent sites of the model.
    - ``variational_parameters``, without a draw dimension: ``<site>.theta``, ``<site>.log_sigma2``, ``<site>.log_alpha`` and
      ``<site>.mask``, True for a weight that is left; and the model's plain parameters, such as biases, which have no
      posterior. A guide without log α, such as Bernoulli dropout, has θ, and the mask where weights have been removed.
    - ``posterior_predictive``: sampled observations ``y``; for classes their probabilities ``y_probability``, otherwise their
      means ``y_mean``. Labels that are ignored are predicted too.
    - ``log_likelihood``: log p(yₙ|xₙ, w) in nats, per example and draw, the sum over all labels or numbers that are observed.
    - ``observed_data`` and ``constant_data``: the given observations ``y`` and inputs ``x``; several inputs are ``x_<key>``,
      and weights of examples ``y_weight``. Of several heads, ``y.<head>`` takes the place of ``y`` in all these names;
      ``log_likelihood`` also has ``y``, the sum over the heads.
    - ``training_history``: one record per epoch.

    Where the data are a :class:`~pyro_vd.Dataset` with names of features or classes, these are coordinates: of the inputs ``x``
    and of the weights that read them, and of class probabilities.

    Args:
        guide: a trained guide of any kind.
        data: inputs and observations, or a data set, of which the test data are taken; or batches of them, see
            :func:`~pyro_vd.evaluate`, all of which are put together. To judge or compare models by these data, they must be
            held out from training.
        num_samples: S, at least 1.
        weights: the number of weights per site in ``posterior``: those with the largest signal |θ|/σ, or with the largest |θ|
            where the guide has no log α. A site without more weights is included as a whole layer, and with ``"all"`` every
            site is. A mapping has a number, ``"all"`` or a list of indices per site; sites that it lacks are left out.
        rule: which weights count as pruned; see :func:`~pyro_vd.prune`.
        seed: the seed of the draws. The state of torch's generators is restored.
        history: ``FitResult.history``, or several of them joined.
        attrs: attributes to add, such as the recipe.

    Raises:
        InputError: ``guide`` is not a guide; the data do not fit the network; a site or an index is unknown; a number is out of
            range; model and guide do not have the same latent sites; a site has a ``/`` in its name, which NetCDF does not
            allow; or the extra ``arviz`` is not installed.

    Examples:
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, load_data, to_inference_data
        >>> from pyro_vd.networks import mlp
        >>> guide = VariationalDropout(BayesianNetwork(mlp([64, 10])))
        >>> data = to_inference_data(guide, load_data("digits").test, num_samples=5)
        >>> data["posterior"]["1.weight"].shape  # of the twenty weights with the largest signal
        (1, 5, 20)
    """
    check_arviz()
    import xarray as xr

    from pyro_vd.posterior import arviz_groups as groups

    check_guide(guide)
    model = guide.model
    named = data if isinstance(data, Dataset) else None
    batches = checked_batches("data", data, lambda where, pair: check_data(where, pair, model), dtype_of(model))
    data = check_data("data", data if batches is None else gathered("data", list(batches)), model, part="test")
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    seed = check_number("seed", seed, low=0, high=2**63 - 1, whole=True)
    entries = _entries(_signals(guide), weights)
    labels = groups.names_of(model, named)
    parameters = groups.variational_parameters(guide, rule, labels)

    latents: list[Draws] = []
    observed: list[Draws] = []

    def take(drawn: Draws, found: Draws) -> None:
        chosen = {name: drawn[name] if at is None else drawn[name][(slice(None), *at.T)] for name, at in entries.items()}
        kept = chosen | {name: value for name, value in drawn.items() if name not in guide.site_names}
        latents.append({name: value.cpu() for name, value in kept.items()})
        observed.append(found)

    with alone(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        joint_draws(guide, data[0], data[1], num_samples, observe, take)
    found = join(observed, 0)
    inputs: Variables = {f"x_{name}" if name else "x": (tensor, ["example"]) for name, tensor in named_tensors(data[0])}
    made = {
        "posterior": groups.posterior(model, join(latents, 0), entries, labels),
        "variational_parameters": parameters,
        "posterior_predictive": groups.draws(predictions(found), labels),
        "log_likelihood": groups.draws(log_likelihoods(found)),
        "observed_data": groups.dataset(observations(data[1])),
        "constant_data": groups.dataset(inputs | weights_of(data[1]), labels),
        "training_history": groups.training_history(history),
    }
    root = {"/": xr.Dataset(attrs={**groups.provenance(seed), **(attrs or {})})}
    return from_tree(xr.DataTree.from_dict(root | {name: group for name, group in made.items() if group.data_vars}))


@torch.no_grad()
def _signals(guide: WeightGuide) -> dict[str, Tensor]:
    """Return the signal of every weight, by site, which ranks the weights: −log α, or |θ| where there is no log α."""
    if has_log_alpha(guide):
        return {name: -weight_log_alpha(guide, name) for name in guide.site_names}
    return {name: guide.mean(name).abs() for name in guide.site_names}


def _entries(signals: Mapping[str, Tensor], weights: Chosen | Mapping[str, Chosen]) -> dict[str, Tensor | None]:
    """Return the indices of the chosen weights, ``(k, ndim)``, by site; None for a whole layer.

    Raises:
        InputError: a site or an index is unknown, or a number is below 0.
    """
    by_site = weights if isinstance(weights, Mapping) else dict.fromkeys(signals, weights)
    if unknown := sorted(set(by_site) - set(signals)):
        raise InputError(
            f"weights (={quoted(unknown)}) must name weight sites: {', '.join(signals)}{did_you_mean(unknown[0], signals)}",
            name="weights",
            value=unknown,
            allowed=f"a mapping from some of {', '.join(signals)}",
        )
    entries: dict[str, Tensor | None] = {}
    for name, chosen in by_site.items():
        values = signals[name]
        if isinstance(chosen, int):
            check_number("weights", chosen, low=0, high=LARGEST, whole=True)
        if chosen == "all" or (isinstance(chosen, int) and chosen >= values.numel()):
            entries[name] = None
        elif isinstance(chosen, int):
            if chosen:
                order = values.flatten().topk(chosen).indices
                entries[name] = torch.stack(torch.unravel_index(order, values.shape), 1)
        else:
            entries[name] = _indices(name, chosen, values)
    return entries


def _indices(name: str, chosen: str | Sequence[Sequence[int]], values: Tensor) -> Tensor:
    """Return a list of indices as a tensor ``(k, ndim)``.

    Raises:
        InputError: ``chosen`` is not a list of indices into ``values``.
    """
    try:
        indices = torch.tensor(chosen, device=values.device)
        if indices.shape[1:] != (values.ndim,) or indices.is_floating_point() or (indices < 0).any():
            raise IndexError(chosen)
        values[tuple(indices.T)]
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        allowed = f"a number, 'all', or a list of indices into a weight of the shape {tuple(values.shape)}"
        raise InputError(name=f"weights of {name!r}", value=chosen, allowed=allowed) from error
    return indices
