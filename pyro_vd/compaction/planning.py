"""From a pruned network to its :class:`~.plan.ShrinkPlan`, in three steps on the graph that ``torch.export`` makes of it.

analyse   find the units, those that have the same value for every input, and those that the output depends on (:mod:`.rules`)
count     keep a few more where tensors would be no rectangles any more (:mod:`.counting`)
plan      list what is kept of each tensor, and what is added to biases (:class:`Planning`)

A network with three hidden units shows them at work. Unit 0 computes something. Unit 1 has no weights left, so it is always
relu(2) = 2. Unit 2 is read by nobody.

>>> import torch
>>> from torch import nn
>>> from pyro_vd.compaction import apply_plan, shrink_plan
>>> net = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
>>> _ = net.load_state_dict({
...     "0.weight": torch.tensor([[1.0], [0.0], [4.0]]), "0.bias": torch.tensor([0.0, 2.0, 1.0]),
...     "2.weight": torch.tensor([[3.0, 5.0, 0.0]]), "2.bias": torch.tensor([1.0]),
... })
>>> plan = shrink_plan(net)

*analyse* goes forward: "0" makes three units, the activation passes on each by itself, and "2" reads them. Unit 1 is 2 for
every input, so that it contributes 5 · 2 = 10 to "2". Then it goes back from the output, which depends on unit 0 alone: the
weight of unit 1 is replaced by the 10, and that of unit 2 is zero. So *plan* keeps unit 0 of each tensor, and adds 10 to a
bias:

>>> plan.kept("0.weight"), plan.kept("2.weight")
({0: tensor([0])}, {1: tensor([0])})
>>> plan.tensor("2.bias").added
(10.0,)
>>> {name: tensor.tolist() for name, tensor in apply_plan(net, plan).state_dict().items()}
{'0.weight': [[1.0]], '0.bias': [0.0], '2.weight': [[3.0]], '2.bias': [11.0]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.attributes import attention_plans, attribute_plans, scales
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.findings import Product
from pyro_vd.compaction.norms import keep_constants, norm_plans
from pyro_vd.compaction.plan import InputSelection, ShrinkPlan
from pyro_vd.compaction.remapping import embedding_plans
from pyro_vd.compaction.shuffles import shuffles
from pyro_vd.compaction.tensor_plan import TensorPlan


class Planning:
    """The plans for a network, given what is known of its graph.

    Args:
        analysis: of the network, with marks of what is live.
        inputs: the node whose entries are units too, because a selection of inputs can be put in front; None for none.
    """

    def __init__(self, analysis: Analysis, inputs: fx.Node | None) -> None:
        self.analysis = analysis
        self._inputs = inputs
        self._shuffles = shuffles(analysis)
        self.checking: set[type[nn.Module]] = set()
        """Classes of modules that raise an error in a smaller network; they may compare their numbers with sizes."""

    def plans(self, more: list[Tensor], selection: InputSelection | None) -> Iterator[ShrinkPlan]:
        """The plan in which units with the labels ``more`` stay, too; several where it is open what numbers of modules mean.

        Args:
            more: the labels.
            selection: how inputs can be selected.
        """
        counting = Counting(self.analysis, more, self._shuffles)
        self.counting: Counting = counting
        keep_constants(self.analysis, counting)
        tables = list(embedding_plans(self.analysis, counting))
        rows = {name: kept for _, name, kept in tables}
        tensors = [*self._new_biases(counting), *self._tensors(counting, rows)]
        if selection is not None and self._inputs is not None:
            labels = self.analysis.values[self._inputs].labels[0]
            kept = counting.mask(labels if selection.flatten else _along(labels, selection.dim)).flatten()
            if bool(kept.all()):
                selection = None
            else:
                found = tuple(kept.nonzero().flatten().tolist()) or (0,)
                selection = InputSelection(selection.features, selection.dim, selection.flatten, found)
        attentions = tuple(attention_plans(self.analysis, counting, [found.name for found in tensors]))
        embeddings, norms = tuple(found for found, _, _ in tables), tuple(norm_plans(self.analysis, counting))
        for attributes in attribute_plans(self.analysis, counting, self.checking):
            yield ShrinkPlan(tuple(tensors), selection, (), attributes, attentions, embeddings, norms)

    def reads_no_input(self) -> bool:
        """Whether the outputs depend on no input, as far as can be told."""
        if self._inputs is None:
            return False
        return not bool(self.analysis.live[self.analysis.labels.find(self.analysis.values[self._inputs].labels)].any())

    def _tensors(self, counting: Counting, rows: dict[str, tuple[int, ...]]) -> Iterator[TensorPlan]:
        """What becomes of every parameter and buffer that changes; ``rows`` are those that are kept of embeddings."""
        zeroed, added = _zeroed(self.analysis), _added(self.analysis)
        factors = scales(self.analysis, counting)
        for name, labels in self.analysis.places.labels.items():
            shape = tuple(self.analysis.graph.tensor(name).shape)
            kept: list[tuple[int, ...] | None] = [None] * len(shape)
            zeros: list[tuple[int, ...]] = [()] * len(shape)
            for dim, vector in enumerate(labels):
                place = (name, dim)
                stays = counting.indices(vector) if place in self.analysis.places.linked else tuple(range(len(vector)))
                mask = torch.zeros(len(vector), dtype=torch.bool)
                mask[list(stays)] = True
                if stays != tuple(range(len(vector))):
                    kept[dim] = stays
                if place in zeroed:
                    zeros[dim] = tuple((zeroed[place] & mask).nonzero().flatten().tolist())
            if name in rows:
                kept[0] = rows[name]
            plus = tuple(added[name].tolist()) if name in added and bool(added[name].any()) else ()
            times = tuple(tuple(factors.get((name, dim), ())) for dim in range(len(shape)))
            times = times if any(times) else ()
            if any(part is not None for part in kept) or any(zeros) or plus or times:
                parts = self.analysis.places.parts.get(name, 1)
                yield TensorPlan(name, shape, tuple(kept), tuple(zeros), plus, times, parts=parts)

    def _new_biases(self, counting: Counting) -> Iterator[TensorPlan]:
        """Biases that layers get, for what constant inputs contribute."""
        for product in self.analysis.products:
            if product.bias is None or product.bias in self.analysis.places.labels:
                continue
            stays = counting.indices(product.outputs)
            mask = torch.zeros(len(product.outputs), dtype=torch.bool)
            mask[list(stays)] = True
            added = product.added.where(product.needed, 0)
            if bool(added[mask].any()):
                kept = None if stays == tuple(range(len(mask))) else stays
                silent = tuple((mask & ~product.needed).nonzero().flatten().tolist())
                yield TensorPlan(product.bias, (len(mask),), (kept,), (silent,), tuple(added.tolist()), (), True)


def _along(labels: Tensor, dim: int) -> Tensor:
    """The labels of one example along one dimension of its batch."""
    labels = labels.movedim(dim if dim < 0 else dim - 1, 0)
    return labels.reshape(len(labels), -1)[:, 0]


def _added(analysis: Analysis) -> dict[str, Tensor]:
    """By name of a bias that is there, what constant inputs contribute."""
    return {product.bias: product.added.where(product.needed, 0) for product in analysis.products if product.bias}


def _zeroed(analysis: Analysis) -> dict[tuple[str, int], Tensor]:
    """By name and dimension, which indices must be zero if they stay: inputs that are folded, outputs that nobody reads.

    Where several layers use an index, it must be so for all of them.
    """
    votes: dict[tuple[str, int], Tensor] = {}
    uses: dict[tuple[str, int], Tensor] = {}
    products = Counter(name for product in analysis.products for name in {name for name, _ in product.out_of | product.into})
    for product in analysis.products:
        for place, index, silent in _silent(product):
            name, dim = place
            none = torch.zeros(len(analysis.places.labels[name][dim]), dtype=torch.int64)
            uses.setdefault(place, none.clone()).index_add_(0, index, torch.ones_like(index))
            votes.setdefault(place, none).index_add_(0, index, silent.long())
    return {
        place: (votes[place] == uses[place]) & (uses[place] > 0)
        for place in votes
        if products[place[0]] >= analysis.graph.uses(place[0])
    }


def _silent(product: Product) -> Iterator[tuple[tuple[str, int], Tensor, Tensor]]:
    """Places of a layer, indices there, and which of them are silent."""
    for place, index in product.into.items():
        yield place, index, product.folded
    for place, index in product.out_of.items():
        yield place, index, ~product.needed
