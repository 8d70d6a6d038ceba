"""The quality of predictions, and the size of the network that makes them.

:func:`predict` returns predictions and their uncertainty, and :func:`evaluate` measures them. Both accept a plain network, a
guide, or a network that was loaded from a file.
"""

from pyro_vd.evaluation.classification import Metrics
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.heads import HeadsMetrics
from pyro_vd.evaluation.metrics import evaluate
from pyro_vd.evaluation.prediction import NumberPrediction, Prediction, predict
from pyro_vd.evaluation.predictors import Predictor
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.selection import Selected
from pyro_vd.evaluation.uncertainty import OODMetrics, ood_metrics, risk_coverage

__all__ = [
    "EpochRecord",
    "HeadsMetrics",
    "Metrics",
    "NumberPrediction",
    "OODMetrics",
    "Prediction",
    "Predictor",
    "RegressionMetrics",
    "Score",
    "Selected",
    "evaluate",
    "ood_metrics",
    "predict",
    "risk_coverage",
]
