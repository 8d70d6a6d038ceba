"""What a trained guide knows: summaries of log α, predictive draws, data for ArviZ."""

from pyro_vd.guides.means import posterior_mean
from pyro_vd.posterior.arviz_files import read_inference_data, write_inference_data
from pyro_vd.posterior.held_out import held_out_elpd
from pyro_vd.posterior.inference_data import to_inference_data
from pyro_vd.posterior.summary import predictive, summarize

__all__ = [
    "held_out_elpd",
    "posterior_mean",
    "predictive",
    "read_inference_data",
    "summarize",
    "to_inference_data",
    "write_inference_data",
]
