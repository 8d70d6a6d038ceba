from .compress_result import CompressResult
from .compressing import compress
from .finished_run import Run, load_run
from .inspection import inspect_layers, run_inference_data
from .named_networks import trust
from .recipe import Recipe
from .recipe_files import parse_recipe, read_recipe
from .report_page.files import report_runs
from .training_run import train_run

__all__ = [
    "CompressResult",
    "Recipe",
    "Run",
    "compress",
    "inspect_layers",
    "load_run",
    "parse_recipe",
    "read_recipe",
    "report_runs",
    "run_inference_data",
    "train_run",
    "trust",
]
