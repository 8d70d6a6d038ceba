"""What every guide over weights has in common: parameters per site, and one sample statement per site."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vd._core.eager import uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd.guides.checks import check_model
from pyro_vd.guides.guide_state import GuideState
from pyro_vd.guides.predictor import GuidePredictor
from pyro_vd.guides.site import Site
from pyro_vd.inference.reparam import TRAIN_THRESHOLD
from pyro_vd.inference.site_checks import OF_WEIGHT_GUIDE
from pyro_vd.models.admission import check_likelihood_type, is_coarse
from pyro_vd.models.bayesian import BayesianNetwork


class WeightGuide(GuideState):
    """A mean-field guide: one independent posterior for each weight site of a model.

    Parameters are created at once, from the network's own weights, and named ``sites.<site>.<parameter>``.
    """

    model: BayesianNetwork
    """The model that the guide is for."""

    @property
    def ranks_inputs(self) -> bool:
        """Whether it learns which inputs of a layer matter more than others."""
        return self.learns_alpha

    @property
    def needs_float32(self) -> bool:
        """Whether it has variances, for which numbers of half precision are too coarse."""
        return self.learns_alpha

    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__()
        check_model(model)
        self.check_types(model)
        self.site_names: list[str] = model.weight_names
        self.__dict__["model"] = model  # not a part of the guide, which has parameters of its own
        self.sites: PyroModule = PyroModule()  # a module of its own: a layer may be called "mean" or "posterior"
        for name, weight in model.initial_weights.items():
            module = cast(PyroModule, self._modules["sites"])
            *path, last = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, PyroModule())
                module = cast(PyroModule, module._modules[part])
            module.add_module(last, site := Site())
            for parameter, value in self.initial_parameters(name, weight).items():
                setattr(site, parameter, nn.Parameter(value))

    def predictor(self, num_samples: int) -> GuidePredictor:
        """What predicts with so many joint draws; see :func:`~pyro_vd.evaluate`."""
        return GuidePredictor(self, num_samples)

    def check_types(self, model: BayesianNetwork) -> None:
        """Make sure that the numbers of the model and of the guide have the precision that learning needs.

        A step of Adam is lost in them otherwise: log σ² = −10 in bfloat16 has the neighbours −9.94 and −10.06. Training calls
        this again, for both may have been converted since the guide was made.

        Raises:
            InputError: weights of half precision or less where the guide has variances, a likelihood's parameters of such a
                type, or a guide of another type than its model.
        """
        check_likelihood_type(model.likelihood)
        for name, weight in model.initial_weights.items():
            own = dict(self.site(name).named_parameters()) if "sites" in self._modules else {}
            for what, tensor in {"its weight": weight, **own}.items():
                if self.needs_float32 and is_coarse(tensor.dtype):
                    raise InputError(
                        f"site {name!r}: {what} is of type {_type(tensor)}, too coarse for the variances of "
                        f"{type(self).__name__}; keep float32 and call fit inside torch.autocast('cpu' or 'cuda', "
                        "dtype=torch.bfloat16); the plain network can be converted afterwards"
                    )
                if tensor.dtype != weight.dtype:
                    raise InputError(
                        f"site {name!r}: {what} is of type {_type(tensor)}, the network's weight {_type(weight)}; convert "
                        "model and guide to one type"
                    )

    def append(self, guide: Callable[..., Any]) -> None:
        """Draw further latent sites of the model with another guide, after the weights and with the same arguments.

        Such as an autoguide of them, ``AutoNormal(poutine.block(model, hide=guide.site_names))``. It is trained with this one.

        Args:
            guide: of latent sites that no guide has yet; an ``nn.Module``, whose parameters are then found.

        Raises:
            InputError: no module.
        """
        if not isinstance(guide, nn.Module):
            raise InputError(
                f"guide is a {type(guide).__name__}; it must be an nn.Module, such as a PyroModule or an autoguide, so that "
                "its parameters are trained"
            )
        if "others" not in self._modules:
            self.others: PyroModule = PyroModule[nn.ModuleList]([])
        self.others.append(guide)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """The parameters of a site, by name, given the network's own weight."""
        return {"theta": weight.clone()}

    @abstractmethod
    def posterior(self, name: str) -> dist.TorchDistribution:
        """q(w) of a site, with one entry per weight, from its parameters."""

    def mean(self, name: str) -> Tensor:
        """The posterior mean θ of a site's weight, 0 where the weight was removed."""
        theta, mask = self.site(name).theta, self.mask(name)
        return theta if mask is None else theta * mask

    @uncompiled
    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every weight; the arguments, those of the model, are for the guides of further sites."""
        drawn: dict[str, Tensor] = {}
        for name in self.site_names:
            q = self.posterior(name)
            infer = {OF_WEIGHT_GUIDE: True, TRAIN_THRESHOLD: self._train_threshold}
            drawn[name] = pyro.sample(name, q.to_event(len(q.batch_shape)), infer=infer)
        for guide in cast(nn.ModuleList, self._modules.get("others", ())):
            drawn.update(guide(*args, **kwargs) or {})
        return drawn


def check_units(model: BayesianNetwork, names: Sequence[str]) -> None:
    """Make sure that each of these sites has one input unit or channel per column of its weight, to put noise on.

    Raises:
        InputError: naming a layer that has not, such as a transposed or a grouped convolution.
    """
    for name in names:
        layer = model.layer(name)
        if not model.layer_kind(name).takes_unit_noise(layer):
            raise InputError(
                f"site {name!r} is a {layer}: noise on units is for linear layers and convolutions with groups=1; "
                "use noise on weights"
            )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
