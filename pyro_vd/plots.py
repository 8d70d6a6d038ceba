"""Pictures, one function each, returning a matplotlib Figure; no global state, so they work without a display."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vd.errors import InputError
from pyro_vd.networks import named_weights

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # Okabe and Ito's, safe for the colour-blind
SHOWN = (-12.0, 16.0)  # log α beyond is counted at the edges


def pruning_overview(
    log_alphas: Mapping[str, Tensor], net: nn.Module, threshold: float, image_shape: tuple[int, int]
) -> Figure:
    """What training has decided: log α of every weight with the threshold, and how many weights read each input pixel.

    Args:
        log_alphas: as :func:`~pyro_vd.posterior.log_alpha` gives.
        net: the pruned network; its first layer reads an image.
        threshold: on log α.
        image_shape: height and width of the image, in pixels.

    Raises:
        InputError: the first layer does not read as many inputs.
    """
    first = next(weight for _, weight in named_weights(net))
    if first.ndim != 2 or first.shape[1] != image_shape[0] * image_shape[1]:
        raise InputError(f"image_shape (={image_shape}) does not fit a first layer of shape {tuple(first.shape)}")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    bins = torch.linspace(*SHOWN, 71).tolist()
    for (name, values), colour in zip(log_alphas.items(), cycle(COLOURS)):
        share = 100 * (values >= threshold).float().mean().item()
        label = f"{name}, {' × '.join(map(str, values.shape))}: {share:.1f} % above"
        left.hist(values.clamp(*SHOWN).flatten().tolist(), bins, histtype="step", linewidth=1.5, color=colour, label=label)
    left.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    left.set(xlabel="log α", ylabel="weights", yscale="log", title="log α of every weight; right of the line is removed")
    left.legend(fontsize="small")
    counts = (first != 0).sum(0).reshape(image_shape)
    image = right.imshow(counts.tolist(), cmap="cividis")
    right.set(title="weights left a pixel", xlabel="pixel column", ylabel="pixel row")
    figure.colorbar(image, ax=right, label="weights")
    return figure
