"""The log of log α: what it holds is the guide's own, also of a training that shrinks, and of one that was resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import refuses

from pyro_vd import BayesianNetwork, VariationalDropout, fit, log_alpha
from pyro_vd.networks import mlp
from pyro_vd.posterior.summary import quantiles
from pyro_vd.training.alpha_log import AlphaLog, read_alpha_log

DATA = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
EPOCHS = 4


def trained(log: Path, checkpoint: Path | None, epochs: int = EPOCHS, resume: bool = False, **more: bool) -> VariationalDropout:
    """A guide after a training with the log; with fewer epochs than the training has, it is interrupted by an error."""

    class Stop(AlphaLog):
        def on_epoch(self, state, record) -> None:  # type: ignore[no-untyped-def]
            super().on_epoch(state, record)
            if record.epoch > epochs:
                raise KeyboardInterrupt

    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(mlp((6, 8, 3))), log_sigma2=-3.0)
    settings = {"epochs": EPOCHS, "lr": 0.05, "batch_size": 20, "progress": False, "callbacks": [Stop(log)], **more}
    fit(guide, DATA, checkpoint=checkpoint, resume=resume, **settings)
    return guide


@pytest.mark.parametrize("shrink", [False, True])
def test_the_last_line_is_of_the_trained_guide(tmp_path: Path, shrink: bool) -> None:
    guide = trained(path := tmp_path / "log-alpha.jsonl", None, shrink=shrink)
    records = read_alpha_log(path)
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    expected = {name: list(quantiles(values)) for name, values in log_alpha(guide).items()}
    assert records[-1]["log_alpha"] == expected
    assert records[0]["log_alpha"] != expected


def test_resumed_is_as_never_interrupted(tmp_path: Path) -> None:
    path, other, checkpoint = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):  # after the line of epoch 3, before its checkpoint
        trained(path, checkpoint, epochs=2)
    assert len(read_alpha_log(path)) == 3
    trained(path, checkpoint, resume=True)
    trained(other, None)
    assert path.read_bytes() == other.read_bytes()


def test_where_theta_is_zero(tmp_path: Path) -> None:
    guide = VariationalDropout(BayesianNetwork(mlp((6, 8, 3))))
    guide.apply_masks({name: torch.zeros_like(values, dtype=torch.bool) for name, values in log_alpha(guide).items()})
    fit(guide, DATA, epochs=1, lr=0.01, progress=False, callbacks=[AlphaLog(path := tmp_path / "a.jsonl")])
    (record,) = read_alpha_log(path)
    assert all(value is None for values in record["log_alpha"].values() for value in values)


BROKEN = ["{}", "\xff", *(f'{{"epoch": 1, "log_alpha": {value}}}' for value in ("3", '{"a": ["x"]}', '{"a": [1.0]}'))]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_log_is_refused(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "a.jsonl").write_bytes(text.encode("latin1"))
    with refuses():
        read_alpha_log(path)
