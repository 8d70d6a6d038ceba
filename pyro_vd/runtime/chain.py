"""The fastest form of a chain: linear layers with activations between, which pass on ``(features, batch)``."""

from __future__ import annotations

from functools import partial

from torch import nn

from pyro_vd.networks.layers import as_matrix
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.runtime.csr import CSRNetwork, linear_steps
from pyro_vd.runtime.csr_linear import CSRLinear
from pyro_vd.runtime.report import DENSE, Choice, LayerTime, NetworkTime
from pyro_vd.runtime.timing import GAIN, shortest_seconds


def fastest_chain(dense: nn.Module, batch_size: int) -> Choice:
    """The network itself, or a :class:`CSRNetwork` with each layer dense or CSR, whichever is fastest; and the times.

    Raises:
        InputError: the network is no chain; see :func:`~.csr.linear_steps`.
    """
    _, steps = linear_steps(dense)
    selected = next((step.in_features for step in steps if isinstance(step, SelectInputs)), None)
    layers = [(step, matrix) for step in steps if (matrix := as_matrix(step)) is not None]
    names = {id(module): name for name, module in dense.named_modules()}
    times = []
    for index, (step, (weight, bias)) in enumerate(layers):
        features = weight.shape[1]
        h = weight.new_ones(features, batch_size)
        if index == 0 and selected is None:
            h = weight.new_ones(batch_size, features).t()  # transposed, as in the network
        products = [CSRLinear(weight, bias, csr).product() for csr in (False, True)]
        as_dense, as_csr = shortest_seconds(*(partial(product, h) for product in products))
        form = "CSR" if as_csr < as_dense else DENSE
        times.append(LayerTime(names[id(step)], type(step).__name__, batch_size, as_dense, as_csr, form))
    candidate = CSRNetwork(dense, [time.form != DENSE for time in times])
    x = weight.new_ones(batch_size, selected or layers[0][1][0].shape[1])
    before, after = shortest_seconds(lambda: dense(x), lambda: candidate(x))
    faster = after < GAIN * before
    return candidate if faster else dense, times, NetworkTime(batch_size, before, after, faster)
