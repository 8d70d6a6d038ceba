"""A guide and its model as a module that Lightning trains."""

from __future__ import annotations

from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd.data.augmentation import augmented
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.score import Score, counted_score, mean_score
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.handlers import own_parameters
from pyro_vd.inference.vanishing_gradients import without_denormals
from pyro_vd.networks.checks import check_trainable
from pyro_vd.networks.inputs import num_examples
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.training.keyword_settings import TrainingSettings, spec_of
from pyro_vd.training.optimizer import make_optimizer
from pyro_vd.training.scheduler import make_scheduler
from pyro_vd.training.spec import TrainingSpec
from pyro_vd.training.vanished import clear_vanished

check_installed("LitVariationalDropout", "lightning")
from lightning.pytorch import LightningModule

_OF_THE_TRAINER = {
    "epochs": "Trainer(max_epochs=…)",
    "batch_size": "the DataLoader",
    "accumulate": "Trainer(accumulate_grad_batches=…)",
    "max_grad_norm": "Trainer(gradient_clip_val=…)",
    "precision": "Trainer(precision='bf16-mixed')",
    "restore_best": "ModelCheckpoint(monitor='validation_score')",
    "shrink": "fit(…, shrink=True)",
    "compile": "fit(…, compile=True)",
    "lr_schedule": "scheduler=…",
    "phase": "the logger",
}


class LitVariationalDropout(LightningModule):
    """A guide with its model as a ``LightningModule``, which a Lightning ``Trainer`` trains in place.

    A batch is a pair of inputs and observations. Logged are ``loss``, ``data_term`` and ``kl`` of each step, in nats for the
    whole data set, and ``validation_score`` of the network as it would be pruned, which is lower for a better one: over all
    validation data, as :func:`~pyro_vd.fit` has it. Steps that are not finite are not skipped.
    ``LitVariationalDropout.load_from_checkpoint(path, guide=guide)`` loads a checkpoint into a guide of the same kind.

    Args:
        guide: what is trained, with its model.
        num_data: N, the number of training examples; None is the length of the data set of the training ``DataLoader``.
        settings: fields of :class:`~pyro_vd.training.TrainingSpec`, except for those that the ``Trainer`` has.

    Raises:
        InputError: no guide, settings of the ``Trainer``, or a setting out of range; when the training starts, data without a
            length where ``num_data`` is None.
        MissingPackageError: lightning is not installed.
    """

    def __init__(self, guide: WeightGuide, num_data: int | None = None, **settings: Unpack[TrainingSettings]) -> None:
        super().__init__()
        check_guide(guide)
        if given := [name for name in settings if name in _OF_THE_TRAINER]:
            raise InputError(name=given[0], value=dict(settings)[given[0]], allowed=f"left to {_OF_THE_TRAINER[given[0]]}")
        allowed = TrainingSettings.__annotations__.keys() - _OF_THE_TRAINER.keys()
        self.spec: TrainingSpec = spec_of(None, {"epochs": 1, **settings}, sorted(allowed))
        if self.spec.kl_weight.target is not None:
            by_fit = "None: β is controlled in trainings by pyro_vd.fit alone"
            raise InputError(name="kl_weight.target", value=self.spec.kl_weight.target, allowed=by_fit)
        self._num_data = None if num_data is None else check_number("num_data", num_data, low=1, whole=True)
        guide.check_types()
        check_trainable(guide.model, guide)
        guide.check_train_threshold(self.spec.train_threshold)
        spec = self.spec
        self.elbo: VariationalDropoutELBO = VariationalDropoutELBO(
            num_particles=spec.num_particles, noise=spec.noise, kl_weights=spec.kl_weights
        )
        self.loss_of: nn.Module = self.elbo(guide.model, guide)

    @property
    def guide(self) -> WeightGuide:
        """What is trained; its ``guide.model`` is the model."""
        return cast(WeightGuide, self.loss_of.guide)

    def configure_optimizers(self) -> Any:
        """Make the optimizer and the scheduler of the settings."""
        guide = self.guide
        guide.model.num_data, guide.train_threshold = self._examples(), self.spec.train_threshold
        optimizer = make_optimizer(self.spec, guide, self.loss_of, guide.model.num_data)
        scheduler = make_scheduler(self.spec, optimizer, has_validation=True)
        if scheduler is None:
            return optimizer
        plan = {"scheduler": scheduler, "interval": self.spec.scheduler_interval, "monitor": "validation_score"}
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def _examples(self) -> int:
        if self._num_data is not None:
            return self._num_data
        self.trainer.fit_loop.setup_data()
        loader = self.trainer.train_dataloader
        try:
            return len(loader.dataset)
        except (AttributeError, TypeError) as error:
            kind = type(loader).__name__
            raise InputError(
                f"num_data (=None) must be given: the data set of this {kind} has no length",
                name="num_data",
                value=None,
                allowed="the number of training examples",
            ) from error

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        x, y = batch
        now = self.trainer.current_epoch + batch_idx / self.trainer.num_training_batches
        self.elbo.kl_weight = self.spec.kl_weight.at(now)
        with own_parameters():
            loss: Tensor = self.loss_of(x if self.spec.augment is None else augmented(self.spec.augment, x), y)
        terms = {"loss": loss.detach(), "data_term": self.elbo.data_term, "kl": self.elbo.kl}
        self.log_dict(terms, batch_size=num_examples(x))
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; parts of a forward pass may run again in it."""
        with own_parameters():
            without_denormals(self.guide.model, loss, lambda: loss.backward(*args, **kwargs))

    def on_validation_epoch_start(self) -> None:
        """Prune a copy of the network."""
        self._pruned = pruned_or_mean(self.guide, self.spec.rule)
        self._scores: list[tuple[Score, int]] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure the pruned network on a batch."""
        x, y = batch
        likelihood = self.guide.model.observed
        self._scores.append(counted_score(outputs(self._pruned, x, likelihood), y, likelihood))

    def on_validation_epoch_end(self) -> None:
        """Log the score."""
        score = torch.tensor(mean_score(self._scores).value, dtype=torch.float32)
        self.log("validation_score", score, sync_dist=True, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Clear what has decayed to nothing."""
        for optimizer in self.trainer.optimizers:
            clear_vanished(self.guide, optimizer)

    def on_fit_end(self) -> None:
        """Report weights that no gradient of the data has reached."""
        self.guide.model.gradient_watch.report()
