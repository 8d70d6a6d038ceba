"""Which numbers are left of the parameters of a site, where some of its weights are removed for good."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.guides.site import Site


def broadcast_places(what: str, site: Site, parameter: str, left: Tensor) -> Tensor:
    """Return the places of the numbers that are left of a parameter whose shape broadcasts to that of the weight.

    Args:
        what: the name of the parameter, for the error.
        site: the site before.
        parameter: the name in the site.
        left: the places of the weights that are left, in the shape of the weight afterwards.

    Raises:
        InputError: the shape does not broadcast so, or the weights that had one number in common are no block any more.
    """
    value, shape = site._parameters[parameter], site.theta.shape
    assert value is not None
    if value.shape == shape:
        return left
    fits = is_shared_along(value.shape, shape)
    if fits:
        places, of_weights = places_left(value.shape, shape, left)
        fits = torch.equal(places.expand_as(of_weights), of_weights)
    if not fits:
        raise InputError(
            f"shrink (=True) needs a guide whose parameters have one number per weight, per row or per column; {what} is "
            f"{tuple(value.shape)} for weights {tuple(shape)}",
            name="shrink",
            value=True,
            allowed="False with this guide",
        )
    return places


def is_shared_along(shape: torch.Size, of_weight: torch.Size) -> bool:
    """Whether a tensor of a shape has one number per number of a weight, or one for all along some dimensions."""
    return len(shape) == len(of_weight) and all(own in (1, size) for own, size in zip(shape, of_weight, strict=True))


def places_left(shape: torch.Size, of_weight: torch.Size, left: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of the numbers that are left of a tensor whose shape :func:`is_shared_along` that of a weight.

    Args:
        shape: of the tensor.
        of_weight: the shape of the weight.
        left: the places of the weights that are left, in the shape of the weight afterwards.

    Returns:
        The places, one for all along the dimensions where the tensor has one number; and that of every weight that is left.
    """
    of_weights = torch.arange(shape.numel(), device=left.device).reshape(shape).expand(of_weight).take(left)
    return of_weights[tuple(slice(1 if size == 1 else None) for size in shape)], of_weights
