"""NetCDF files of ArviZ data, and the differences between the two versions of ArviZ, 0.x and 1.x, which both read them."""

from __future__ import annotations

import io
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_end, has_seal, seal_end
from pyro_vd._core.storage import write_atomically
from pyro_vd._core.trial import try_to_read

if TYPE_CHECKING:
    import xarray as xr

_WHAT = "a NetCDF file of groups"
_HDF5_CHECK = Path(__file__).with_name("hdf5_check.py")

_COMPRESSED = {"zlib": True, "complevel": 4, "shuffle": True}


def has_data_tree() -> bool:
    """Return whether the installed ArviZ works on ``xarray.DataTree``, as 1.x does; 0.x works on ``InferenceData``."""
    return int(version("arviz").partition(".")[0]) >= 1


def check_arviz() -> None:
    """Refuse to continue without the extra ``arviz``.

    Raises:
        MissingPackageError: naming the missing packages, and the command that installs them.
    """
    check_installed("ArviZ data", "arviz", "xarray", "h5netcdf", "h5py")


def import_arviz() -> ModuleType:
    """Return the module ``arviz``, imported without its daily announcement of version 1.

    Raises:
        MissingPackageError: see :func:`check_arviz`.
    """
    check_arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
        import arviz

    return arviz


def from_tree(tree: xr.DataTree) -> Any:
    """Return the type that the installed ArviZ works on: InferenceData made from the tree, or the tree itself."""
    return tree if has_data_tree() else import_arviz().from_datatree(tree)


def to_tree(data: Any) -> xr.DataTree:
    """Return InferenceData or a DataTree as a DataTree.

    Raises:
        InputError: ``data`` is neither.
    """
    tree: xr.DataTree = data.to_datatree() if hasattr(data, "to_datatree") and not isinstance(data, type) else data
    if not hasattr(tree, "subtree"):
        allowed = "InferenceData or a DataTree, such as to_inference_data gives"
        raise InputError(f"data is a {type(data).__name__}; it must be {allowed}", name="data", value=data, allowed=allowed)
    return tree


def write_inference_data(data: Any, path: Path | str) -> None:
    """Write InferenceData or a DataTree to a compressed NetCDF file, atomically; an existing file is replaced.

    The compressed file is in memory as a whole before it is written.

    ``arviz.from_netcdf`` of both versions of ArviZ can read the file.

    Args:
        data: InferenceData or a DataTree, such as :func:`~pyro_vd.to_inference_data` gives.
        path: the file.

    Raises:
        InputError: ``data`` is neither, or ``path`` is not a path; or the extra ``arviz`` is not installed.
        OSError: the disk is full, or the folder is missing or not writable; nothing is changed then.
    """
    check_arviz()
    tree, path = to_tree(data), check_path("path", path)
    encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in tree.subtree}
    content = io.BytesIO()  # on a full disk the C library of HDF5 ends the process
    tree.to_netcdf(content, engine="h5netcdf", encoding=encoding)
    write_atomically(Path(path), seal_end([content.getbuffer()]))


def _encoding(group: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {str(name): _COMPRESSED for name, array in group.variables.items() if array.dtype.kind in "biuf" and array.ndim}


def read_inference_data(path: Path | str) -> Any:
    """Read a file that :func:`write_inference_data`, or either version of ArviZ, has written.

    Returns InferenceData with ArviZ 0.x, and a DataTree with 1.x. All data are in memory, and the file is closed.

    Args:
        path: the file.

    Raises:
        InputError: the extra ``arviz`` is not installed; the file is missing, truncated, changed after
            :func:`write_inference_data` wrote it, or not a NetCDF file of groups; or its arrays would take more than 256 MiB
            and more than a hundred times the size of the file.
    """
    check_arviz()
    import xarray as xr

    path = check_path("path", path)
    with reading(path, _WHAT):
        content = read_bytes(path, _WHAT)
        if has_seal(content):  # files that ArviZ has written have none
            check_end(str(path), _WHAT, content)
        del content  # before the arrays are read
        try_to_read(path, _HDF5_CHECK)
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return from_tree(tree.load())
