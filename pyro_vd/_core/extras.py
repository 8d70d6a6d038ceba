"""Packages that only some parts of pyro_vd need: the extra that installs each, and the error if one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from pyro_vd._core.errors import MissingPackageError

PACKAGES = {
    "pyro-ppl": ("pyro", "train"),
    "rich": ("rich", "train"),
    "scikit-learn": ("sklearn", "train"),
    "scipy": ("scipy", "train"),
    "pyyaml": ("yaml", "cli"),
    "matplotlib": ("matplotlib", "plots"),
    "pillow": ("PIL", "plots"),
    "arviz": ("arviz", "arviz"),
    "h5netcdf": ("h5netcdf", "arviz"),
    "h5py": ("h5py", "arviz"),
    "xarray": ("xarray", "arviz"),
    "torchvision": ("torchvision", "vision"),
    "pandas": ("pandas", "tables"),
    "pyarrow": ("pyarrow", "tables"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "plotly": ("plotly", "report"),
    "optuna": ("optuna", "sweep"),
    "lightning": ("lightning", "lightning"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "mlflow-skinny": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
}
"""Import name and extra of each package, by the name under which it is installed, as in ``pyproject.toml``."""


def check_installed(what: str, *packages: str) -> None:
    """Refuse to continue if a package that ``what`` needs is missing; no package is imported.

    Raises:
        MissingPackageError: naming ``what``, the missing packages and the command that installs their extras.
    """
    missing = [package for package in packages if find_spec(PACKAGES[package][0]) is None]
    if missing:
        extras = ",".join(dict.fromkeys(PACKAGES[package][1] for package in missing))
        raise MissingPackageError(what, missing, f"pip install 'pyro_vd[{extras}]'")
