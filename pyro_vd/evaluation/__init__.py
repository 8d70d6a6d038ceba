"""How good predictions are, and how small the network is that makes them."""

from pyro_vd.evaluation.metrics import Metrics, evaluate
from pyro_vd.evaluation.prediction import Prediction, predict
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.evaluation.uncertainty import OODMetrics, ood_metrics, risk_coverage

__all__ = ["Metrics", "OODMetrics", "Prediction", "RegressionMetrics", "evaluate", "ood_metrics", "predict", "risk_coverage"]
