"""A model and its guide at the size that is left of another pair, and which numbers of that pair theirs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from pyro_vd.compaction import ShrinkPlan, shrink_tensor
from pyro_vd.compaction.applying import applied
from pyro_vd.compaction.module_plans import ModulePlan
from pyro_vd.compaction.plan import InputSelection
from pyro_vd.guides.smaller import smaller_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.models.smaller import smaller_model
from pyro_vd.models.template import tensors_of

Places = dict[str, Tensor]
"""By name of a parameter or buffer, the places of its numbers in a larger tensor, counted through all its dimensions."""


@dataclass(frozen=True)
class SmallerPair:
    """A model and a guide that are trained, of the numbers that are left of the user's own pair, the whole one."""

    guide: WeightGuide
    """Its ``guide.model`` is the model. For the pair of which nothing is removed, the user's own."""
    loss_of: nn.Module
    """Model and guide as one module, whose parameters have the names of those of the whole pair."""
    places: Places = field(default_factory=dict)
    """Places in the tensors of the same names in the whole pair; tensors that are not here have kept all numbers."""
    of_this_size: frozenset[str] = frozenset()
    """Names of buffers that belong to the size of the network, such as the row of each word, and not to what is learnt."""

    def smaller(self, plan: ShrinkPlan, elbo: VariationalDropoutELBO) -> tuple[Self, Places]:
        """Make the pair that a plan leaves; its values are those of the present pair before anything is added to biases.

        Returns:
            The pair, whose guide has no masks, and the places of its numbers in the present pair.

        Raises:
            InputError: the plan does not fit, or a prior or the guide cannot become smaller in this way.
        """
        model = self.guide.model
        net = model.to_module(model.initial_weights)
        step = {f"model.net.{name}": places for name, places in network_places(net, plan).items()}
        net = applied(net, replace(plan, inputs=None))
        plans: tuple[ModulePlan, ...] = (*plan.embeddings, *plan.norms)
        replaced = {net.get_submodule(each.module) for each in plans}
        fixed = {
            f"model.net.{path}.{name}"
            for path, module in net.named_modules(remove_duplicate=False)
            if module in replaced
            for name, _ in module.named_buffers(recurse=False)
        }
        made = smaller_model(model, net)
        left = {name: step.get(f"model.net.{name}", all_places(weight)) for name, weight in model.initial_weights.items()}
        guide, of_guide = smaller_guide(self.guide, made, left)
        step |= {f"guide.{name}": places for name, places in of_guide.items()}
        places = self.places | _composed(self.places, step)
        return type(self)(guide, elbo(made, guide), places, self.of_this_size | fixed), step

    def tensors(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Yield what is learnt by this pair, or by a module with the names of this one: parameters and running statistics."""
        sites = {f"model.net.{name}" for name in self.guide.site_names}
        yield from module.named_parameters()
        for name, buffer in module.named_buffers():
            if not name.startswith("guide.") and name not in self.of_this_size | sites:
                yield name, buffer

    @torch.no_grad()
    def write(self, whole: nn.Module) -> None:
        """Put what this pair has learnt into the tensors of the whole pair; what was removed stays there as it is."""
        for name, tensor, target in self._both(whole):
            if (places := self.places.get(name)) is None:
                target.copy_(tensor)
            else:
                target.put_(places, tensor.to(target))

    @torch.no_grad()
    def read(self, whole: nn.Module) -> None:
        """Take what is left of the tensors of the whole pair."""
        for name, tensor, source in self._both(whole):
            places = self.places.get(name)
            tensor.copy_(source if places is None else source.take(places))

    def _both(self, whole: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
        theirs = dict(self.tensors(whole))
        for name, tensor in self.tensors(self.loss_of):
            if theirs[name] is not tensor:  # the parameters of a likelihood belong to both pairs
                yield name, tensor, theirs[name]

    def write_masks(self, whole: WeightGuide, masks: Mapping[str, Tensor]) -> None:
        """Remove from the whole guide, for good, the weights that are not left, or that a mask of this size removes."""
        found = {}
        for name in self.guide.site_names:
            mask = masks[name]
            if (places := self.places.get(f"guide.sites.{name}.theta")) is not None:
                mask = torch.zeros_like(whole.site(name).theta, dtype=torch.bool).put_(places, mask)
            found[name] = mask
        whole.apply_masks(found)

    def all_kept(self) -> dict[str, Tensor]:
        """Masks of this size that remove nothing."""
        guide = self.guide
        return {name: torch.ones_like(guide.site(name).theta, dtype=torch.bool) for name in guide.site_names}

    def read_masks(self, whole: WeightGuide) -> None:
        """Give the guide the masks of the whole one, as far as they remove weights that are left."""
        for name in self.guide.site_names:
            mask, places = whole.mask(name), self.places.get(f"guide.sites.{name}.theta")
            if mask is not None and not bool((mask := mask if places is None else mask.take(places)).all()):
                self.guide.site(name).keep(mask)


def network_places(net: nn.Module, plan: ShrinkPlan) -> Places:
    """The places that a plan keeps of the tensors of a network that it changes, by all their names."""
    return {name: shrink_tensor(all_places(tensor), plan, found) for name, tensor, found in planned_tensors(net, plan)}


def planned_tensors(net: nn.Module, plan: ShrinkPlan) -> Iterator[tuple[str, Tensor, str]]:
    """The tensors of a network that a plan changes: by all their names, the tensor and its name in the plan."""
    tensors = tensors_of(net)
    in_plan = {id(tensors[found.name]): found.name for found in plan.tensors if found.name in tensors}
    for name, tensor in tensors.items():
        if id(tensor) in in_plan:
            yield name, tensor, in_plan[id(tensor)]


def all_places(tensor: Tensor) -> Tensor:
    """The places of all numbers of a tensor, in its shape."""
    return torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)


def _composed(before: Places, step: Places) -> Places:
    """The places in the whole pair, given those of the pair before, and the places in the pair before.

    Parameters of one site share a tensor of places, which takes as much memory as they do.
    """
    made: dict[tuple[int, int], Tensor] = {}
    found = {}
    for name, places in step.items():
        whole = before.get(name)
        key = id(whole), id(places)
        if key not in made:
            made[key] = places if whole is None else whole.take(places)
        found[name] = made[key]
    return found


def selected(x: Tensor, inputs: InputSelection) -> Tensor:
    """The inputs that a selection keeps, of a batch."""
    x = x.flatten(1) if inputs.flatten else x
    return x.index_select(inputs.dim, torch.tensor(inputs.kept, device=x.device))
