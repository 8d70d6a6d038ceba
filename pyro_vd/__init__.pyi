from . import compaction as compaction
from . import data as data
from . import distributions as distributions
from . import evaluation as evaluation
from . import export as export
from . import guides as guides
from . import inference as inference
from . import models as models
from . import networks as networks
from . import plots as plots
from . import posterior as posterior
from . import pruning as pruning
from . import runtime as runtime
from . import training as training
from . import workflow as workflow
from ._core.errors import InputError, NonFiniteError, ProcessError
from .compaction.compacting import compact
from .compaction.surviving import surviving_units
from .data.dataset import Dataset
from .data.loading import load_data
from .evaluation.metrics import evaluate
from .evaluation.prediction import predict
from .export.onnx_file import load_onnx, save_onnx
from .export.pruned_file import load_pruned, save_pruned
from .guides.alpha import log_alpha
from .guides.group_variational_dropout import GroupVariationalDropout
from .guides.means import posterior_mean
from .guides.variational_dropout import VariationalDropout
from .inference.elbo import VariationalDropoutELBO
from .models.bayesian import BayesianNetwork
from .posterior.inference_data import to_inference_data
from .pruning.pruned import prune
from .pruning.rule import PruningRule
from .pruning.threshold_choice import choose_threshold
from .training.finetune import fine_tune
from .training.fitting import fit
from .training.schedules import KLWeight
from .workflow.compress_result import CompressResult
from .workflow.compressing import compress
from .workflow.finished_run import load_run
from .workflow.training_run import train_run

__all__ = [
    "BayesianNetwork",
    "CompressResult",
    "Dataset",
    "GroupVariationalDropout",
    "InputError",
    "KLWeight",
    "NonFiniteError",
    "ProcessError",
    "PruningRule",
    "VariationalDropout",
    "VariationalDropoutELBO",
    "choose_threshold",
    "compact",
    "compress",
    "evaluate",
    "fine_tune",
    "fit",
    "load_data",
    "load_onnx",
    "load_pruned",
    "load_run",
    "log_alpha",
    "posterior_mean",
    "predict",
    "prune",
    "save_onnx",
    "save_pruned",
    "surviving_units",
    "to_inference_data",
    "train_run",
]

__version__: str
