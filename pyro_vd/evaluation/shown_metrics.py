"""How metrics show themselves: what all kinds of metrics have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyro_vd._core.shown import Row, Shown

if TYPE_CHECKING:
    from pyro_vd.evaluation.deployed import DeployedSize
    from pyro_vd.evaluation.score import Score
    from pyro_vd.networks.sizes import LayerSize


class ShownMetrics(Shown):
    """Metrics of a network, which notebooks show as one row, of numbers alone."""

    nll: float
    compression: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]

    @property
    @abstractmethod
    def score(self) -> Score:
        """The measure of the error, by its name."""

    def __repr__(self) -> str:
        from pyro_vd.evaluation.deployed import kilobytes

        size = "" if self.deployed is None else f", {self.deployed.parameters:,} parameters, {kilobytes(self.deployed.bytes)}"
        smaller = f"compression {self.compression:.4g}x" if math.isfinite(self.compression) else "no weight left"
        return f"{type(self).__name__}({self.score}, NLL {self.nll:.4g}, {smaller}{size})"

    def _rows(self) -> Sequence[Row]:
        found: dict[str, Any] = self.to_dict()
        own = {name: value for name, value in found.items() if not isinstance(value, dict | list)}
        return [own | {name: value for name, value in (found["deployed"] or {}).items() if name != "not_compacted"}]

    def _notes(self) -> Sequence[str]:
        left = [f"{layer.site}: {layer.nonzero:,} of {layer.weights:,}" for layer in self.layers]
        return [f"Weights that are not zero: {'; '.join(left)}."] if left else []
