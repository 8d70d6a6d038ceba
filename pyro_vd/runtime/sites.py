"""The layers of any network that have a sparse form, and these forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from torch import nn

from pyro_vd.networks.layers import as_matrix
from pyro_vd.networks.operations import ELEMENTWISE
from pyro_vd.runtime.csr import CSRNetwork
from pyro_vd.runtime.sparse_layers import SparseConvolution, SparseEmbedding, SparseLinear
from pyro_vd.runtime.sparse_recurrent import SparseRecurrent

_DENSEST = 0.5
"""With a larger share of non-zeros, no sparse form has been faster: at a tenth, the products of a layer take about as long."""

Form = tuple[str, Callable[[], nn.Module]]


@dataclass(frozen=True)
class Site:
    """A layer, or consecutive layers of an ``nn.Sequential`` that run as one.

    Attributes:
        name: of the first layer in the network.
        layers: in order; the forms take the input of the first and give the output of the last.
        forms: sparse forms, each with its name and a function that makes it.
        why_not: why there is none.
    """

    name: str
    layers: tuple[nn.Module, ...]
    forms: tuple[Form, ...]
    why_not: str = ""

    @property
    def kind(self) -> str:
        """The classes of the layers."""
        return ", ".join(type(layer).__name__ for layer in self.layers)

    def dense(self, *args: object, **kwargs: object) -> object:
        """The output as it is."""
        first, *others = self.layers
        y = first(*args, **kwargs)
        for layer in others:
            y = layer(y)
        return y


def sites(net: nn.Module) -> list[Site]:
    """Every place of a network for which there is a sparse form, or would be if it had more zeros."""
    uses = Counter(id(module) for _, module in net.named_modules(remove_duplicate=False))
    found, taken = [], set[int]()
    for path, module in net.named_modules():
        if type(module) is nn.Sequential:
            for run in _runs(module, uses):
                name = next(name for name, child in module.named_children() if child is run[0])
                found.append(Site(f"{path}.{name}".lstrip("."), run, (("CSR", cache(partial(_chain, run))),)))
                taken.update(map(id, run))
    for path, module in net.named_modules():
        if id(module) not in taken and (forms := _forms(module)):
            why = _why_dense(module)
            found.append(Site(path, (module,), () if why else forms, why))
    return found


def without_forms(net: nn.Module, found: list[Site]) -> dict[str, int]:
    """How many modules with weights of their own are at none of the sites, by class."""
    known = {id(layer) for site in found for layer in site.layers}
    return dict(
        Counter(
            type(module).__name__
            for module in net.modules()
            if id(module) not in known and any(p.ndim > 1 for p in module.parameters(recurse=False))
        )
    )


def _runs(net: nn.Sequential, uses: Counter[int]) -> Iterator[tuple[nn.Module, ...]]:
    """Consecutive modules, each used once, of at least two linear layers with zeros and activations between."""
    run: list[nn.Module] = []
    for module in [*net, None]:
        fits = module is not None and uses[id(module)] == 1
        if (fits and _is_linear(module) and not _why_dense(module)) or (fits and run and type(module) in ELEMENTWISE):
            run.append(module)
            continue
        while run and not _is_linear(run[-1]):
            run.pop()
        if sum(map(_is_linear, run)) > 1:
            yield tuple(run)
        run = []


def _is_linear(module: nn.Module) -> bool:
    return as_matrix(module) is not None


def _chain(run: tuple[nn.Module, ...]) -> nn.Module:
    return CSRNetwork(nn.Sequential(*run))


def _forms(module: nn.Module) -> tuple[Form, ...]:
    """The sparse forms of a layer; each is made once, for all batch sizes."""
    if (matrix := as_matrix(module)) is not None:
        return (("CSR", cache(partial(SparseLinear, *matrix))),)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and _is_pointwise(module):
        return (("CSR", cache(partial(SparseConvolution, module))),)
    if type(module) is nn.Embedding and module.max_norm is None:
        return (("rows", cache(partial(SparseEmbedding, module))),)
    if isinstance(module, nn.RNNBase) and type(module) in (nn.RNN, nn.LSTM, nn.GRU):
        forms = {"CSR for inputs": False, "CSR": True}
        return tuple((name, cache(partial(SparseRecurrent, module, hidden))) for name, hidden in forms.items())
    return ()


def _is_pointwise(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> bool:
    plain, sizes = type(layer) in (nn.Conv1d, nn.Conv2d, nn.Conv3d), set(layer.kernel_size)
    return plain and layer.groups == 1 and sizes == {1} and (isinstance(layer.padding, str) or set(layer.padding) == {0})


def _why_dense(module: nn.Module) -> str:
    """Why the sparse forms of a layer need not be measured; empty where they must be."""
    weights = [parameter.detach() for parameter in module.parameters() if parameter.ndim > 1]
    nonzero, total = sum(int(w.count_nonzero()) for w in weights), sum(w.numel() for w in weights)
    if isinstance(module, nn.Embedding):
        return "" if not all(bool(w.any(1).all()) for w in weights) else "every row has a non-zero"
    return "" if nonzero <= _DENSEST * total else f"{100 * nonzero / total:.0f} % of its weights are not zero"
