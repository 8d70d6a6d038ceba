"""Files of ArviZ data: what is written is read back equal, also by ArviZ itself and by the other version of ArviZ."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import h5py
import pytest
from posterior_support import known_data, known_pair
from support import ANYTHING, ENVIRONMENT, refuses

from pyro_vd import fit, to_inference_data
from pyro_vd.guides import PointEstimate
from pyro_vd.posterior import read_inference_data, write_inference_data
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree

az = import_arviz()
OTHER = os.environ.get("PYRO_VD_OTHER_PYTHON")
"""A Python with the other version of ArviZ, which ``make test-arviz1`` provides."""


def known() -> Any:
    """Return data with every kind of group and of number."""
    model, guide = known_pair()
    history = fit(PointEstimate(model), known_data(), epochs=2, progress=False).history
    return to_inference_data(guide, known_data(), num_samples=20, weights=7, history=history, attrs={"recipe": "a: b\n"})


def same(first: Any, second: Any) -> bool:
    """Return whether all groups, variables, coordinates and attributes are equal."""
    equal: bool = to_tree(first).identical(to_tree(second))
    return equal


def test_read_back_equal(tmp_path: Path) -> None:
    data, path = known(), tmp_path / "posterior.nc"
    write_inference_data(data, path)
    for read in (read_inference_data, az.from_netcdf):
        again = read(path)
        assert type(again) is type(data)
        assert same(data, again)
        kinds = {
            name: array.dtype.kind for group in to_tree(again).children.values() for name, array in group.variables.items()
        }
        assert kinds["1.weight.mask"] == "b"
        assert kinds["1.weight.theta"] == "f"
    to_tree(again).close()
    write_inference_data(read_inference_data(path), path)
    assert same(data, read_inference_data(path)), "it can be read, changed and written in its own place"
    assert [file.name for file in tmp_path.iterdir()] == ["posterior.nc"]


def test_arviz_writes_what_we_read(tmp_path: Path) -> None:
    data = known()
    data.to_netcdf(tmp_path / "theirs.nc")
    assert same(data, read_inference_data(tmp_path / "theirs.nc"))


def test_arrays_are_compressed(tmp_path: Path) -> None:
    write_inference_data(known(), tmp_path / "posterior.nc")
    with h5py.File(tmp_path / "posterior.nc") as file:
        for name in ("posterior/1.weight", "variational_parameters/1.weight.theta", "posterior_predictive/y_probability"):
            assert file[name].compression == "gzip"


def test_broken_files_are_refused(tmp_path: Path) -> None:
    write_inference_data(known(), tmp_path / "whole.nc")
    (tmp_path / "half.nc").write_bytes((tmp_path / "whole.nc").read_bytes()[:5000])
    (tmp_path / "text.nc").write_text("no data")
    for name in ("missing.nc", "half.nc", "text.nc"):
        with refuses(ANYTHING, ANYTHING, tmp_path / name):
            read_inference_data(tmp_path / name)


def test_nothing_is_lost_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "posterior.nc"
    with pytest.raises(OSError, match="nothing was changed"):
        write_inference_data(known(), path)
    assert not list(tmp_path.iterdir())


COPY = """
import sys
from pyro_vd.posterior import read_inference_data, write_inference_data
data = read_inference_data(sys.argv[1])
write_inference_data(data, sys.argv[2])
print(type(data).__name__)
"""

MAKE = """
import sys
sys.path.insert(0, sys.argv[2])
import torch
from pyro_vd.posterior import write_inference_data
from test_arviz_files import known
torch.set_num_threads(1)
torch.manual_seed(0)
write_inference_data(known(), sys.argv[1])
"""


def other_python(code: str, *arguments: Path) -> str:
    assert OTHER
    root = Path(__file__).parents[2]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join((str(root), str(root / "tests")))}
    line = [OTHER, "-c", code, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not OTHER, reason="PYRO_VD_OTHER_PYTHON names no Python with the other version of ArviZ")
def test_both_versions_of_arviz_read_the_files_of_the_other(tmp_path: Path) -> None:
    """The other version reads our file and writes it again; and it makes the same data, which we read."""
    data = known()
    write_inference_data(data, tmp_path / "ours.nc")
    kinds = "InferenceData\n", "DataTree\n"
    found = other_python(COPY, tmp_path / "ours.nc", tmp_path / "theirs.nc")
    if found == kinds[has_data_tree()]:
        pytest.skip(f"{OTHER} has the same version of ArviZ")
    assert found == kinds[not has_data_tree()]
    assert same(data, read_inference_data(tmp_path / "theirs.nc"))
    other_python(MAKE, tmp_path / "made.nc", Path(__file__).parent)
    made = to_tree(read_inference_data(tmp_path / "made.nc"))
    assert set(made.children) == set(to_tree(data).children)
    parameters = made["variational_parameters"].to_dataset()
    assert parameters.identical(to_tree(data)["variational_parameters"].to_dataset())
    assert made.attrs["arviz_version"] != to_tree(data).attrs["arviz_version"]
