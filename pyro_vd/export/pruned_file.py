"""A pruned network as one safetensors file that describes its layers; loading needs no Pyro and runs no code of the file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, get_args

from torch import Tensor, nn

from pyro_vd._core.arguments import check_choice, check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd._core.reading import plain_json, reading
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import write_atomically
from pyro_vd._core.tensor_file import check_checksum, read_tensors, tensor_bytes
from pyro_vd.export.architecture import build, describe, not_described
from pyro_vd.export.given_network import in_the_sizes_of, sizes_of
from pyro_vd.export.savable import check_kept, check_savable
from pyro_vd.export.sparse_file import pack, unpack
from pyro_vd.export.tied_weights import everywhere, once, tied_names
from pyro_vd.networks.checks import check_hooks, check_kinds, check_module, check_state
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.remapped import RemappedEmbedding

logger: logging.Logger = logging.getLogger(__name__)

MARK = "pyro_vd network 1"
"""Marks the files of pruned networks."""
_NUMBERS, _NUMBERS_A_BYTE = 2**24, 1000
"""The most numbers that a sparse file may expand to: the first, or the second per byte of the file, whichever is more."""


class _Described(TypedDict):
    architecture: Any
    info: dict[str, Any]
    sizes: NotRequired[dict[str, Any]]


Layout = Literal["dense", "sparse", "quantised"]


def save_pruned(net: nn.Module, path: Path | str, info: dict[str, Any] | None = None, *, layout: Layout = "dense") -> None:
    """Write a network's tensors and its architecture to one ``.safetensors`` file, atomically.

    Args:
        net: an ordinary network. If it is made of nested ``nn.Sequential`` with known layers, the file describes it. Any other
            network, and one that has a parameter in two places, must be given to :func:`load_pruned` again.
        path: the file; replaced if it exists.
        info: a dictionary that JSON can hold, stored in the file.
        layout: ``dense``; ``sparse``, the non-zeros only, see :func:`~.sparse_file.pack`; or ``quantised``, the same with
            every value replaced by the nearest of 64 per tensor, see :func:`pyro_vd.export.quantisation.codebook`.

    Raises:
        InputError: ``net`` is a Bayesian network, or has forward hooks or replaced methods; the layout is unknown; or
            :func:`load_pruned` could not give back the same, because of NaN weights, for example, or because JSON would change
            ``info``: tuples, NaN, and keys that are not text.
        OSError: the disk is full or the folder is not writable; then nothing is changed.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from torch import nn
        >>> from pyro_vd import load_pruned, save_pruned
        >>> path = Path(mkdtemp(), "net.safetensors")
        >>> save_pruned(nn.Sequential(nn.Linear(4, 3)), path, layout="sparse")
        >>> load_pruned(path)
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
        )
    """
    path = check_path("path", path)
    content, is_described = _content(net, info, layout)
    if not is_described:
        logger.warning(
            "%s does not say how to build %s: load_pruned(path, net=...) will need the network", path, not_described(net)
        )
    write_atomically(Path(path), content)


def dense_size(net: nn.Module, info: dict[str, Any] | None = None) -> int:
    """Return the number of bytes of the file that :func:`save_pruned` writes; no file is written.

    Raises:
        InputError: see :func:`save_pruned`.
    """
    return len(_content(net, info, "dense")[0])


def _content(net: nn.Module, info: dict[str, Any] | None, layout: Layout) -> tuple[bytes, bool]:
    """Return the bytes of a file, and whether it describes its network."""
    check_module("net", net)
    check_hooks(net)
    check_choice("layout", layout, get_args(Layout))
    state = net.state_dict()
    check_savable(net, state)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in once(net, state).items()}
    info = {} if info is None else info
    _check_info(info)
    stored = tensors if layout == "dense" else pack(tensors, quantised=layout == "quantised")
    described = description_of(net, info, stored)
    architecture = described["architecture"]
    content = tensor_bytes(MARK, described, stored)
    found = _dense("net", stored, net if architecture is None else build("net", architecture))
    check_kept("net", found, tensors, exactly=layout != "quantised")
    return content, architecture is not None


def description_of(net: nn.Module, info: dict[str, Any], stored: Iterable[str]) -> dict[str, Any]:
    """The description of a network in a file, beside its tensors, which the file holds under the names ``stored``."""
    architecture = None if tied_names(net) else describe(net)  # a description would untie them
    described = {"architecture": architecture, "info": info}
    return described if architecture is not None else {**described, "sizes": sizes_of(net, stored)}


def load_pruned(path: Path | str, net: nn.Module | None = None) -> nn.Module:
    """Load the network that :func:`save_pruned` wrote, in evaluation mode, on the CPU, with dense tensors.

    Args:
        path: the file.
        net: a network of the same architecture. It is needed if the file does not describe its network, or if the file expands
            to more than 1000 numbers per byte. It is copied, never changed. For the file of a compact network, give the network
            from before :func:`~pyro_vd.compact`, or one with layers of the smaller sizes; the layers of the copy are made as
            small as those of the file, and the selection of inputs is put in front.

    Raises:
        InputError: the file is missing, broken, written by other software, or of another architecture.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from torch import nn
        >>> from pyro_vd import load_pruned, save_pruned
        >>> path = Path(mkdtemp(), "net.safetensors")
        >>> save_pruned(nn.Sequential(nn.Linear(4, 3)), path, layout="sparse")
        >>> load_pruned(path)
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
        )
    """
    path = check_path("path", path)
    if net is not None:
        check_module("net", net)
    described, stored = _read(path)
    given = net is not None
    if net is None:
        if described["architecture"] is None:
            raise InputError(
                f"{path} holds a network that is not nn.Sequential of known, separate layers; give the network too: "
                "load_pruned(path, net=...)",
                name="net",
                value=None,
            )
        net = build(str(path), described["architecture"])
    elif described["architecture"] is None and "sizes" in described:
        with reading(path, "a network of this architecture"):
            net = in_the_sizes_of(str(path), net, described["sizes"], stored)
    else:
        net = copy_network(net)
        if described["architecture"] is not None:
            check_kinds(str(path), build(str(path), described["architecture"]).state_dict(), net.state_dict())
    wanted = net.state_dict()
    expanded = sum(tensor.numel() for name, tensor in wanted.items() if name not in stored)
    if not given and expanded > max(_NUMBERS, _NUMBERS_A_BYTE * (size := Path(path).stat().st_size)):
        raise InputError(
            f"{path} is of another architecture, or very sparse: its {size} bytes expand to {expanded} numbers; if this is "
            "right, give the network too: load_pruned(path, net=...)",
            name="net",
            value=None,
        )
    tensors = _dense(str(path), stored, net)
    check_checksum(path, described, stored)
    state = net.state_dict()  # with the versions of its modules, which some need to read their state
    state.update(tensors)
    net.load_state_dict(state, assign=not given)
    return net.eval()


def read_info(path: Path | str) -> dict[str, Any]:
    """Read the ``info`` that was given to :func:`save_pruned`.

    Raises:
        InputError: the file is missing, broken or written by other software.
    """
    described, stored = _read(Path(path))
    check_checksum(path, described, stored)
    info: dict[str, Any] = described["info"]
    return info


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's description, with ``architecture`` and ``info`` in it, and its tensors as they are stored."""
    described, tensors = read_tensors(path, MARK, "a network saved by pyro_vd")
    check_tree(f"{path} is corrupt", described, _Described)
    return described, tensors


