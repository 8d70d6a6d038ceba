"""Recipes, the folders of runs, sweeps over them, comparisons."""

from pyro_vd.workflow.inspection import inspect_layers, run_inference_data
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.run_folder import Run, load_run
from pyro_vd.workflow.training_run import train_run

__all__ = ["Recipe", "Run", "inspect_layers", "load_run", "run_inference_data", "train_run"]
