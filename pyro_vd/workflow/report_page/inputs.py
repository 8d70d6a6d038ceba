"""What is left of the inputs at each threshold: a map of an image's pixels, the features of a table, or the words of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pyro_vd.networks.inputs import Inputs
from pyro_vd.plots.drawing import image_shape
from pyro_vd.workflow.report_page.markup import escaped, paragraph
from pyro_vd.workflow.report_page.masks import counts_by_input, packed

MOST_WORDS = 2000
"""The most words that are listed, those with the most weights first."""


@dataclass(frozen=True)
class InputPicture:
    """What is shown of the inputs.

    Attributes:
        kind: what they are.
        counts: ``(thresholds, inputs)``, how many weights of the first layer read each.
        names: of the inputs; none of pixels.
        shape: height and width of an image.
    """

    kind: Literal["image", "features", "words"]
    counts: Tensor
    names: Sequence[str] = ()
    shape: tuple[int, int] = (0, 0)

    def program(self) -> dict[str, Any]:
        """What the page's program needs."""
        names = list(self.names) if self.kind == "words" else []
        return {
            "kind": self.kind,
            "counts": packed(self.counts),
            "total": self.counts.shape[1],
            "names": names,
            "most": MOST_WORDS,
        }

    def parts(self, at: int) -> tuple[str, ...]:
        """The HTML of the threshold of this number; the program changes it for the others."""
        counts, total = self.counts[at].tolist(), self.counts.shape[1]
        left = sum(count > 0 for count in counts)
        what = {"image": "pixels", "features": "features", "words": "words"}[self.kind]
        told = f"<p><span data-inputs-left>{left:,}</span> of {total:,} {what} are read by a weight of the first layer.</p>"
        if self.kind == "image":
            rows, columns = self.shape
            scale = max(1, 336 // max(rows, columns))
            size = f'width="{columns}" height="{rows}" style="width:{columns * scale}px;height:{rows * scale}px"'
            scale_text = paragraph(
                "Weights left per pixel: the stronger the colour, the more; an empty pixel is not read.", "small"
            )
            most = f'<p class="small">Weights left of the strongest pixel: <span data-inputs-most>{max(counts):,}</span></p>'
            canvas = f'<canvas data-inputs {size} role="img" aria-label="weights left per pixel"></canvas>'
            return ("<h4>First layer: the pixels that are read</h4>", told, scale_text, canvas, most)
        if self.kind == "features":
            rows_of = "".join(self._feature(name, count, max(counts)) for name, count in zip(self.names, counts, strict=True))
            return ("<h4>Features that are read</h4>", told, f'<ul class="features" data-inputs>{rows_of}</ul>')
        ranked = sorted((place for place, count in enumerate(counts) if count), key=lambda place: -counts[place])
        words = " ".join(self.names[place] for place in ranked[:MOST_WORDS])
        note = paragraph(f"Those with the most weights first; at most {MOST_WORDS:,} are listed.", "small")
        box = f'<p class="words" data-inputs tabindex="0" role="region" aria-label="words that are read">{escaped(words)}</p>'
        return ("<h4>Words that are read</h4>", told, note, box)

    def _feature(self, name: str, count: int, most: int) -> str:
        gone = "" if count else ' class="gone"'
        bar = f'<meter min="0" max="{max(1, most)}" value="{count}" aria-hidden="true"></meter>'
        return f"<li{gone}><span class='name'>{escaped(name)}</span> {bar} <span class='count'>{count:,}</span></li>"


@dataclass(frozen=True)
class InputNames:
    """A few inputs of a network, and what they are called, as in :class:`~pyro_vd.Dataset`."""

    example: Inputs
    features: Sequence[str] | None = None
    words: Sequence[str] | None = None


def names_left(metrics: Mapping[str, Any]) -> dict[str, tuple[Sequence[str], int]]:
    """The names of the inputs that are left, and of how many, by what they are.

    Args:
        metrics: of a run, or ``features`` and what :func:`~pyro_vd.workflow.measuring.inputs_left` has found.
    """
    left = {"features": len(metrics.get("features", ())), "words": metrics.get("words", 0)}
    return {what: (metrics[f"{what}_left"], total) for what, total in left.items() if f"{what}_left" in metrics}


def input_picture(named: InputNames, levels: Tensor, axes: Sequence[str], steps: int) -> InputPicture | None:
    """Return what can be shown of the inputs of a network; None where they are neither named nor pixels of the first layer.

    Args:
        named: the inputs.
        levels: of its first weight, see :class:`~.threshold_curve.ThresholdCurve`.
        axes: the names of the dimensions of this weight.
        steps: the number of thresholds.
    """
    if "in" not in axes:
        return None
    counts = counts_by_input(levels, axes, steps)
    inputs = counts.shape[1]
    if named.words is not None:
        return InputPicture("words", counts[:, : len(named.words)], named.words) if inputs >= len(named.words) else None
    if named.features is not None:
        return InputPicture("features", counts, named.features) if inputs == len(named.features) else None
    shape = image_shape(named.example.shape[1:]) if isinstance(named.example, Tensor) and levels.ndim == 2 else None
    return InputPicture("image", counts, shape=shape) if shape and shape[0] * shape[1] == inputs else None
