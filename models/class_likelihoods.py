"""Likelihoods of classes: without order, in order, and zeros and ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.arrays import tensor_of
from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.class_labels import ClassLabels
from pyro_vd.models.likelihood import of_pyro, one_per_example, without_column


class Categorical:
    """Class labels from logits: one per example, or one per position, such as per token or per pixel.

    The observations have the shape of the output without the dimension of the classes: ``(n,)`` for ``(n, classes)``,
    ``(n, t)`` for ``(n, t, classes)``, and ``(n, h, w)`` for ``(n, classes, h, w)`` with ``dim=1``. They are integers in
    [0, classes), or soft labels: probabilities with the classes in the last dimension, ``(n, …, classes)``. The log likelihood
    of an example is the sum over its positions.

    Class weights and label smoothing change the loss of a training, as in ``torch.nn.functional.cross_entropy``; predictions,
    metrics and ArviZ data do not depend on them.

    Args:
        dim: the dimension of the output that holds the classes: -1, the last, as in Hugging Face's outputs of tokens; or 1, as
            in PyTorch's outputs ``(n, classes, …)``.
        ignore_index: the label of positions that are not observed, such as -100 for padding; None for none.
        weight: one weight of at least 0 per class; None for equal weights.
        label_smoothing: the share of each label that is distributed over all classes, in [0, 1).

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        dim: int = -1,
        *,
        ignore_index: int | None = None,
        weight: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.dim: int = check_number("dim", dim, low=-LARGEST, high=LARGEST, whole=True)
        if self.dim == 0:
            raise InputError(name="dim", value=dim, allowed="another dimension than 0, which is that of the examples")
        if ignore_index is not None:
            ignore_index = check_number("ignore_index", ignore_index, low=-LARGEST, high=LARGEST, whole=True)
        self.ignore_index: int | None = ignore_index
        self.label_smoothing: float = check_number("label_smoothing", label_smoothing, low=0, high=1)
        if self.label_smoothing == 1:
            raise InputError(name="label_smoothing", value=label_smoothing, allowed="a share in [0, 1)")
        self.weight = None if weight is None else _weights(weight)

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that are not the defaults; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        given = {"dim": self.dim, "ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        defaults = {"dim": -1, "ignore_index": None, "label_smoothing": 0.0}
        options: dict[str, Any] = {name: value for name, value in given.items() if value != defaults[name]}
        return options if self.weight is None else {**options, "weight": self.weight.tolist()}

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        logits = output if self.dim == -1 else output.movedim(self.dim, -1)
        weight = self.weight
        if weight is not None:
            if len(weight) != logits.shape[-1]:
                allowed = f"one weight for each of the {logits.shape[-1]} classes of an output of shape {tuple(output.shape)}"
                raise InputError(name="weight", value=weight.tolist(), allowed=allowed)
            self.weight = weight = weight.to(logits.device)  # copied once
        # Not validated, at every step: the training loop reports non-finite logits, with the names of the sites.
        options: dict[str, Any] = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        return one_per_example(of_pyro(ClassLabels)(logits, weight=weight, **options))

    def __repr__(self) -> str:
        return f"Categorical({', '.join(f'{name}={value}' for name, value in self.options.items())})"


def _weights(weight: object) -> Tensor:
    found = tensor_of("weight", weight).to(torch.get_default_dtype())
    if found.ndim != 1 or not bool(found.isfinite().all() & (found >= 0).all() & (found > 0).any()):
        raise InputError(name="weight", value=weight, allowed="finite numbers of at least 0, one per class, not all 0")
    return found.clone()


class OrderedLogistic(nn.Module):
    """Classes in an order, such as grades: P(y ≤ k) = σ(cₖ − output), with cutpoints c₀ < c₁ < … that are learnt or known.

    Output and observations have the shapes of :class:`~pyro_vd.models.Normal`; observations are integers in [0, classes). It is
    the proportional-odds model (McCullagh 1980).

    Args:
        classes: the number of classes, at least 2, with cutpoints that are learnt with the network. They start where an output
            of 0 makes all classes equally probable.
        cutpoints: known cutpoints in ascending order, one less than there are classes; in place of ``classes``.

    Raises:
        InputError: neither or both are given, ``classes`` is below 2, or the cutpoints are not finite and ascending.
    """

    first: Tensor
    log_gaps: Tensor

    def __init__(self, classes: int | None = None, *, cutpoints: Sequence[float] | None = None) -> None:
        super().__init__()
        if (classes is None) == (cutpoints is None):
            raise InputError(name="classes", value=classes, allowed="a number of classes, or None with cutpoints=[…]")
        if classes is not None:
            classes = check_number("classes", classes, low=2, high=LARGEST, whole=True)
            at = torch.logit(torch.arange(1, classes) / classes)
        else:
            at = tensor_of("cutpoints", cutpoints).to(torch.get_default_dtype())
            if at.ndim != 1 or not len(at) or not bool(at.isfinite().all() & (at.diff() > 0).all()):
                raise InputError(name="cutpoints", value=cutpoints, allowed="finite numbers in ascending order, at least one")
        for name, value in {"first": at[:1], "log_gaps": at.diff().log()}.items():
            if classes is None:
                self.register_buffer(name, value.clone())
            else:
                self.register_parameter(name, nn.Parameter(value.clone()))

    @property
    def cutpoints(self) -> Tensor:
        """The cutpoints, ``(classes − 1,)`` in ascending order."""
        return torch.cat([self.first, self.first + self.log_gaps.exp().cumsum(0)])

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"cutpoints": self.cutpoints.tolist()}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        # log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − exp(b − a)) for b < a: finite for outputs of any size.
        distance = self.cutpoints - without_column(output)[..., None]
        lowest, highest = logsigmoid(distance[..., :1]), logsigmoid(-distance[..., -1:])
        width = torch.log(-torch.expm1(-self.log_gaps.exp()))
        between = logsigmoid(distance[..., 1:]) + logsigmoid(-distance[..., :-1]) + width
        return one_per_example(ClassLabels(torch.cat([lowest, between, highest], -1)))

    def extra_repr(self) -> str:
        shown = ", ".join(f"{cutpoint:.4g}" for cutpoint in self.cutpoints.tolist())
        return f"cutpoints=[{shown}]{', learnt' if isinstance(self.first, nn.Parameter) else ''}"


class Bernoulli:
    """Zeros and ones from logits, p(y = 1) = σ(output): one yes or no per example, or several labels.

    Output and observations have the shapes of :class:`~pyro_vd.models.Normal`; observations are 0 or 1.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return one_per_example(dist.Bernoulli(logits=without_column(output), validate_args=False))
