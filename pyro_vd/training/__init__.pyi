from .finetune import fine_tune
from .fitting import FitResult, fit
from .schedules import KLWeight, LRSchedule

__all__ = [
    "FitResult",
    "KLWeight",
    "LRSchedule",
    "fine_tune",
    "fit",
]
