"""The base class of all guides over weights: parameters per site, and one sample statement per site."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, cast

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vd._core.eager import uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import type_name
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.guides.checks import check_model
from pyro_vd.guides.guide_state import GuideState
from pyro_vd.guides.places import broadcast_places
from pyro_vd.guides.predictor import GuidePredictor
from pyro_vd.guides.site import Site
from pyro_vd.guides.unit_layouts import unit_layouts
from pyro_vd.inference.known_sites import says_its_sites, site
from pyro_vd.inference.reparam import TRAIN_THRESHOLD
from pyro_vd.inference.site_checks import OF_WEIGHT_GUIDE
from pyro_vd.models.admission import check_likelihood_type, is_coarse
from pyro_vd.models.bayesian import BayesianNetwork


class WeightGuide(GuideState):
    """A mean-field guide: one independent posterior per weight site of a model.

    The constructor creates all parameters, from the network's own weights, with the names ``sites.<site>.<parameter>``.

    Args:
        model: the Bayesian network.

    Raises:
        InputError: ``model`` is not a Bayesian network, or :meth:`check_types` refuses its types.
    """

    model: BayesianNetwork
    """The model of the guide."""

    @property
    def ranks_inputs(self) -> bool:
        """Whether the guide learns which inputs of a layer matter more than others."""
        return self.learns_alpha

    @property
    def needs_float32(self) -> bool:
        """Whether the guide has variances, for which half precision is too coarse."""
        return self.learns_alpha

    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__()
        check_model(model)
        self.__dict__["model"] = model  # not registered as a submodule: the guide's state must not contain the model's
        self.check_types()
        self.site_names: list[str] = model.weight_names
        self._layouts: dict[str, UnitLayout] = unit_layouts(model)
        self.sites: PyroModule = PyroModule()  # a separate module, because a layer may have the name "mean" or "posterior"
        for name, weight in model.initial_weights.items():
            site = self._add_site(name)
            for parameter, value in self.initial_parameters(name, weight).items():
                setattr(site, parameter, nn.Parameter(value))

    def _add_site(self, name: str) -> Site:
        """Add the module for the parameters of a site."""
        module = cast(PyroModule, self._modules["sites"])
        *path, last = name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, PyroModule())
            module = cast(PyroModule, module._modules[part])
        module.add_module(last, site := Site())
        return site

    def take_smaller(self, whole: Self, left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take sites of the sizes that the model has now, with the numbers that are left of another guide's parameters.

        Args:
            whole: the other guide; it is not changed.
            left: by site, the places of the weights that are left among all weights of ``whole``, in the new weight's shape.

        Returns:
            By name of a parameter of this guide, the places of its numbers in the parameter of that name in ``whole``.

        Raises:
            InputError: which numbers are left cannot be told from the weights that are left.
        """
        self.sites = PyroModule()
        self._take_layouts(whole, left)
        found: dict[str, Tensor] = {}
        for name in self.site_names:
            site = self._add_site(name)
            for parameter, value in whole.site(name)._parameters.items():
                places = found[f"sites.{name}.{parameter}"] = self._places_left(whole, name, parameter, left[name])
                setattr(site, parameter, nn.Parameter(value.detach().take(places), value.requires_grad))
        return found

    def _take_layouts(self, whole: Self, left: Mapping[str, Tensor]) -> None:
        """Take the layouts of the model as it is now."""
        self._layouts = unit_layouts(self.model)

    def _places_left(self, whole: Self, name: str, parameter: str, left: Tensor) -> Tensor:
        """Return which numbers are left of a parameter that has one per weight, or one for all along some dimensions."""
        return broadcast_places(f"sites.{name}.{parameter}", whole.site(name), parameter, left)

    def unit_layout(self, name: str) -> UnitLayout:
        """Return which units the inputs of a site's weight belong to; see :func:`~.unit_layouts.unit_layouts`."""
        layout = self._layouts[name] = self._layouts[name].to(self.site(name).theta.device)
        return layout

    def predictor(self, num_samples: int) -> GuidePredictor:
        """Return the predictor with ``num_samples`` joint draws; see :func:`~pyro_vd.evaluate`."""
        return GuidePredictor(self, num_samples)

    def check_types(self) -> None:
        """Refuse floating-point types of the model and of the guide that are too coarse for learning, or differ.

        A coarse type loses a step of Adam: in bfloat16, the neighbours of log σ² = −10 are −9.94 and −10.06. Training checks
        again, because model and guide may have been converted since the guide was made.

        Raises:
            InputError: weights have half precision or less, and the guide has variances; a likelihood's parameters have such a
                type; or the guide has another type than its model.
        """
        check_likelihood_type(self.model.likelihood)
        for name, weight in self.model.initial_weights.items():
            own = self.site(name).named_parameters(prefix=f"sites.{name}") if "sites" in self._modules else ()
            for what, tensor in ((name, weight), *own):
                if self.needs_float32 and is_coarse(tensor.dtype):
                    raise InputError(
                        f"{what!r} is of type {type_name(tensor.dtype)}; it must be float32 or float64, because smaller types "
                        f"are too coarse for the variances of {type(self).__name__}: call "
                        "fit(..., precision='bf16-mixed'), which uses torch.autocast, and convert the plain network afterwards",
                        name=what,
                        value=tensor.dtype,
                        allowed="float32 or float64",
                    )
                if tensor.dtype != weight.dtype:
                    raise InputError(
                        f"{what!r} is of type {type_name(tensor.dtype)}; it must be {type_name(weight.dtype)}, the type of "
                        "the network's weight: convert model and guide to one type",
                        name=what,
                        value=tensor.dtype,
                        allowed=type_name(weight.dtype),
                    )

    def append(self, guide: Callable[..., Any]) -> None:
        """Add a guide of further latent sites, which is called after the weights are drawn, with the same arguments.

        Both guides are trained together. An example is an autoguide of all other latent sites of the model:
        ``AutoNormal(poutine.block(model, hide=guide.site_names))``.

        Args:
            guide: an ``nn.Module`` that draws latent sites that no other guide draws.

        Raises:
            InputError: ``guide`` is not an ``nn.Module``.
        """
        if not isinstance(guide, nn.Module):
            raise InputError(
                f"guide is a {type(guide).__name__}; it must be an nn.Module, such as a PyroModule or an autoguide, so that "
                "its parameters are trained",
                name="guide",
                value=guide,
                allowed="an nn.Module, such as a PyroModule or an autoguide",
            )
        if "others" not in self._modules:
            self.others: PyroModule = PyroModule[nn.ModuleList]([])
        self.others.append(guide)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """Return the initial parameters of a site, by name, from the network's own weight."""
        return {"theta": weight.clone()}

    @abstractmethod
    def posterior(self, name: str) -> dist.TorchDistribution:
        """Return q(w) of a site, with one entry per weight, from the site's parameters."""

    def leaves(self, name: str) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Return θ, log σ² and the mask of a site if they are its posterior; None where it has other parameters.

        Such a site's KL can be added in closed form: see :mod:`pyro_vd.distributions.closed_form`.
        """
        return None

    def posteriors_of_pass(self) -> Iterator[tuple[str, dist.TorchDistribution]]:
        """Yield the posterior of every site, for one draw of all of them."""
        for name in self.site_names:
            yield name, self.posterior(name)

    def sites_with_units_of(self, name: str) -> list[str]:
        """Return the sites whose units are removed together with those of a site, and the site itself."""
        return [name]

    def mean(self, name: str) -> Tensor:
        """Return the posterior mean θ of a site's weight, 0 where the weight is removed."""
        theta, mask = self.site(name).theta, self.mask(name)
        return theta if mask is None else theta * mask

    @pyro_method
    def _known_sites(self) -> dict[str, Any] | None:
        """Return the sample sites of :meth:`forward`; None if there are added guides."""
        if "others" in self._modules:
            return None
        return {name: site(fn, **infer) for name, fn, infer in self._draws()}

    def _draws(self) -> Iterator[tuple[str, dist.TorchDistribution, dict[str, Any]]]:
        """Yield the name of every weight site, its distribution and its ``infer``."""
        for name, q in self.posteriors_of_pass():
            yield name, q.to_event(len(q.batch_shape)), {OF_WEIGHT_GUIDE: True, TRAIN_THRESHOLD: self._train_threshold}

    @says_its_sites(_known_sites)
    @uncompiled
    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every weight, and all sites of the guides that :meth:`append` has added; return the draws by site.

        Args:
            args: the model's arguments, which are passed to the added guides.
            kwargs: the model's keyword arguments, likewise.
        """
        drawn: dict[str, Tensor] = {}
        for name, q, infer in self._draws():
            drawn[name] = pyro.sample(name, q, infer=infer)
        for guide in cast(nn.ModuleList, self._modules.get("others", ())):
            drawn.update(guide(*args, **kwargs) or {})
        return drawn
