"""Random affine maps of training images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support import ANYTHING, refused, refuses, run_cli, write_mnist

from pyro_vd import VariationalDropout, fit
from pyro_vd.data import RandomAffine
from pyro_vd.models import MLP


def centres(images: torch.Tensor) -> torch.Tensor:
    """Centre of mass of each image, (batch, 2), as (across, down) in pixels from the middle."""
    height, width = images.shape[-2:]
    down = torch.arange(height) - (height - 1) / 2
    across = torch.arange(width) - (width - 1) / 2
    mass = images.sum((-1, -2))
    return torch.stack([(images.sum(-2) * across).sum(-1), (images.sum(-1) * down).sum(-1)], -1) / mass[:, None]


def spots(row: int, column: int, batch: int = 4000) -> torch.Tensor:
    """Images of 21 × 31 with one soft spot, its centre so many pixels from the middle."""
    down = (torch.arange(21) - 10 - row)[:, None]
    across = (torch.arange(31) - 15 - column)[None]
    return (-(down**2 + across**2) / 4.0).exp().expand(batch, 21, 31)


def test_nothing_asked_changes_nothing() -> None:
    images = torch.rand(5, 3, 8, 6)
    torch.testing.assert_close(RandomAffine()(images), images, rtol=0, atol=1e-5)


def test_each_image_moves_by_itself_and_within_the_shift() -> None:
    moved = centres(RandomAffine(shift=2)(spots(0, 0)))
    assert moved.abs().max() < 2.02
    assert len(moved[:, 0].unique()) > 3900
    standard_error = 2 / math.sqrt(3 * 4000)  # of the mean of U[-2, 2]
    assert moved.mean(0).abs().max() < 4 * standard_error
    torch.testing.assert_close(moved.var(0), torch.full((2,), 4 / 3), rtol=0.08, atol=0)  # 5 standard errors


def test_rotation_keeps_the_distance_and_stays_within_its_angle() -> None:
    moved = centres(RandomAffine(degrees=30)(spots(0, 6)))
    torch.testing.assert_close(moved.norm(dim=-1), torch.full((4000,), 6.0), rtol=0, atol=0.05)
    angles = torch.atan2(moved[:, 1], moved[:, 0]) * 180 / math.pi
    assert 29 < angles.abs().max() < 30.5
    assert angles.mean().abs() < 4 * 30 / math.sqrt(3 * 4000)


def test_scale_and_shear_act_on_the_axis_they_should() -> None:
    scaled = centres(RandomAffine(scale=0.25)(spots(4, 4)))
    assert scaled.min() > 2.9
    assert scaled.max() < 5.1
    torch.testing.assert_close(scaled[:, 0], scaled[:, 1], rtol=0, atol=0.05)  # the same along both axes
    sheared = centres(RandomAffine(shear=20)(spots(5, 0)))
    torch.testing.assert_close(sheared[:, 1], torch.full((4000,), 5.0), rtol=0, atol=0.05)
    assert 1.7 < sheared[:, 0].abs().max() < 5 * math.tan(math.radians(20)) + 0.05


def test_pixels_are_interpolated_between_their_neighbours() -> None:
    """A ramp along both axes stays a ramp: after a shift every pixel that comes from inside has the value at its new place."""
    across, down = torch.arange(31.0), torch.arange(21.0)
    ramp = (100 + 2 * across + 3 * down[:, None]).expand(50, 2, 21, 31)
    moved = RandomAffine(shift=3)(ramp)[..., 4:-4, 4:-4]
    torch.testing.assert_close(moved.diff(dim=-1), torch.full((50, 2, 13, 22), 2.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(moved.diff(dim=-2), torch.full((50, 2, 12, 23), 3.0), rtol=0, atol=1e-3)
    assert (moved - ramp[..., 4:-4, 4:-4]).flatten(1).std(1).max() < 1e-3  # the whole image, both channels, by one amount


@pytest.mark.parametrize("key", ["degrees", "shear", "scale", "shift"])
def test_values_out_of_range_are_quoted(key: str) -> None:
    with refuses(key, -1.5):
        RandomAffine(**{key: -1.5})


def test_inputs_that_are_no_images_are_refused() -> None:
    with refuses("images", (7, 64), (7, 64)):
        RandomAffine(shift=1)(torch.rand(7, 64))


def test_fit_trains_on_the_changed_inputs_only() -> None:
    x, y = torch.rand(40, 6), torch.arange(40) % 3
    seen: list[torch.Tensor] = []

    def halve(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return batch / 2

    def trained(inputs: torch.Tensor, **options: object) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = MLP([6, 4, 3])
        guide = VariationalDropout(model)
        fit(guide, (inputs, y), epochs=2, batch_size=10, progress=False, **options)  # type: ignore[arg-type]
        return guide.state_dict()

    with_augment, by_hand = trained(x, augment=halve), trained(x / 2)
    assert all(torch.equal(with_augment[name], by_hand[name]) for name in by_hand)
    assert len(seen) == 8
    assert all(batch.shape == (10, 6) for batch in seen)


def test_resuming_with_another_augmentation_is_refused(tmp_path: Path) -> None:
    x, y = torch.rand(20, 4, 4), torch.arange(20) % 2

    def train(epochs: int, augment: RandomAffine) -> None:
        torch.manual_seed(0)
        model = MLP([16, 2])
        guide = VariationalDropout(model)
        paths = {"checkpoint": tmp_path / "c.pt", "resume": True}
        fit(guide, (x, y), epochs=epochs, augment=augment, progress=False, **paths)  # type: ignore[arg-type]

    train(1, RandomAffine(shift=1))
    with refuses(str(tmp_path / "c.pt"), ANYTHING, "RandomAffine(", "shift=2") as error:
        train(1, RandomAffine(shift=2))
    assert list(error.value.value) == ["augment"]


def test_recipe_key(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    small = ("--model.sizes=[784,5,10]", "--train.epochs=1", "--data.name=mnist", f"--data-dir={tmp_path / 'data'}")
    train = ("train", "digits", "--pretrain.epochs=1", "--finetune.epochs=1", "--data.validation=5", *small, "--quiet")
    for shift in (0, 1):
        code, _, err = run_cli(*train, f"--augment.shift={shift}", "--out", tmp_path / str(shift))
        assert (code, err) == (0, "")
    files = [(tmp_path / name / "pruned.safetensors").read_bytes() for name in "01"]
    assert files[0] != files[1]
    refused(*train, "--augment.shift=-1", "--out", tmp_path / "x", quoted=["augment.shift (=-1.0)"])
    refused("train", "digits", "--augment.shift=1", "--out", tmp_path / "x", quoted=["(1, 64)", "images"])
    assert not (tmp_path / "x").exists()
