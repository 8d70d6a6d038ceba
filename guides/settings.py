"""The settings of a kind of guide in a recipe: its parameters, and the priors that it can be trained with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pyro_vd._core.errors import InputError
from pyro_vd._core.tagged import TaggedUnion
from pyro_vd.distributions.priors import LogUniform, NormalARD
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs


class GuideSettings(TaggedUnion, ABC):
    """The parameters of one kind of guide, as a recipe gives them under ``train.guide``.

    Each kind has a dataclass that derives from this class, in the file of its guide, and is added by :func:`register_guide`.
    The dataclass has a field ``kind``, which is the kind's name and not an argument (``field(default="…", init=False)``). For
    each parameter of the guide it has a field with a type, a default and a docstring, which ``pyro-vd train --help`` shows.
    """

    kinds: ClassVar[dict[str, type[Any]]] = {}
    kind: str
    """The name of the kind."""
    guide: ClassVar[type[WeightGuide]]
    """The class of the guide that :meth:`build` makes."""

    @property
    def learns_alpha(self) -> bool:
        """Whether the guide learns log α, so that it can prune."""
        return self.guide.learns_alpha

    @property
    def ranks_inputs(self) -> bool:
        """Whether the guide learns which inputs of a layer matter more than others."""
        return self.learns_alpha

    @property
    def priors(self) -> tuple[type[Any], ...]:
        """The priors of weights that the guide can be trained with."""
        return (LogUniform, NormalARD)

    @abstractmethod
    def build(self, model: BayesianNetwork) -> WeightGuide:
        """Return a new guide over the weights of ``model``.

        Raises:
            InputError: the guide cannot be used with this model.
        """

    def build_for(self, model: BayesianNetwork, example: Inputs) -> WeightGuide:
        """Return a new guide, as :meth:`build` does, where a batch of the network's inputs is known.

        Raises:
            InputError: the guide cannot be used with this model.
        """
        return self.build(model)


def register_guide(settings: type[GuideSettings]) -> None:
    """Add a kind of guide, which recipes then choose by the value of the field ``kind`` of its settings.

    Args:
        settings: the class of the settings.

    Raises:
        InputError: another class of settings has this kind.
    """
    if GuideSettings.kinds.get(settings.kind, settings) is not settings:
        known = GuideSettings.kinds[settings.kind].__name__
        raise InputError(name="kind", value=settings.kind, allowed=f"a name that no other kind of guide has; {known} has it")
    GuideSettings.kinds[settings.kind] = settings
