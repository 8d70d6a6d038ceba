"""``pyro-vd compress``: of a recipe, of a run, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import SMALL, refused, run_cli

from pyro_vd import evaluate, load_data, load_pruned

QUICK = ("--deploy=torch", "--epochs=4", "--quiet")


def test_a_recipe_is_trained_and_compressed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("compress", "digits", *SMALL, "--target=2", *QUICK, "--out", out)
    code, text, errors = run_cli(*command)
    assert code == 0, errors
    file = out / "small.safetensors"
    assert str(file) in text
    assert "test data" in text
    assert (out / "report.html").exists()
    code, text, errors = run_cli(*command, "--resume", "--json")
    assert code == 0, errors
    result = json.loads(text)
    assert result["met"]
    assert result["smaller"] >= 2
    assert result["networks"]["after"]["bytes"] < result["networks"]["before"]["bytes"] / 2
    assert result["networks"]["after"]["error"] == pytest.approx(
        evaluate(load_pruned(file), load_data("digits").test).score.value
    )
    assert 0 < result["test"]["p_value"] <= 1
    assert set(result["networks"]["after"]["seconds"]) == {"PyTorch"}
    refused(*command, "--resume", "--seed=1", quoted=["another compression", "seed: 1"])
    code, text, errors = run_cli("evaluate", out, "--json")
    assert code == 0, errors
    again = json.loads(text)
    assert again["data"] == "digits"
    assert again["networks"]["pruned"]["error"] == result["networks"]["after"]["error"]
    file.unlink()
    refused("evaluate", out, quoted=["not finished", "--resume"])


def test_a_run_is_compressed(tmp_path: Path) -> None:
    code, _, errors = run_cli("train", "digits", *SMALL, "--out", tmp_path / "run", "--quiet")
    assert code == 0, errors
    options = ("--target=2", "--deploy=sparse", "--epochs=4", "--quiet", "--json")
    code, text, errors = run_cli("compress", tmp_path / "run", *options, "--out", tmp_path / "out")
    assert code == 0, errors
    assert load_pruned(json.loads(text)["file"])(load_data("digits").x_test).shape == (360, 10)


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (["--target=2"], ["not empty"]),
        (["--target=most", "--resume"], ["target", "most"]),
        (["--target=0.5", "--resume"], ["target", "0.5"]),
        (["--resume"], ["target"]),
        (["--target=2", "--resume", "--pretrain.epochs=0"], ["pretrain.epochs"]),
        (
            ["--target=2", "--resume", "--pretrain.epochs=0", "--train.start_from=out/run"],
            ["train.start_from", "out/run", "give its folder"],
        ),
        (["--target=2", "--deploy=tflite"], ["deploy", "tflite"]),
        (["--target=2", "--resume", "--max-error-rise=2"], ["max_error_rise", "2"]),
        (["--target=2", "--resume", "--deploy=torch", "--lr=-1"], ["lr", "-1"]),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: list[str], quoted: list[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused("compress", "digits", *SMALL, "--quiet", "--out", tmp_path, *arguments, quoted=quoted)
    assert not (tmp_path / "checkpoint-pretrain.pt").exists(), "nothing is trained before it is refused"
