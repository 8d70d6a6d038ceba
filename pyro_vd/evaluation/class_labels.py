"""The distribution of class labels, one or several per example, with the options of a loss. Needs only torch."""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

_NO_INDEX = -(2**31)
"""A label that no one has."""


class ClassLabels(Categorical):
    """Class labels from logits ``(…, classes)``: labels ``(…)``, or probabilities ``(…, classes)`` as soft labels.

    With class weights or label smoothing, ``log_prob`` is that of the loss: minus ``F.cross_entropy`` per label. Samples,
    probabilities and :meth:`log_p_of` do not depend on these two options.

    Args:
        logits: ``(…, classes)``.
        ignore_index: the label of positions that are not observed, whose log probability is 0; None for none.
        weight: weights of the classes, ``(classes,)``; None for equal weights.
        label_smoothing: the share of a label that is distributed over all classes, in [0, 1).
    """

    def __init__(
        self,
        logits: Tensor,
        *,
        ignore_index: int | None = None,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        normalised = logits.log_softmax(-1)  # one operation, where Categorical takes two
        vars(self)["logits"] = self._param = normalised  # a lazy property of Categorical
        self._num_events = logits.shape[-1]
        super(Categorical, self).__init__(logits.shape[:-1], validate_args=False)
        self.ignore_index: int | None = ignore_index
        self.weight: Tensor | None = weight
        self.label_smoothing: float = label_smoothing

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Return the distribution with a larger batch shape."""
        found: Self = super().expand(batch_shape, self._get_checked_instance(ClassLabels, _instance))
        found.ignore_index, found.weight, found.label_smoothing = self.ignore_index, self.weight, self.label_smoothing
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of labels or soft labels, with the options of the loss, in nats."""
        soft = self.is_soft(value)
        if not soft and self.ignore_index is None and self.weight is None and not self.label_smoothing:
            if value.shape == self.logits.shape[:-1]:
                return self.logits.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)
            plain: Tensor = super().log_prob(value)
            return plain
        classes = self.logits.shape[-1:]
        positions = torch.broadcast_shapes(value.shape[: len(value.shape) - soft], self.logits.shape[:-1])
        target = value.to(self.logits).expand(positions + classes) if soft else value.long().expand(positions)
        loss = F.cross_entropy(
            self.logits.expand(positions + classes).reshape(-1, *classes),
            target.reshape(-1, *classes) if soft else target.reshape(-1),
            None if self.weight is None else self.weight.to(self.logits),
            ignore_index=_NO_INDEX if self.ignore_index is None else self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return -loss.reshape(positions)

    def is_soft(self, value: Tensor) -> bool:
        """Whether these are soft labels, probabilities of the classes in the last dimension."""
        return value.is_floating_point() and value.ndim >= self.logits.ndim and value.shape[-1] == self.logits.shape[-1]

    def is_kept(self, value: Tensor) -> Tensor:
        """Return whether each label is observed, which one that equals ``ignore_index`` is not."""
        if self.is_soft(value) or self.ignore_index is None:
            return torch.ones(value.shape[: value.ndim - self.is_soft(value)], dtype=torch.bool, device=value.device)
        return value != self.ignore_index

    def log_p_of(self, value: Tensor) -> Tensor:
        """Return the log probability of each label without the options of the loss, 0 where it is not observed.

        Of soft labels, it is the expectation of log p under them.
        """
        if self.is_soft(value):
            return torch.where(value > 0, value * self.logits, 0.0).sum(-1)
        kept = self.is_kept(value)
        found = self.logits.gather(-1, torch.where(kept, value, 0).long()[..., None])[..., 0]
        return torch.where(kept, found, 0.0)


def base_distribution(distribution: Distribution) -> Distribution:
    """Return the distribution of one number or label, without the ``Independent`` that ``to_event`` puts around it."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


def is_classes(distribution: Distribution) -> bool:
    """Whether the distribution is that of a class, or of several classes per example."""
    return isinstance(base_distribution(distribution), Categorical)


def hard_labels(y: Tensor, log_p: Tensor) -> Tensor:
    """Return labels in the shape of ``log_p`` without its classes, as int64; of soft labels the most probable class.

    Args:
        y: labels, in any shape with as many elements; or soft labels of the shape of ``log_p``.
        log_p: logits or log probabilities ``(n, …, classes)``.
    """
    return y.argmax(-1) if y.is_floating_point() and y.shape == log_p.shape else y.reshape(log_p.shape[:-1]).long()
