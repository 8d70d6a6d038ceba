"""Any network with the layers in it replaced by sparse forms where these are faster."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.messages import one_line
from pyro_vd.networks.inputs import Inputs, run, tensors_in
from pyro_vd.runtime.report import Choice, LayerTime, NetworkTime
from pyro_vd.runtime.sites import Site
from pyro_vd.runtime.timing import GAIN, shortest_seconds

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""The largest difference of outputs, as a share of the largest output: a sum in another order is rounded otherwise."""


def fastest(net: nn.Module, found: Sequence[Site], x: Inputs, batch_size: int) -> Choice:
    """The network itself, or a copy with sparse layers, whichever is faster for these inputs; and the times.

    Tensors that do not change are shared with the network.
    """
    times: dict[str, LayerTime] = {}
    chosen: dict[str, nn.Module] = {}
    with _measuring(found, batch_size, times, chosen):
        wanted = list(tensors_in(run(net, x)))
    for site in found:
        why = site.why_not or "the network computes without calling it"
        times.setdefault(site.name, LayerTime(site.name, site.kind, batch_size, why=why))
    working, why = _working(net, [site for site in found if site.name in chosen], chosen, x, wanted)
    for name in chosen.keys() - {site.name for site in working}:
        times[name] = LayerTime(name, times[name].kind, batch_size, why=why)
    layers = [times[site.name] for site in found]
    if not working:
        (dense,) = shortest_seconds(lambda: run(net, x))
        return net, layers, NetworkTime(batch_size, dense, None, False, why)
    candidate = substituted(net, working, chosen)
    dense, sparse = shortest_seconds(lambda: run(net, x), lambda: run(candidate, x))
    faster = sparse < GAIN * dense
    return candidate if faster else net, layers, NetworkTime(batch_size, dense, sparse, faster)


def substituted(net: nn.Module, at: Sequence[Site], forms: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a network with forms in the place of layers, wherever the network has these; other tensors are shared."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    for site in at:
        memo |= {id(layer): nn.Identity() for layer in site.layers[1:]} | {id(site.layers[0]): forms[site.name]}
    return copy.deepcopy(net, memo)


@contextmanager
def _measuring(
    found: Sequence[Site], batch_size: int, times: dict[str, LayerTime], chosen: dict[str, nn.Module]
) -> Iterator[None]:
    """Measure each site in the next forward pass of the network, when its first layer is called, with its own input."""

    def watch(site: Site) -> None:
        layer = site.layers[0]

        def forward(*args: Any, **kwargs: Any) -> Any:
            del vars(layer)["forward"]
            times[site.name], form = _measured(site, batch_size, args, kwargs)
            if form is not None:
                chosen[site.name] = form
            return layer.forward(*args, **kwargs)

        vars(layer)["forward"] = forward

    watched = [site for site in found if site.forms]
    for site in watched:
        watch(site)
    try:
        yield
    finally:
        for site in watched:
            vars(site.layers[0]).pop("forward", None)


def _measured(site: Site, batch_size: int, args: Any, kwargs: Any) -> tuple[LayerTime, nn.Module | None]:
    """The time of a site for its input, and its fastest form; None where that is the dense one."""
    wanted = list(tensors_in(site.dense(*args, **kwargs)))
    forms, why = {}, "no sparse form gives the same outputs here"
    for name, make in site.forms:
        form = make().eval()
        try:
            if same(wanted, list(tensors_in(form(*args, **kwargs)))):
                forms[name] = form
        except Exception as error:  # an input in another form, such as a packed sequence, or a type without sparse products
            why = one_line(error)[:100]
    if not forms:
        return LayerTime(site.name, site.kind, batch_size, why=why), None
    calls = [lambda form=form: form(*args, **kwargs) for form in forms.values()]
    dense, *sparse = shortest_seconds(lambda: site.dense(*args, **kwargs), *calls)
    name, best = min(zip(forms, sparse, strict=True), key=lambda pair: pair[1])
    is_faster = best < GAIN * dense
    time = LayerTime(site.name, site.kind, batch_size, dense, best, **({"form": name} if is_faster else {}))
    return time, forms[name] if is_faster else None


def _working(
    net: nn.Module, at: Sequence[Site], forms: Mapping[str, nn.Module], x: Inputs, wanted: Sequence[Tensor]
) -> tuple[list[Site], str]:
    """The sites at which forms can be put: all, or those of which each alone leaves the network the same function."""

    def trouble(some: Sequence[Site]) -> str:
        try:
            found = list(tensors_in(run(substituted(net, some, forms), x)))
        except Exception as error:  # the network's own code reads more of a layer than its output
            return f"the network does not run with it: {one_line(error)[:100]}"
        return "" if same(wanted, found) else "the network gives other outputs with it"

    if not at or not trouble(at):
        return list(at), ""
    alone = {site.name: trouble([site]) for site in at}
    working = [site for site in at if not alone[site.name]]
    why = next((text for text in alone.values() if text), "the network gives other outputs with all of them")
    return (working, why) if not working or not trouble(working) else ([], why)


def same(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Whether outputs have the same shapes, types and, to rounding, values."""
    if [(a.shape, a.dtype) for a in wanted] != [(b.shape, b.dtype) for b in found]:
        return False
    for a, b in zip(wanted, found, strict=True):
        largest = a[a.isfinite()].abs().double()
        size = float(largest.max()) if largest.numel() else 0.0
        if not torch.allclose(b.double(), a.double(), rtol=0, atol=_TOLERANCE.get(a.dtype, 1e-2) * size, equal_nan=True):
            return False
    return True
