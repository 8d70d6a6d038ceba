from .arviz_files import read_inference_data, write_inference_data
from .held_out import held_out_elpd
from .inference_data import to_inference_data
from .summary import LayerSummary, predictive, summarize

__all__ = [
    "LayerSummary",
    "held_out_elpd",
    "predictive",
    "read_inference_data",
    "summarize",
    "to_inference_data",
    "write_inference_data",
]
