"""The comparison of models by the log predictive density of held-out data."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from pyro_vd._core.errors import InputError
from pyro_vd.inference.joint_draws import OBSERVED
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree


def held_out_elpd(data: Any) -> Any:
    r"""Return the expected log predictive density of held-out data, Σₙ log 1/S Σₛ p(yₙ|xₙ, wₛ) in nats, as ``arviz.ELPDData``.

    The examples must be held out from training: this is a test score without a correction. The leave-one-out estimate of
    ``az.loo`` is another quantity, estimated from training data by importance sampling. The standard error is that of a sum
    over N examples, √N times their standard deviation. Compare two models by the differences on the same examples, which vary
    much less::

        az.compare({"wide": held_out_elpd(wide), "narrow": held_out_elpd(narrow)})

    Compare ``elpd_diff`` with its standard error ``dse``: a difference of less than about two standard errors is not
    significant. ArviZ 0.x has no other kind of result, so that the columns of its table have the names ``elpd_loo`` and
    ``p_loo``; the object itself prints ``elpd``. There is no effective number of parameters: p is NaN.

    Args:
        data: the result of :func:`~pyro_vd.to_inference_data` for held-out data.

    Raises:
        InputError: ``data`` is neither InferenceData nor a DataTree, or has no log likelihood of ``y``.
        MissingPackageError: the extra ``arviz`` is not installed.
    """
    tree = to_tree(data)
    if "log_likelihood" not in tree.children or OBSERVED not in tree["log_likelihood"].data_vars:
        raise InputError(
            f"data have the groups {', '.join(tree.children)}; they must have the group log_likelihood with the variable "
            f"{OBSERVED!r}",
            name="data",
            value=list(tree.children),
            allowed=f"data with the group log_likelihood and its variable {OBSERVED!r}",
        )
    log_likelihood = tree["log_likelihood"][OBSERVED]
    draws = log_likelihood.stack(sample=("chain", "draw"))
    pointwise = draws.reduce(logsumexp, "sample") - np.log(draws.sizes["sample"])
    elpd, se = pointwise.sum().item(), np.sqrt(pointwise.size * pointwise.var(ddof=0).item())
    size = {"n_samples": draws.sizes["sample"], "n_data_points": pointwise.size, "scale": "log", "warning": False}
    az: Any = import_arviz()
    if has_data_tree():
        return az.ELPDData(elpd=elpd, se=se, p=np.nan, elpd_i=pointwise, good_k=None, **size)

    class HeldOutELPD(az.ELPDData):
        """A result that does not print itself as leave-one-out with a p, as that of ArviZ 0.x does."""

        def __str__(self) -> str:
            head = f"Computed from {self.n_samples} posterior samples and {self.n_data_points} held-out observations.\n\n"
            return f"{head}     Estimate       SE\nelpd {self.elpd_loo:8.2f}  {self.se:7.2f}"

        def __reduce__(self) -> tuple[Any, ...]:  # a class inside a function cannot be pickled, but ArviZ's class can
            return az.ELPDData, (list(self), list(self.index))

    values = {"elpd_loo": elpd, "se": se, "p_loo": np.nan, **size, "loo_i": pointwise.rename("loo_i")}
    return HeldOutELPD(list(values.values()), index=list(values))
