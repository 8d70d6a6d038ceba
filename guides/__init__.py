"""Guides: approximate posteriors over the weights of a model, one kind per file, each with its settings for recipes.

A guide is built from its model and holds it as ``guide.model``. :func:`log_alpha` and :func:`posterior_mean` return what the
guide has learnt. To add a kind, add a file with its guide and its settings to this package, and a line to the list below.
"""

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")

from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.bernoulli_dropout import BernoulliDropout, BernoulliDropoutSettings
from pyro_vd.guides.gaussian_dropout import GaussianDropout, GaussianDropoutSettings
from pyro_vd.guides.group_variational_dropout import GroupVariationalDropout, GroupVariationalDropoutSettings
from pyro_vd.guides.log_normal_dropout import LogNormalDropout, LogNormalDropoutSettings
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.point_estimate import PointEstimate, PointEstimateSettings
from pyro_vd.guides.settings import GuideSettings, register_guide
from pyro_vd.guides.variational_dropout import VariationalDropout, VariationalDropoutSettings
from pyro_vd.guides.weight_guide import WeightGuide

for _settings in (  # the first is the default of a recipe
    VariationalDropoutSettings,
    GroupVariationalDropoutSettings,
    LogNormalDropoutSettings,
    GaussianDropoutSettings,
    BernoulliDropoutSettings,
    PointEstimateSettings,
):
    register_guide(_settings)

__all__ = [
    "BernoulliDropout",
    "BernoulliDropoutSettings",
    "GaussianDropout",
    "GaussianDropoutSettings",
    "GroupVariationalDropout",
    "GroupVariationalDropoutSettings",
    "GuideSettings",
    "LogNormalDropout",
    "LogNormalDropoutSettings",
    "PointEstimate",
    "PointEstimateSettings",
    "VariationalDropout",
    "VariationalDropoutSettings",
    "WeightGuide",
    "log_alpha",
    "posterior_mean",
    "register_guide",
]
