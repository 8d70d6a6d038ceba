"""The training loop, and what it is made of: schedules, the guard, checkpoints, progress."""

from pyro_vd.training.finetune import fine_tune
from pyro_vd.training.fitting import FitResult, fit
from pyro_vd.training.schedules import KLWeight, LRSchedule

__all__ = ["FitResult", "KLWeight", "LRSchedule", "fine_tune", "fit"]
