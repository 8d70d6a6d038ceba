"""The two lines of ArviZ, 0.x and 1.x, and NetCDF files that both read."""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pyro_vd.arguments import check_path
from pyro_vd.errors import InputError
from pyro_vd.messages import one_line
from pyro_vd.storage import write_atomically

if TYPE_CHECKING:
    import xarray as xr

_COMPRESSED = {"zlib": True, "complevel": 4, "shuffle": True}


def has_data_tree() -> bool:
    """Whether the installed ArviZ works on ``xarray.DataTree``, as 1.x does, and not on ``InferenceData``, as 0.x."""
    return int(version("arviz").partition(".")[0]) >= 1


def import_arviz() -> ModuleType:
    """ArviZ, without its daily announcement of 1.x."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
        import arviz

    return arviz


def from_tree(tree: xr.DataTree) -> Any:
    """What the installed ArviZ works on: InferenceData or the tree itself."""
    return tree if has_data_tree() else import_arviz().from_datatree(tree)


def to_tree(data: Any) -> xr.DataTree:
    """InferenceData, or a DataTree, as DataTree."""
    tree: xr.DataTree = data.to_datatree() if hasattr(data, "to_datatree") and not isinstance(data, type) else data
    if not hasattr(tree, "subtree"):
        raise InputError(f"data is a {type(data).__name__}; it must be InferenceData or a DataTree, as to_inference_data gives")
    return tree


def write_inference_data(data: Any, path: Path | str) -> None:
    """Write InferenceData or a DataTree as a compressed NetCDF file, atomically; one that is there is replaced.

    ``arviz.from_netcdf`` of either line reads it as well.

    Raises:
        OSError: the disk is full or the folder not writable; nothing is changed then.
    """
    tree, path = to_tree(data), check_path("path", path)
    encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in tree.subtree}
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "data.nc"
        tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        write_atomically(Path(path), temporary.read_bytes())


def _encoding(group: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {str(name): _COMPRESSED for name, array in group.variables.items() if array.dtype.kind in "biuf" and array.ndim}


def read_inference_data(path: Path | str) -> Any:
    """What :func:`write_inference_data`, or ArviZ of either line, has written: InferenceData on ArviZ 0.x, DataTree on 1.x.

    All of it is in memory; the file is closed.

    Raises:
        InputError: the file is missing, truncated or no NetCDF file of groups.
    """
    import xarray as xr

    path = check_path("path", path)
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return from_tree(tree.load())
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is missing, truncated or not a NetCDF file: {one_line(error)}") from error
