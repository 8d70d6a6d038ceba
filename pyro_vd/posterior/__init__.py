"""The posterior of a trained guide: summaries of log α, the predictive distribution, and data for ArviZ with their files.

Only the functions with ``inference_data`` or ``elpd`` in their names need the extra ``arviz``.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
