"""Lightning trains a guide as ``fit`` does, its checkpoints load, and what belongs to its Trainer is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from denormal_support import is_flushed
from support import refuses
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.slow,  # the import of Lightning
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # Lightning's hints about workers and loggers
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
]

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, fit, prune  # noqa: E402
from pyro_vd.evaluation.score import score_of  # noqa: E402
from pyro_vd.models import MLP, Normal  # noqa: E402

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
EPOCHS = 4


def trainer(folder: Path, epochs: int = EPOCHS, **options: Any) -> Any:
    from lightning.pytorch import Trainer

    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "default_root_dir": folder, "max_epochs": epochs}
    return Trainer(**quiet, **options)


def loader(batch_size: int = 40, y: Tensor = Y) -> Any:
    return DataLoader(TensorDataset(X, y), batch_size=batch_size)


def module(guide: VariationalDropout, **settings: Any) -> Any:
    from pyro_vd.training import LitVariationalDropout

    return LitVariationalDropout(guide, **settings)


def small(log_sigma2: float = -60.0) -> VariationalDropout:
    torch.manual_seed(1)
    return VariationalDropout(MLP((4, 6, 3)), log_sigma2)


def parameters(guide: VariationalDropout) -> dict[str, Tensor]:
    return {name: p.detach() for m in (guide, guide.model) for name, p in m.named_parameters()}


@pytest.mark.parametrize("parts", [1, 2])
def test_lightning_trains_as_fit_does(tmp_path: Path, parts: int) -> None:
    """Without noise, on all examples at once, or in halves whose gradients Lightning adds up."""
    beta = KLWeight(0.5, end=2 if parts == 1 else 0)  # which grows within an epoch that has several batches
    settings: dict[str, Any] = {"lr": 0.01, "kl_weight": beta, "kl_weights": {"*": 2.0}}
    settings |= {"optimizer": partial(torch.optim.Adam, eps=1e-3), "scheduler": partial(ExponentialLR, gamma=0.5)}
    ours, theirs = small(), small()
    fit(ours, (X, Y), epochs=EPOCHS, batch_size=40, progress=False, **settings)
    trainer(tmp_path, accumulate_grad_batches=parts).fit(module(theirs, **settings), loader(40 // parts))
    assert theirs.model.num_data == 40
    for name, value in parameters(ours).items():
        torch.testing.assert_close(parameters(theirs)[name], value, rtol=1e-4, atol=1e-5, msg=name)
    start = parameters(small())
    assert all(not torch.equal(value, start[name]) for name, value in parameters(theirs).items())


def test_the_score_is_that_of_the_pruned_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    for likelihood, y in ((None, Y), (Normal(), X[:, 0])):
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3 if likelihood is None else 1))
        guide = VariationalDropout(BayesianNetwork(net, likelihood))
        lit = module(guide, lr=0.01, rule=2.0)
        run = trainer(tmp_path, 2)
        run.fit(lit, loader(y=y), loader(15, y))
        expected = score_of(prune(guide, 2.0), (X, y), guide.model.observed)
        assert run.callback_metrics["validation_score"].item() == pytest.approx(expected.value, rel=1e-5)
        assert {"loss", "data_term", "kl"} <= run.callback_metrics.keys()


def test_a_checkpoint_loads(tmp_path: Path) -> None:
    from pyro_vd.training import LitVariationalDropout

    guide, other = small(-6.0), small(-6.0)
    run = trainer(tmp_path, 2)
    run.fit(module(guide, lr=0.05), loader(10))
    run.save_checkpoint(tmp_path / "c.ckpt")
    loaded: Any = LitVariationalDropout.load_from_checkpoint(tmp_path / "c.ckpt", guide=other, lr=0.05)
    assert loaded.guide is other
    assert all(torch.equal(value, parameters(other)[name]) for name, value in parameters(guide).items())
    trainer(tmp_path, 4).fit(loaded, loader(10), ckpt_path=tmp_path / "c.ckpt", weights_only=False)
    assert loaded.trainer.current_epoch == 4


def test_what_has_decayed_to_nothing_is_cleared(tmp_path: Path) -> None:
    guide = small(log_sigma2=-8.0)
    with torch.no_grad():
        guide.site(guide.site_names[0]).theta[0, 0] = 1e-39
    trainer(tmp_path, 1).fit(module(guide, lr=1e-9, train_threshold=2.0), loader())  # no gradient of the data moves it
    assert guide.site(guide.site_names[0]).theta[0, 0] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_that_vanish_in_a_recurrent_layer_are_zero(tmp_path: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    found: list[bool] = []

    class Recurrent(nn.Module):
        """Notes in the backward pass whether denormal numbers are zero."""

        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.gru(x)[0]
            if y.requires_grad:
                y.register_hook(lambda _: found.append(is_flushed()))
            return y

    trainer(tmp_path, 1).fit(module(VariationalDropout(BayesianNetwork(Recurrent()))), loader(20))
    assert found == [True, True]
    assert not is_flushed()


def test_a_plateau_of_the_score(tmp_path: Path) -> None:
    """Nothing is learnt at this rate."""
    lit = module(small(), lr=1e-25, scheduler=partial(ReduceLROnPlateau, patience=0, factor=0.5, eps=0))
    trainer(tmp_path, 3).fit(lit, loader(), loader())
    assert lit.optimizers().param_groups[0]["lr"] == pytest.approx(2.5e-26)


def test_what_is_the_trainers_is_refused(tmp_path: Path) -> None:
    for name, value in {"epochs": 3, "batch_size": 10, "accumulate": 2, "max_grad_norm": 1.0, "phase": "x"}.items():
        with refuses(name, value):
            module(small(), **{name: value})
    with refuses("guide", 3):
        module(3)  # type: ignore[arg-type]

    class Endless(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Any:
            return iter([(X[0], Y[0])])

    with refuses("num_data", None):
        trainer(tmp_path).fit(module(small()), DataLoader(Endless(), batch_size=1))
    given = module(small(), num_data=1000)
    trainer(tmp_path, 1).fit(given, DataLoader(Endless(), batch_size=1))
    assert given.guide.model.num_data == 1000
