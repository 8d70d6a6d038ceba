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
    fits = value.ndim == len(shape) and all(own in (1, size) for own, size in zip(value.shape, shape, strict=True))
    if fits:
        whole = torch.arange(value.numel(), device=left.device).reshape(value.shape).expand(shape).take(left)
        places = whole[tuple(slice(1 if size == 1 else None) for size in value.shape)]
        fits = torch.equal(places.expand_as(whole), whole)
    if not fits:
        raise InputError(
            f"shrink (=True) needs a guide whose parameters have one number per weight, per row or per column; {what} is "
            f"{tuple(value.shape)} for weights {tuple(shape)}",
            name="shrink",
            value=True,
            allowed="False with this guide",
        )
    return places
