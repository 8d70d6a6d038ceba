from .callbacks import Callback
from .early_stopping import EarlyStopping
from .finetune import fine_tune
from .fitting import FitResult, fit
from .frames import FrameRecorder
from .metrics_log import MetricsLog
from .schedules import KLWeight, LRSchedule
from .spec import TrainingSpec
from .state import TrainingState

__all__ = [
    "Callback",
    "EarlyStopping",
    "FitResult",
    "FrameRecorder",
    "KLWeight",
    "LRSchedule",
    "MetricsLog",
    "TrainingSpec",
    "TrainingState",
    "fine_tune",
    "fit",
]
