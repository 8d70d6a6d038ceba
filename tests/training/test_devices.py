"""Trainings on a GPU do what they do on the CPU; each test runs on the CPU too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shrinking_support import (
    GUIDES,
    LABELS,
    NETWORKS,
    Network,
    Watch,
    attending,
    deaden,
    dense,
    flattened,
    group,
    normalised,
    residual,
    variational,
    words,
)
from support import run_cli
from torch import Tensor, nn

from pyro_vd import (
    VariationalDropoutELBO,
    compact,
    evaluate,
    fit,
    load_pruned,
    log_alpha,
    prune,
    save_pruned,
    to_inference_data,
)
from pyro_vd.guides import WeightGuide
from pyro_vd.testing.interrupting import Interrupt

pytestmark = pytest.mark.slow
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 10, "lr": 0.01, "progress": False}
Make = Callable[[nn.Module, Tensor], WeightGuide]


def made(network: Callable[[], Network], make: Make) -> tuple[WeightGuide, Tensor]:
    torch.manual_seed(0)
    net, x = network()
    return make(net, x), x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", GUIDES)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_and_what_follows_it(network: Callable[[], Network], make: Make, device: str, tmp_path: Path) -> None:
    if network not in (dense, flattened, normalised) and make is not variational:
        pytest.skip("the guides of units take part in the first networks")
    guide, x = made(network, make)
    before = {name: value.clone() for name, value in guide.named_parameters()}
    fit(guide, (x, LABELS), (x, LABELS), device=device, **OPTIONS)
    assert {value.device.type for value in (*guide.parameters(), *guide.model.parameters())} == {device}
    assert any(not torch.equal(value.cpu(), before[name]) for name, value in guide.named_parameters())
    assert all(bool(values.isfinite().all()) for values in log_alpha(guide).values())
    pruned = prune(guide)
    assert next(pruned.parameters()).device.type == device
    save_pruned(pruned, tmp_path / "pruned.safetensors")
    on_cpu = load_pruned(tmp_path / "pruned.safetensors", net=network()[0])
    with torch.no_grad():
        theirs = pruned(x.to(device)).cpu()
        torch.testing.assert_close(on_cpu(x), theirs, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(compact(pruned, example=x[:2].to(device))(x.to(device)).cpu(), theirs, rtol=1e-3, atol=1e-4)
    assert evaluate(pruned, (x, LABELS)).error == evaluate(on_cpu, (x, LABELS)).error
    assert 0 <= evaluate(guide, (x, LABELS), num_samples=3).error <= 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("network", [dense, flattened, normalised, residual, words, attending])
def test_the_gradient_without_noise_is_that_of_the_cpu(network: Callable[[], Network], device: str) -> None:
    gradients = []
    for place in ("cpu", device):
        guide, x = made(network, variational)
        with torch.no_grad():
            for name in guide.site_names:
                guide.site(name).log_sigma2.fill_(-45.0)
        guide.model.num_data = 40
        guide.model.to(place)
        guide.to(place)
        VariationalDropoutELBO().backward(guide.model, guide, x.to(place), LABELS.to(place))
        gradients.append({name: value.grad.cpu() for name, value in guide.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()), msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("network", "make"), [(dense, variational), (flattened, group), (words, variational)])
def test_resumed_training_goes_on(network: Callable[[], Network], make: Make, device: str, tmp_path: Path) -> None:
    whole, x = made(network, make)
    fit(whole, (x, LABELS), device=device, **OPTIONS)
    stopped, _ = made(network, make)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, (x, LABELS), device=device, checkpoint=tmp_path / "c.pt", callbacks=[Interrupt(epoch=1)], **OPTIONS)
    resumed, _ = made(network, make)
    result = fit(resumed, (x, LABELS), device=device, checkpoint=tmp_path / "c.pt", resume=True, **OPTIONS)
    assert len(result.history) == 3
    for (name, value), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("network", [dense, flattened, words])
def test_a_training_shrinks(network: Callable[[], Network], device: str) -> None:
    guide, x = made(network, variational)
    deaden(guide)
    whole = copy.deepcopy(guide)
    watch = Watch()
    options = OPTIONS | {"epochs": 6, "lr": 1e-4}
    fit(guide, (x, LABELS), device=device, shrink=True, callbacks=[watch], **options)
    fit(whole, (x, LABELS), device=device, **options)
    assert watch.weights[-1] < 0.8 * watch.weights[0]
    assert [value.shape for value in guide.parameters()] == [value.shape for value in whole.parameters()]
    with torch.no_grad():
        torch.testing.assert_close(prune(guide)(x.to(device)), prune(whole)(x.to(device)), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_lower_precision(device: str) -> None:
    guide, x = made(normalised, variational)
    fit(guide, (x, LABELS), device=device, precision="bf16-mixed", **OPTIONS)
    assert {value.dtype for value in guide.parameters()} == {torch.float32}


@pytest.mark.parametrize("device", DEVICES)
def test_commands(device: str, tmp_path: Path) -> None:
    keys = ["--train.epochs=2", "--pretrain.epochs=2", "--finetune.epochs=1", "--train.kl_weight.end=1", f"--device={device}"]
    run = tmp_path / "run"
    assert run_cli("train", "digits", *keys, "--out", run, "--quiet")[0] == 0
    for line in (["evaluate", run], ["inspect", run], ["export", run, "--format", "onnx", "--out", tmp_path / "net.onnx"]):
        code, _, err = run_cli(*line)
        assert code == 0, err


@pytest.mark.parametrize("device", DEVICES)
def test_arviz_data(device: str) -> None:
    pytest.importorskip("h5netcdf")
    guide, x = made(dense, variational)
    guide.model.to(device)
    guide.to(device)
    data = to_inference_data(guide, (x, LABELS), num_samples=5)
    assert "posterior" in (data.children if hasattr(data, "children") else data.groups())
