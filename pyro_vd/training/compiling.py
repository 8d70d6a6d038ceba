"""The compiled step of a training: which batches it takes, how often it is compiled, and what that has cost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyro_vd.inference.compiled_step import CompiledStep, signature

if TYPE_CHECKING:
    from pyro_vd.training.state import TrainingState

logger: logging.Logger = logging.getLogger(__name__)

MAX_SIZES = 8
"""Sizes of the network for which the step is compiled, where the training shrinks."""


class Compiling:
    """Compiles the step of a training for batches of the shapes of the first one, once for each size of the network.

    Batches of other shapes, such as a last smaller one, take uncompiled steps. A training that is resumed takes the same steps
    if its first batch has the shape that the first batch of all had; otherwise they are the same up to rounding.

    Args:
        state: the training, at a size of its network.
    """

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._step: CompiledStep | None = None
        sizes = 1 if state.shrinking is None else 1 + len(state.shrinking.plans)
        self._is_used = state.spec.compile and sizes <= MAX_SIZES
        self._taken, self._others = 0, 0
        if state.spec.compile and sizes == MAX_SIZES + 1:
            logger.warning("compile=True: the network was made smaller %d times; its steps are no longer compiled", MAX_SIZES)

    def backward(self, x: Any, y: Any, share: float) -> Tensor | None:
        """Add ``share`` times the gradients of the loss of a batch; return the loss, or None if the step is not compiled.

        Raises:
            InputError: the step cannot be compiled; see :class:`~pyro_vd.inference.compiled_step.CompiledStep`.
        """
        if not self._is_used:
            return None
        state = self._state
        if self._step is None:
            guide: Any = state.loss_of.guide
            self._step = CompiledStep(state.elbo, state.loss_of.model, guide, x, y, adds_up=state.spec.accumulate > 1)
            state.put_back = None
            state.compile_seconds.append(self._step.seconds)
            logger.info("the step was compiled in %.1f s", self._step.seconds)
        self._taken += 1
        if self._step.signature != signature(x, y):
            self._others += 1
            return None
        return self._step.backward(x, y, share)

    def end_epoch(self) -> None:
        """Say, after the first epoch, if most steps are not compiled."""
        if self._state.epoch == 1 and 2 * self._others > self._taken:
            logger.warning(
                "compile=True: %d of %d batches of the first epoch have other shapes than its first one, and their steps are "
                "not compiled; give batches of one shape",
                self._others,
                self._taken,
            )
        self._taken = self._others = 0
