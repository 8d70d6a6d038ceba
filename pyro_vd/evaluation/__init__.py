"""The quality of predictions, and the size of the network that makes them.

:func:`predict` gives predictions and their uncertainty, :func:`evaluate` measures them; both take a plain network, a guide or a
network that was read from a file.
"""

from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.metrics import Metrics, evaluate
from pyro_vd.evaluation.prediction import Prediction, predict
from pyro_vd.evaluation.predictors import Predictor
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.uncertainty import OODMetrics, ood_metrics, risk_coverage

__all__ = [
    "EpochRecord",
    "Metrics",
    "OODMetrics",
    "Prediction",
    "Predictor",
    "RegressionMetrics",
    "Score",
    "evaluate",
    "ood_metrics",
    "predict",
    "risk_coverage",
]
