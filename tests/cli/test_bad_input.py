"""Bad arguments on the command line: one clear line, exit code 2, nothing written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, check_refusal, command, contents, refused, run_cli

from pyro_vd.cli.main import COMMANDS

SETTINGS = [
    (["--nosuch=3"], ["--nosuch", "--help"]),
    (["--train.guide=nosuch"], ["train.guide.kind (=nosuch)", "'group', 'log-normal'"]),
    (["--train.guide=5"], ["train.guide (=5)", "'group', 'log-normal'"]),
    (["--train.guide=group", "--train.guide.p=0.1"], ["'train.guide.p'", "'group'", "gaussian, bernoulli"]),
    (["--prune=5", "--prune.threshold=1"], ["prune (=5)"]),
    (["--quiet=3"], ["--quiet", "'3'"]),
    (["--train.nosuch=3"], ["--train.nosuch"]),
    (["extra"], ["extra"]),
    (["--out"], ["--out"]),
    (["--train.epochs=abc"], ["train.epochs (=abc)"]),
    (["--train.epochs=1.5"], ["train.epochs (=1.5)"]),
    (["--train.epochs=true"], ["train.epochs (=True)"]),
    (["--train.epochs=0"], ["train.epochs (=0)", ">= 1"]),
    (["--train.epochs=-3"], ["train.epochs (=-3)", ">= 1"]),
    (["--pretrain.epochs=-1"], ["pretrain.epochs (=-1)", ">= 0"]),
    (["--finetune.epochs=-1"], ["finetune.epochs (=-1)", ">= 0"]),
    (["--train.batch_size=0"], ["train.batch_size (=0)", ">= 1"]),
    (["--train.batch_size=-5"], ["train.batch_size (=-5)", ">= 1"]),
    ([f"--train.batch_size={10**20}"], ["train.batch_size", str(10**20)]),
    (["--train.lr=0"], ["train.lr (=0.0)", "> 0"]),
    (["--train.lr=-1"], ["train.lr (=-1.0)", "> 0"]),
    (["--train.lr=nan"], ["train.lr (=nan)"]),
    (["--train.lr=.nan"], ["train.lr (=nan)"]),
    (["--train.lr=.inf"], ["train.lr (=inf)"]),
    (["--pretrain.lr=0"], ["pretrain.lr (=0.0)"]),
    (["--finetune.lr=0"], ["finetune.lr (=0.0)"]),
    (["--pretrain.weight_decay=-1"], ["pretrain.weight_decay (=-1.0)", ">= 0"]),
    (["--pretrain.dropout=1"], ["pretrain.dropout (=1.0)", "0.99"]),
    (["--pretrain.dropout=-0.1"], ["pretrain.dropout (=-0.1)"]),
    (["--train.guide.log_sigma2=5"], ["train.guide.log_sigma2 (=5.0)", "<= 0"]),
    (["--train.train_threshold=.nan"], ["train.train_threshold (=nan)"]),
    (["--train.train_threshold=x"], ["train.train_threshold (=x)"]),
    (["--train.kl_weight.value=-1"], ["train.kl_weight.value (=-1.0)", ">= 0"]),
    (["--train.kl_weight.value=.nan"], ["train.kl_weight.value (=nan)"]),
    (["--train.kl_weight.start=5", "--train.kl_weight.end=2"], ["train.kl_weight.end (=2.0)", "start (=5.0)"]),
    (["--train.lr_schedule.kind=cosine"], ["(=cosine)", "'constant', 'linear', 'steps'"]),
    (["--augment.degrees=200"], ["augment.degrees (=200.0)", "<= 180"]),
    (["--train.guide=bernoulli", "--finetune.epochs=0"], ["train.train_threshold (=3.0)", "'bernoulli'"]),
    (["--train.guide.weight_noise=true"], ["'train.guide.weight_noise'", "'variational'", "group, log-normal"]),
    (["--train.lr_schedule.after=1"], ["train.lr_schedule.after (=1.0)", "[0, 1)"]),
    (["--finetune.lr_schedule.kind=steps", "--finetune.lr_schedule.steps={5: -1}"], ["(=-1.0)", "> 0"]),
    (["--finetune.lr_schedule.kind=steps", "--finetune.lr_schedule.steps={-5: 1}"], ["(=-5)", ">= 0"]),
    (["--train.lr_schedule.steps={5: 0.1}"], ["{5: 0.1}", "'linear'"]),
    (["--train.lr_schedule.steps=5"], ["(=5)"]),
    (["--prune.max_error_rise=1.5"], ["prune.max_error_rise (=1.5)", "<= 1"]),
    (["--prune.max_error_rise=.nan"], ["prune.max_error_rise (=nan)"]),
    (["--prune.max_error_rise=0.1", "--data.validation=0"], ["(=0.1)", "data.validation"]),
    (["--prune.threshold=3.5"], ["prune.threshold (=3.5)", "train.train_threshold (=3.0)"]),
    (["--prune.threshold=nan"], ["prune.threshold (=nan)"]),
    (["--prune=5"], ["prune (=5)"]),
    (["--data.validation=-1"], ["data.validation (=-1)", ">= 0"]),
    (["--data.validation=1437"], ["validation (=1437)", "<= 1436"]),
    (["--data.name=nosuch"], ["'nosuch'", "digits, diabetes, mnist", ".npz"]),
    (["--data.name=nosuch.npz"], ["'nosuch.npz'"]),
    (["--model.sizes=[64, 0, 10]"], ["[64, 0, 10]"]),
    (["--model.sizes=[64, -5, 10]"], ["[64, -5, 10]"]),
    (["--model.sizes=[64]"], ["[64]"]),
    (["--model.sizes=64"], ["model.sizes (=64)"]),
    (["--model.sizes=[64, 1.5, 10]"], ["model.sizes.1 (=1.5)"]),
    (["--model.sizes=[63, 10]"], ["(64,)"]),
    (["--model.sizes=[64, 9]"], ["label 9", "(1, 9)"]),
    ([f"--model.sizes=[64, {10**11}, 10]"], [str(10**11)]),
    ([f"--model.sizes=[64, {10**30}, 10]"], [str(10**30)]),
    (["--model.prior=cauchy"], ["model.prior (=cauchy)", "'ard'"]),
    (["--seed=-1"], ["seed (=-1)", "4294967295"]),
    (["--seed=abc"], ["seed (=abc)"]),
    (["--device=nonsense"], ["'nonsense'", "cuda"]),
    (["--device=meta"], ["'meta'"]),
    (["--device=cuda:99"], ["'cuda:99'"]),
    (["--config=nosuch.yaml"], ["nosuch.yaml"]),
]


@pytest.mark.parametrize(("keys", "quoted"), SETTINGS, ids=lambda value: value[0] if value[0].startswith("-") else "")
def test_bad_setting(tmp_path: Path, keys: list[str], quoted: list[str]) -> None:
    refused("train", "digits", "--out", tmp_path / "out", *keys, quoted=quoted)
    assert contents(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (["frobnicate"], ["'frobnicate'", ", ".join(COMMANDS)]),
        (["--json", "recipes"], ["'--json'"]),
        (["train"], ["recipe", "digits", "report-mlp2"]),
        (["train", "--resume"], ["recipe"]),
        (["train", "nosuch"], ["'nosuch'", "digits", ".yaml"]),
        (["train", "nosuch.yaml"], ["'nosuch.yaml'"]),
        (["prune"], ["run"]),
        (["prune", "nosuch"], ["'nosuch'"]),
        (["evaluate"], ["source"]),
        (["evaluate", "nosuch"], ["'nosuch'"]),
        (["inspect"], ["run"]),
        (["inspect", "nosuch"], ["'nosuch'"]),
        (["recipes", "extra"], ["extra"]),
        (["recipes", "--nosuch"], ["--nosuch"]),
    ],
)
def test_bad_command(arguments: list[str], quoted: list[str]) -> None:
    refused(*arguments, quoted=quoted)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["prune", "run", "--threshold=x"]])
def test_bad_input_in_a_process_of_its_own(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    check_refusal((done.returncode, done.stdout, done.stderr), ["(="])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"- a list", b"just text", b"{unclosed", b"\xff\xfe\x00binary", b"train: {epochs: x}"])
def test_bad_recipe_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    refused("train", path, "--out", tmp_path / "out", quoted=["recipe" if b"epochs" not in content else "train.epochs (=x)"])
    refused("train", "digits", "--config", path, "--out", tmp_path / "out", quoted=[])
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("keys", "quoted"),
    [
        ([], ["output folder (=", "--resume"]),
        (["--resume", "--seed=7"], ["seed", " 0 ", " 7 "]),
        (["--resume", "--train.epochs=9"], ["train.epochs", " 2 ", " 9 "]),
        (["--resume", "--train.train_threshold=null"], ["train.train_threshold", "3.0", "None"]),
    ],
)
def test_output_folder_with_another_run(finished_run: Path, keys: list[str], quoted: list[str]) -> None:
    before = contents(finished_run)
    refused("train", "digits", *SMALL, *keys, "--out", finished_run, quoted=[str(finished_run), *quoted])
    assert contents(finished_run) == before


def test_output_folder_that_is_something_else(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    other.mkdir()
    file.write_text("mine")
    (other / "thesis.tex").write_text("mine too")
    before = contents(tmp_path)
    refused("train", "digits", *SMALL, "--out", file, quoted=[f"output folder (='{file}')"])
    refused("train", "digits", *SMALL, "--out", file / "below", quoted=[f"'{file / 'below'}'"])
    refused("train", "digits", *SMALL, "--out", other, quoted=[f"output folder (='{other}')", "--resume"])
    refused("train", "digits", *SMALL, "--out", other, "--resume", quoted=[str(other), "recipe.yaml"])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("keys", "quoted"),
    [
        (["--threshold=nan"], ["threshold (=nan)"]),
        (["--threshold=101"], ["threshold (=101.0)", "<= 100"]),
        (["--threshold=1", "--max-error-rise=0.1"], ["--threshold", "--max-error-rise"]),
        (["--max-error-rise=2"], ["max_error_rise (=2.0)", "<= 1"]),
        (["--out", "{run}/pruned.safetensors"], ["{run}/pruned.safetensors", "--out"]),
        (["--out", "{run}/no/such/folder.safetensors"], ["{run}/no/such/folder.safetensors"]),
    ],
)
def test_bad_prune(finished_run: Path, keys: list[str], quoted: list[str]) -> None:
    before = contents(finished_run)
    inserted = ([text.format(run=finished_run) for text in texts] for texts in (keys, quoted))
    refused("prune", finished_run, *next(inserted), quoted=next(inserted))
    assert contents(finished_run) == before


def test_prune_needs_validation_data_to_choose_by(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("validation: 100", "validation: 0"))
    refused("prune", run, "--max-error-rise=0.1", quoted=["max_error_rise (=0.1)", "data.validation"])


def test_bad_evaluate(finished_run: Path) -> None:
    refused("evaluate", finished_run, "--num-samples=0", quoted=["num_samples (=0)"])
    refused("evaluate", finished_run, "--data=nosuch", quoted=["'nosuch'"])
    code, out, _ = run_cli("evaluate", finished_run, "--num-samples=1", "--json")
    assert (code, out[:1]) == (0, "{"), "the run itself must be good, or this test shows nothing"
