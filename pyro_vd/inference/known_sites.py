"""Sample sites of a pair that says itself what they are, so that Pyro's handlers need not find them at every step.

Pyro learns the sites of a model and a guide by running both under its effect handlers, with a message for every statement.
Where nothing can depend on these messages, the pair is asked for its sites instead. The ELBO has the same terms then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_vd.distributions.closed_form import ClosedForm
from pyro_vd.inference.closed_sites import closed_forms
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.inference.reparam import gaussian_weight, lazy_weight
from pyro_vd.inference.site_checks import PairSites, sample_sites

_SAYS = "known_sites"
F = TypeVar("F", bound=Callable[..., Any])


Draw = Callable[[Mapping[str, Any]], dict[str, Tensor] | None]
"""A function that draws the weights, given their priors by site; None where the guide has other sites or shapes."""


class GuideSites(Protocol):
    """The sites of a guide: see :func:`says_its_sites`."""

    def __call__(self, guide: Any, /) -> dict[str, Any] | None: ...


class ModelSites(Protocol):
    """The sites of a model: see :func:`says_its_sites`."""

    def __call__(self, model: Any, draw: Draw, x: Any, y: Any, /) -> dict[str, Any] | None: ...


def says_its_sites(sites: GuideSites | ModelSites) -> Callable[[F], F]:
    """Decorate the method ``forward`` of a model or guide with a function that gives its sample sites, as :func:`site` does.

    The function of a guide takes the guide; that of a model takes the model, a function that draws the weights, inputs and
    observations. It gives the sites that are not sample statements of Pyro's; those it runs itself are added by the caller. It
    gives None where a subclass has changed what it describes. A subclass with another ``forward`` has no such function.
    """

    def decorate(forward: F) -> F:
        setattr(forward, _SAYS, sites)
        return forward

    return decorate


def site(fn: Any, value: Any = None, *, is_observed: bool = False, scale: float = 1.0, **infer: Any) -> dict[str, Any]:
    """Return a sample site, as a trace of Pyro has it."""
    return {
        "type": "sample",
        "fn": fn,
        "value": value,
        "is_observed": is_observed,
        "scale": scale,
        "mask": None,
        "infer": infer,
    }


def known_sites(
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    noise: OutputNoise,
    closed: dict[str, ClosedForm] | None = None,
) -> PairSites | None:
    """Return the sites of one pass, whose weights are drawn as by :class:`~.reparam.LocalReparameterization`.

    They are None where only Pyro can find them: a model or guide of another kind, with a ``forward`` of its own or with hooks;
    effect handlers around the pass, other than SVI's search for parameters; or arguments other than inputs and observations.

    Args:
        closed: filled with the sites whose KL is to be added in closed form, which the result does not contain; None for none.
    """
    of_model, of_guide = _function(model), _function(guide)
    if of_model is None or of_guide is None or len(args) != 2 or args[1] is None or kwargs or not _only_parameters_are_traced():
        return None
    forms = {} if closed is None else closed_forms(model, guide)
    drawn: dict[str, Any] | None = {}
    if forms.keys() != set(guide.site_names):
        drawn = cast(GuideSites, of_guide)(guide)
    if drawn is None:
        return None

    def draw(priors: Mapping[str, Any]) -> dict[str, Tensor] | None:
        if (drawn or forms).keys() != priors.keys():
            return None
        weights: dict[str, Tensor] = {}
        for name, prior in priors.items():
            if (kl := forms.get(name)) is not None:
                weights[name] = gaussian_weight(kl.mean, kl.variance, guide.train_threshold, noise)
                continue
            q = drawn[name]["fn"]
            if q.shape() != prior.shape():
                return None
            weight = lazy_weight(q, drawn[name]["infer"], noise)
            weights[name] = drawn[name]["value"] = q() if weight is None else weight
        return weights

    with _Statements() as tracer:
        found = cast(ModelSites, of_model)(model, draw, *args)
    if found is None:
        return None
    if closed is not None:
        closed.update(forms)
    rest, of_rest = ({name: each for name, each in sites.items() if name not in forms} for sites in (found, drawn))
    return PairSites({**rest, **sample_sites(tracer.trace)}, of_rest)


def _function(module: Any) -> GuideSites | ModelSites | None:
    if not isinstance(module, nn.Module) or "forward" in vars(module) or _has_hooks(module):
        return None
    function: GuideSites | ModelSites | None = getattr(type(module).forward, _SAYS, None)
    return function


def _has_hooks(module: nn.Module) -> bool:
    of_all = nn.modules.module
    return any(
        (
            *(module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks),
            *(of_all._global_forward_hooks, of_all._global_forward_pre_hooks),
            *(of_all._global_backward_hooks, of_all._global_backward_pre_hooks),
        )
    )


def _only_parameters_are_traced() -> bool:
    return all(isinstance(handler, TraceMessenger) and handler.param_only for handler in _PYRO_STACK)


class _Statements(TraceMessenger):
    """A trace of the statements in the network or the likelihood, of which only sample sites are looked at."""


def parameters_are_told() -> bool:
    """Whether an effect handler may want to know the parameters of a model."""
    return any(type(handler) is not _Statements for handler in _PYRO_STACK)
