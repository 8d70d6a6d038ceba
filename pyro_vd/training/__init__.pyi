from .callbacks import Callback
from .early_stopping import EarlyStopping
from .finetune import fine_tune
from .fit_result import FitResult
from .fitting import fit
from .frames import FrameRecorder
from .lit_module import LitVariationalDropout
from .metrics_log import MetricsLog
from .progress import ProgressBar
from .schedules import KLWeight, LRSchedule
from .spec import TrainingSpec
from .state import TrainingState
from .trackers import MLflow, TensorBoard, WandB

__all__ = [
    "Callback",
    "EarlyStopping",
    "FitResult",
    "FrameRecorder",
    "KLWeight",
    "LRSchedule",
    "LitVariationalDropout",
    "MLflow",
    "MetricsLog",
    "ProgressBar",
    "TensorBoard",
    "TrainingSpec",
    "TrainingState",
    "WandB",
    "fine_tune",
    "fit",
]
