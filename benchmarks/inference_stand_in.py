"""A network in the place of one whose weights are gone: of its sizes, with as many non-zeros as its ``metrics.json`` says.

Latency depends on how many weights, rows and units are left, and not on which. This is for classifiers of token sequences,
:func:`~pyro_vd.networks.lstm_classifier`, whose runs are too large to keep.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.workflow.recipe_data import data_of
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.run_folder import read_metrics, recipe_of
from pyro_vd.workflow.tables import units_text

EXAMPLES = 1024
"""The number of test inputs; the network's own predictions are taken for their classes."""
NOTE = (
    "The weights of this run are gone: the network has its sizes, and as many non-zeros per layer, at random places among the "
    "units that are left. What is called wrong differs from the pruned network's own predictions."
)


def mask(shape: torch.Size, rows: Tensor, columns: Tensor, count: int) -> Tensor:
    """A mask with ``count`` entries in these rows and columns, each of which has one where there are enough."""
    longer = max(len(rows), len(columns))
    row, column = (torch.randperm(len(each)).repeat(longer)[:longer] for each in (rows, columns))
    flat = (row * len(columns) + column)[:count]
    rest = torch.ones(len(rows) * len(columns), dtype=torch.bool)
    rest[flat] = False
    others = rest.nonzero().flatten()
    chosen = torch.cat([flat, others[torch.randperm(len(others))[: count - len(flat)]]])
    found = torch.zeros(shape, dtype=torch.bool)
    found[rows[chosen // len(columns)], columns[chosen % len(columns)]] = True
    return found


def stand_in(folder: Path, data_dir: Path | None) -> tuple[nn.Module, nn.Module, Arrays]:
    """A dense network, a pruned one, and inputs with the pruned network's predictions."""
    metrics = read_metrics(folder)
    pruned = {layer["site"]: layer for layer in metrics["networks"]["pruned"]["layers"]}
    words, columns, units = map(int, re.findall(r"\d+", units_text(metrics["compact"]["units"]))[:3])
    recipe = parse_recipe(recipe_of(folder))
    torch.manual_seed(0)
    dense = recipe.model.build().eval()
    (vocabulary, width), hidden = dense.get_parameter("embedding.weight").shape, dense.get_parameter("head.weight").shape[1]
    unit = torch.randperm(hidden)[:units]
    left = {
        "word": torch.randperm(vocabulary)[:words],
        "column": torch.randperm(width)[:columns],
        "unit": unit,
        "gate": (torch.arange(4)[:, None] * hidden + unit).flatten(),
        "class": torch.arange(2),
    }
    places = {
        "embedding.weight": ("word", "column"),
        "lstm.weight_ih_l0": ("gate", "column"),
        "lstm.weight_hh_l0": ("gate", "unit"),
        "head.weight": ("class", "unit"),
    }
    masked = copy.deepcopy(dense)
    with torch.no_grad():
        for parameter in masked.parameters():
            if parameter.ndim == 1:  # a bias of 0, as a new layer has it, would let compaction remove more units
                parameter.normal_(std=0.1)
        for site, (rows, read) in places.items():
            weight = masked.get_parameter(site)
            weight.mul_(mask(weight.shape, left[rows], left[read], pruned[site]["nonzero"]))
    x = data_of(recipe, data_dir).x_test[:EXAMPLES]
    return dense, masked, (x, masked(x).argmax(-1))
