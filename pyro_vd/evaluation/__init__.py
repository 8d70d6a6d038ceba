"""How good predictions are, and how small the network is that makes them."""

from pyro_vd.evaluation.metrics import Metrics, evaluate
from pyro_vd.evaluation.prediction import Prediction, predict
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.evaluation.uncertainty import Detection, detection, risk_coverage

__all__ = ["Detection", "Metrics", "Prediction", "RegressionMetrics", "detection", "evaluate", "predict", "risk_coverage"]
