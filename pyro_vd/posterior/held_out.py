"""Comparing models by what they say of data that they were not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from pyro_vd._core.errors import InputError
from pyro_vd.inference.joint_draws import OBSERVED
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree


def held_out_elpd(data: Any) -> Any:
    r"""Expected log predictive density of held-out data, Σₙ log 1/S Σₛ p(yₙ|xₙ, wₛ) in nats, as ArviZ's ``ELPDData``.

    The examples must be held out from training: this is a test score, not the leave-one-out estimate that ``az.loo`` makes
    of training data by importance sampling, and it corrects nothing. Its standard error is that of a sum over examples, √N
    times their standard deviation. Two models are compared on the same examples by their differences, which vary far less::

        az.compare({"wide": held_out_elpd(wide), "narrow": held_out_elpd(narrow)})

    Read ``elpd_diff`` beside its standard error ``dse``; a difference of less than about two of them is not shown by these
    data. On ArviZ 0.x, which knows no other kind, the columns of that table are called ``elpd_loo`` and ``p_loo`` all the
    same; the object itself prints ``elpd``. An effective number of parameters does not exist here: p is NaN.

    Args:
        data: what :func:`~pyro_vd.posterior.inference_data.to_inference_data` gives for held-out data.

    Raises:
        InputError: there is no log likelihood of ``y`` in it.
    """
    tree = to_tree(data)
    if "log_likelihood" not in tree.children or OBSERVED not in tree["log_likelihood"].data_vars:
        raise InputError(f"data hold the groups {', '.join(tree.children)}; they must hold the log likelihood of {OBSERVED!r}")
    log_likelihood = tree["log_likelihood"][OBSERVED]
    draws = log_likelihood.stack(sample=("chain", "draw"))
    pointwise = draws.reduce(logsumexp, "sample") - np.log(draws.sizes["sample"])
    elpd, se = pointwise.sum().item(), np.sqrt(pointwise.size * pointwise.var(ddof=0).item())
    size = {"n_samples": draws.sizes["sample"], "n_data_points": pointwise.size, "scale": "log", "warning": False}
    az: Any = import_arviz()
    if has_data_tree():
        return az.ELPDData(elpd=elpd, se=se, p=np.nan, elpd_i=pointwise, good_k=None, **size)

    class HeldOutELPD(az.ELPDData):
        """ArviZ 0.x would print it as leave-one-out, as it is not, with a p that does not exist."""

        def __str__(self) -> str:
            head = f"Computed from {self.n_samples} posterior samples and {self.n_data_points} held-out observations.\n\n"
            return f"{head}     Estimate       SE\nelpd {self.elpd_loo:8.2f}  {self.se:7.2f}"

        def __reduce__(self) -> tuple[Any, ...]:  # a class within a function cannot be pickled, ArviZ's own can
            return az.ELPDData, (list(self), list(self.index))

    values = {"elpd_loo": elpd, "se": se, "p_loo": np.nan, **size, "loo_i": pointwise.rename("loo_i")}
    return HeldOutELPD(list(values.values()), index=list(values))
