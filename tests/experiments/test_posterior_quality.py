"""The experiment on the posterior's quality, in its quick form, and the foreign images that it uses."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from support import idx, run_cli, write_mnist

from pyro_vd import load_data
from pyro_vd.experiments.foreign_images import foreign_images

PREDICTORS = ["plain", "MC dropout", "posterior mean", "Monte Carlo", "pruned"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pyro-vd experiment`` leaves."""
    path = tmp_path_factory.mktemp("experiment") / "quality"
    code, _, err = run_cli("experiment", "posterior-quality", "--quick", "--quiet", "--json", "--out", path)
    assert (code, err) == (0, "")
    return path


@pytest.mark.slow
def test_one_table_for_five_predictors(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results["columns"] == ["measure", *PREDICTORS]
    rows = {row[0]: row[1:] for row in results["rows"]}
    seeds = results["series"]["seeds"]
    for name, cells in rows.items():
        if name == "chosen":
            continue
        for predictor, cell in zip(PREDICTORS, cells, strict=True):
            values = [seed[name] for seed in seeds[predictor]]
            if values[0] is None:
                assert cell == "–"
                assert "MI" in name or name == "mutual information"
                assert predictor not in ("MC dropout", "Monte Carlo")
            else:
                assert len(values) == 2
                shown = np.mean(values), np.std(values, ddof=1)
                for number, text in zip(shown, cell.split(" ± "), strict=True):
                    digits = len(text.partition(".")[2])
                    assert float(text.replace(",", "")) == pytest.approx(number, abs=0.501 * 10**-digits)
    for predictor in PREDICTORS:
        for seed in seeds[predictor]:
            assert seed["error %"] < 10
            assert 0 < seed["AURC %"] < seed["error %"]
            assert seed["noisy: AUROC"] > 0.6
            assert all(0 <= seed[name] <= 1 for name in seed if "AUROC" in name and seed[name] is not None)
    assert min(seed["compression"] for seed in seeds["pruned"]) > 2


@pytest.mark.slow
def test_options_are_those_best_on_validation_data(folder: Path) -> None:
    series = json.loads((folder / "results.json").read_text())["series"]
    for method, predictor in (("plain", "plain"), ("Bernoulli", "MC dropout"), ("variational", "Monte Carlo")):
        trials = series["validation NLL"][method]
        assert len(trials) > 1
        assert set(series["chosen"][predictor]) == {min(trials, key=trials.__getitem__)}


@pytest.mark.slow
def test_figures_are_there(folder: Path) -> None:
    for name in ("reliability", "error-against-coverage"):
        assert matplotlib.image.imread(folder / f"{name}.png").std() > 0.05


def test_foreign_images_of_digits() -> None:
    data = load_data("digits")
    found = foreign_images(data)
    assert list(found) == ["rotated", "noisy", "random fields"]
    upright = data.x_test.reshape(-1, 8, 8)
    assert torch.equal(found["rotated"][:, -1, :], upright[:, :, 0]), "the left edge is at the bottom"
    changed = found["noisy"] - upright
    inner = (upright > 0.4) & (upright < 0.6)
    assert changed[inner].abs().mean() == pytest.approx(0.33, abs=0.03)
    fields = found["random fields"]
    assert (fields.amin((1, 2)) == 0).all()
    assert (fields.amax((1, 2)) == 1).all()
    assert torch.corrcoef(torch.stack([fields[:, 3, 3], fields[:, 3, 4]]))[0, 1] > 0.3, "neighbours are alike"
    for name, images in found.items():
        assert images.shape == (360, 8, 8)
        assert 0 <= images.min() < images.max() <= 1
        assert torch.equal(images, foreign_images(data)[name])


def test_foreign_images_of_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = load_data("mnist", tmp_path)
    assert list(foreign_images(data, str(tmp_path))) == ["rotated", "noisy", "random fields", "8 × 8 digits"]
    clothes = tmp_path / "FashionMNIST" / "raw"
    clothes.mkdir(parents=True)
    for file in (tmp_path / "MNIST" / "raw").iterdir():
        (clothes / file.name).write_bytes(file.read_bytes())
    images = np.full((20, 28, 28), 51)
    (clothes / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    found = foreign_images(data, str(tmp_path))
    assert list(found)[-2:] == ["8 × 8 digits", "Fashion-MNIST"]
    torch.testing.assert_close(found["Fashion-MNIST"], torch.full((20, 28, 28), 0.2))
    small = found["8 × 8 digits"]
    assert small.shape == (360, 28, 28)
    again = torch.nn.functional.interpolate(small[:, None], size=(8, 8), mode="area").flatten()
    assert torch.corrcoef(torch.stack([again, load_data("digits").x_test.flatten()]))[0, 1] > 0.95
    assert 0 <= small.min() < small.max() <= 1
