"""The two lines of ArviZ, 0.x and 1.x, and NetCDF files that both read."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
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

if TYPE_CHECKING:
    import xarray as xr

_WHAT = "a NetCDF file of groups"
_HDF5_CHECK = Path(__file__).with_name("hdf5_check.py")
_LEAST, _A_BYTE = 2**28, 100
"""What any file's arrays may take in bytes, and for each of its own bytes if that is more."""

_SECONDS = 5
"""Of processor time to read a small file in, a hundred times what that takes."""

_COMPRESSED = {"zlib": True, "complevel": 4, "shuffle": True}


def has_data_tree() -> bool:
    """Whether the installed ArviZ works on ``xarray.DataTree``, as 1.x does, and not on ``InferenceData``, as 0.x."""
    return int(version("arviz").partition(".")[0]) >= 1


def check_arviz() -> None:
    """Refuse to go on where the extra ``arviz`` is not installed.

    Raises:
        InputError: naming what is missing, and the extra.
    """
    check_installed("ArviZ data", "arviz", "xarray", "h5netcdf", "h5py")


def import_arviz() -> ModuleType:
    """ArviZ, without its daily announcement of 1.x."""
    check_arviz()
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
        InputError: no such data, or the extra is not installed.
        OSError: the disk is full or the folder not writable; nothing is changed then.
    """
    check_arviz()
    tree, path = to_tree(data), check_path("path", path)
    encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in tree.subtree}
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "data.nc"
        tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        write_atomically(Path(path), seal_end(temporary.read_bytes()))


def _encoding(group: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {str(name): _COMPRESSED for name, array in group.variables.items() if array.dtype.kind in "biuf" and array.ndim}


def read_inference_data(path: Path | str) -> Any:
    """What :func:`write_inference_data`, or ArviZ of either line, has written: InferenceData on ArviZ 0.x, DataTree on 1.x.

    All of it is in memory; the file is closed.

    Raises:
        InputError: the extra is not installed; the file is missing, truncated, changed since we wrote it, or no NetCDF file of
            groups; or its arrays would take more than 256 MB and a hundred times its own size.
    """
    check_arviz()
    import xarray as xr

    path = check_path("path", path)
    with reading(path, _WHAT):
        content = read_bytes(path, _WHAT)
        if has_seal(content):  # ArviZ's own files have none
            check_end(str(path), _WHAT, content)
        _check_hdf5(path, len(content))
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return from_tree(tree.load())


def _check_hdf5(path: Path, size: int) -> None:
    """Have all of a file read in a process of its own, whose end is no harm."""
    most, seconds = max(_LEAST, _A_BYTE * size), _SECONDS + size // 2**21
    line = [sys.executable, str(_HDF5_CHECK), str(path.resolve()), str(most), str(seconds)]
    try:  # waiting for a processor that others use is no reason to give up; Windows has no limit of processor time
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=60 + 10 * seconds)
    except subprocess.TimeoutExpired:
        raise ValueError("it cannot be read in time") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ValueError("it cannot be read in time" if name in ("SIGXCPU", "SIGKILL") else f"reading it ends in {name}")
    if done.returncode:
        raise ValueError((done.stderr.splitlines() or ["it cannot be read"])[-1])