def _check_info(info: Any) -> None:
    try:
        kept = isinstance(info, dict) and plain_json(json.dumps(info)) == info
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(name="info", value=info, allowed=f"what JSON can hold: {one_line(error)}") from error
    if not kept:
        raise InputError(
            name="info", value=info, allowed="a dict that JSON gives back unchanged: lists instead of tuples, and keys of text"
        )


def _dense(where: str, stored: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The dense tensors of a file, checked against this network."""
    tensors = everywhere(tied_names(net), unpack(where, stored, net.state_dict()))
    check_state(where, tensors, net)
    for path, module in net.named_modules():
        if isinstance(module, SelectInputs):
            _check_indices(where, f"{path}.index".lstrip("."), tensors, module.in_features, "inputs")
        elif isinstance(module, RemappedEmbedding):
            _check_indices(where, f"{path}.rows".lstrip("."), tensors, module.num_rows, "rows")
    return tensors


def _check_indices(where: str, name: str, tensors: Mapping[str, Tensor], count: Any, things: str) -> None:
    """Refuse indices that are not those of one of so many things."""
    index = tensors[name]
    if not (isinstance(count, int) and ((index >= 0) & (index < count)).all()):
        raise InputError(f"{where}: {name} goes beyond its {count!r} {things}", name=where, value=index.tolist())
