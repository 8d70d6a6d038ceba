"""The file of a run's posterior: the parameters of its guide and of its model, as training left them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pyro_vd._core.tensor_file import apart, check_checksum, read_tensors, write_tensors
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.checks import check_state
from pyro_vd.workflow.run_folder import POSTERIOR

MARK = "pyro_vd posterior 1"
"""The format's name and number, in the file."""


def save_posterior(folder: Path, guide: WeightGuide) -> None:
    """Write the guide's parameters, such as θ and log σ², and the model's own into the folder of a run, with a checksum.

    Raises:
        InputError: they are not finite, so that :func:`load_posterior` would refuse the file.
        OSError: the disk is full or the folder is not writable; then nothing is changed.
    """
    state = (both := _both(guide)).state_dict()
    check_state("the posterior", state, both)
    tensors = apart({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    write_tensors(folder / POSTERIOR, MARK, {}, tensors)


def load_posterior(path: Path, guide: WeightGuide) -> None:
    """Fill a guide and its model with what :func:`save_posterior` wrote.

    Raises:
        InputError: the file is missing, broken, changed since it was written, or of another model; nothing is changed.
    """
    described, tensors = read_tensors(path, MARK, "the posterior of a run")
    check_state(str(path), tensors, both := _both(guide))
    check_checksum(path, described, tensors)
    both.load_state_dict(tensors)


def _both(guide: WeightGuide) -> nn.Module:
    return nn.ModuleDict({"model": guide.model, "guide": guide})
