"""The training loop, and what it is made of: settings, schedules, the guard, checkpoints and callbacks.

``fit`` is the loop; ``TrainingSpec`` holds its settings; a subclass of ``Callback`` is called after each step and each epoch.
"""

from pyro_vd.training.callbacks import Callback
from pyro_vd.training.finetune import fine_tune
from pyro_vd.training.fitting import FitResult, fit
from pyro_vd.training.frames import FrameRecorder
from pyro_vd.training.metrics_log import MetricsLog
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.training.spec import TrainingSpec
from pyro_vd.training.state import TrainingState

__all__ = [
    "Callback",
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
