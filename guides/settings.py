"""What a recipe needs to know of a kind of guide: its parameters, and what it goes with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pyro_vd._core.errors import InputError
from pyro_vd._core.tagged import TaggedUnion
from pyro_vd.distributions.priors import LogUniform, NormalARD
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork


class GuideSettings(TaggedUnion, ABC):
    """The parameters of one kind of guide, as a recipe gives them under ``train.guide``.

    Each kind is a dataclass that derives from it, beside its guide, and is listed by :func:`register_guide`. It has a field
    ``kind``, which is always the kind's name and is no argument (``field(default="…", init=False)``), and for each parameter of
    the guide a field with a type, a default and a docstring, which ``pyro-vd train --help`` shows.
    """

    kinds: ClassVar[dict[str, type[Any]]] = {}
    kind: str
    """The name of the kind."""
    guide: ClassVar[type[WeightGuide]]
    """What :meth:`build` makes."""

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
        """A new guide over the weights of ``model``.

        Raises:
            InputError: guide and model do not fit.
        """


def register_guide(settings: type[GuideSettings]) -> None:
    """Let recipes choose a kind of guide, by the value of the field ``kind`` of its settings.

    Raises:
        InputError: another class of settings has this kind.
    """
    if GuideSettings.kinds.get(settings.kind, settings) is not settings:
        known = GuideSettings.kinds[settings.kind].__name__
        raise InputError(name="kind", value=settings.kind, allowed=f"a new name; {known} has it")
    GuideSettings.kinds[settings.kind] = settings
