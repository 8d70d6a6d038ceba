"""Conformance classes: what every family must satisfy, as tests; needs pytest.

Subclass one in a test file, under a name that begins with ``Test``, and say what its docstring asks for; pytest does the rest.
This library tests its own families in the same way. Nothing else of the library imports this package.
"""

import pytest

# pytest explains a failed assert of a module that it has rewritten, which is to be asked for before it is imported.
for _part in ("guide", "guide_draws", "guide_state", "layer_case", "layer_kind", "likelihood", "posterior", "statistics"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from pyro_vd.testing.guide import GuideConformance  # noqa: E402
from pyro_vd.testing.layer_kind import LayerKindConformance  # noqa: E402
from pyro_vd.testing.likelihood import LikelihoodConformance  # noqa: E402
from pyro_vd.testing.posterior import PosteriorConformance  # noqa: E402

__all__ = ["GuideConformance", "LayerKindConformance", "LikelihoodConformance", "PosteriorConformance"]
