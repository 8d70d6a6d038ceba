"""The documentation as a site: ``make docs`` writes it into docs/_build/html, with warnings as errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages  # noqa: E402

import pyro_vd  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the notebooks' kernels: small networks are trained
os.environ.setdefault("PYTHONPATH", str(HERE.parent))

project = "pyro_vd"
author = "The pyro_vd developers"
copyright = "2026, the pyro_vd developers; MIT licence"
release = version = pyro_vd.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "misc.highlighting_failure",
    "myst.xref_missing",
    "ref.python",
]  # tests/repository/test_docs.py follows links

nb_execution_mode = os.environ.get("PYRO_VD_NOTEBOOKS", "cache")  # "off" shows them without what they print
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "pyro_vd"
html_static_path = ["_static"]
html_css_files = ["site.css"]

reference_pages.write(HERE / "reference")


def _escaped(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Let ``|w|`` in docstrings be what it is in mathematics, where reStructuredText sees a name to replace."""
    for number, line in enumerate(lines):
        if "|" in line and not line.lstrip().startswith(("| ", "+")):
            parts = line.split("``")
            lines[number] = "``".join(part if index % 2 else part.replace("|", "\\|") for index, part in enumerate(parts))


def setup(app: object) -> None:
    app.connect("autodoc-process-docstring", _escaped, priority=900)  # type: ignore[attr-defined]  # after napoleon
