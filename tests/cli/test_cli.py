"""The command line from end to end: what it prints where, what it leaves, and that its networks have learnt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import ENVIRONMENT, SMALL, command, contents, python, refused, run_cli, write_mnist

from pyro_vd import __version__, evaluate, load_data, load_pruned, load_run, prune
from pyro_vd.cli import main as cli
from pyro_vd.evaluation.score import score_of
from pyro_vd.runs import recipes

FILES = {"recipe.yaml", "metrics.json", "metrics.jsonl", "log-alpha.jsonl", "posterior.safetensors", "pruned.safetensors"}


def json_of(*arguments: str | Path) -> Any:
    """What a command prints with ``--json``: one JSON object, and nothing else."""
    code, out, err = run_cli(*arguments, "--json")
    assert code == 0, err
    result = json.loads(out, parse_constant=pytest.fail)
    assert isinstance(result, dict)
    assert out.count("\n") == 1
    return result


def text_of(*arguments: str | Path) -> str:
    """What a command prints without ``--json``."""
    code, out, err = run_cli(*arguments)
    assert (code, err) == (0, "")
    assert not out.lstrip().startswith("{")
    return out


def test_recipes() -> None:
    found = json_of("recipes")
    assert found.keys() == recipes().keys() >= {"digits", "lenet-300-100", "report-mlp2", "report-mlp3"}
    table = " ".join(text_of("recipes").split())
    for name, what in found.items():
        assert name in table
        assert what.split()[-1] in table, "the description is not cut"


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_can_be_read(name: str) -> None:
    known = ("digits", "diabetes", "mnist", "cifar10", "imdb", "table.csv", "images", "texts")
    assert yaml.safe_load(text_of("train", name, "--print-config"))["data"]["name"] in known


@pytest.mark.parametrize("arguments", [*([name] for name in cli.COMMANDS), ["train", "digits"]])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(arguments: list[str], flag: str) -> None:
    out = text_of(*arguments, flag)
    assert out.startswith(f"usage: pyro-vd {arguments[0]}")
    assert "--json" in out
    if arguments[0] == "train":
        for key in ("--train.epochs", "--train.kl_weight.end", "Passes over the data", "--model.prior", "ard"):
            assert key in out


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_overview(arguments: list[str]) -> None:
    out = text_of(*arguments)
    for name in (*cli.COMMANDS, "--version"):
        assert name in out
    assert run_cli("--version") == (0, f"pyro-vd {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["recipes"], ["recipes", "--json"], ["nosuch"]])
def test_what_needs_no_torch_does_not_import_it(arguments: list[str]) -> None:
    heavy = ["torch", "pyro", "numpy", "scipy", "rich", "matplotlib"]
    code = f"import atexit, sys; atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))\n"
    done = python(f"{code}from pyro_vd.cli.main import main; main(sys.argv[1:])", *arguments)
    assert done.returncode == (2 if arguments == ["nosuch"] else 0), done.stderr
    assert done.stdout.endswith("[]\n")


@pytest.mark.slow
def test_train_in_a_process_of_its_own(tmp_path: Path, finished_run: Path) -> None:
    """One JSON object on standard output, the progress on standard error, no warning; the run is the other process's."""
    line = command("train", "digits", *SMALL, "--json", "--out", "new/run")
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout, parse_constant=pytest.fail)
    for phase in ("pretrain", "train", "finetune"):
        assert phase in done.stderr
    assert "Warning" not in done.stderr
    run = tmp_path / "new" / "run"
    assert set(contents(run)) > FILES
    assert result.pop("run") == "new/run"
    assert result == json.loads((run / "metrics.json").read_text())
    for name in ("posterior.safetensors", "pruned.safetensors", "recipe.yaml"):
        assert (run / name).read_bytes() == (finished_run / name).read_bytes()


@pytest.mark.slow
def test_interrupted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = command("train", "digits", "--out", run, "--quiet", "--device=cpu")
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a process in the background may ignore it
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=heed
    )
    while not (run / "checkpoint-pretrain.pt").exists():
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("interrupted; --resume")
    assert err.count("\n") == 1
    assert set(contents(run)) == {"recipe.yaml", "metrics.jsonl", "checkpoint-pretrain.pt"}


def test_a_runs_recipe_gives_the_run_again(finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "again"
    result = json_of("train", finished_run / "recipe.yaml", "--out", run, "--quiet")
    assert (run / "pruned.safetensors").read_bytes() == (finished_run / "pruned.safetensors").read_bytes()
    assert (run / "recipe.yaml").read_bytes() == (finished_run / "recipe.yaml").read_bytes()
    assert result["networks"] == json.loads((finished_run / "metrics.json").read_text())["networks"]
    other = json_of("train", finished_run / "recipe.yaml", "--seed=1", "--out", tmp_path / "other", "--quiet")
    assert other["networks"] != result["networks"]


def test_what_a_run_prunes_stays_pruned(finished_run: Path) -> None:
    run, net = load_run(finished_run), load_pruned(finished_run / "pruned.safetensors")
    plain = prune(run.guide, run.recipe.prune.threshold)
    for name in run.guide.site_names:
        weight = net.get_parameter(name)
        assert torch.equal(weight == 0, plain.get_parameter(name) == 0), "fine-tuning removes nothing and brings nothing back"
        assert 0 < int((weight == 0).sum()) < weight.numel()
        assert not torch.equal(weight, plain.get_parameter(name)), "it trains what is left"
    assert run.validation is not None
    assert json.loads((finished_run / "metrics.json").read_text())["validation_error"] == score_of(net, run.validation).value


def test_keys_come_after_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {lr: 0.5, epochs: 7}\n")
    out = text_of("train", "digits", "--config", tmp_path / "mine.yaml", "--train.epochs=9", "--print-config")
    train = yaml.safe_load(out)["train"]
    assert (train["lr"], train["epochs"], train["train_threshold"]) == (0.5, 9, 3.0)


def test_evaluate(finished_run: Path) -> None:
    result = json_of("evaluate", finished_run, "--num-samples=2")
    run, data = load_run(finished_run), load_data("digits")
    assert (result["data"], list(result["networks"])) == ("digits", ["posterior mean", "Monte Carlo", "pruned"])
    held = evaluate(prune(run.guide, 3.0), data.test)  # what the training held at zero is zero
    assert result["networks"]["posterior mean"]["nll"] == held.nll
    pruned = result["networks"]["pruned"]
    assert pruned["error"] == evaluate(load_pruned(finished_run / "pruned.safetensors"), data.test).error
    alone = json_of("evaluate", finished_run / "pruned.safetensors")
    assert alone["networks"] == {"pruned": pruned}
    table = text_of("evaluate", finished_run, "--num-samples=2")
    for text in (*result["networks"], f"{100 * pruned['error']:.2f}", f"{pruned['compression']:.1f}x"):
        assert text in table


def test_evaluate_on_other_data(finished_run: Path, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for source in (finished_run, finished_run / "pruned.safetensors"):
        refused("evaluate", source, "--data=mnist", "--data-dir", tmp_path, quoted=["(28, 28)"])


def test_prune(finished_run: Path, tmp_path: Path) -> None:
    before = contents(finished_run)
    compressions = []
    for threshold in (1.0, 3.0):
        out = tmp_path / f"{threshold}.safetensors"
        result = json_of("prune", finished_run, "--threshold", str(threshold), "--out", out)
        assert (result["file"], result["threshold"]) == (str(out), threshold)
        (metrics,) = result["networks"].values()
        assert json_of("evaluate", out)["networks"] == {"pruned": metrics}
        compressions.append(metrics["compression"])
    assert compressions[0] > compressions[1]
    assert contents(finished_run) == before
    chosen = json_of("prune", finished_run, "--max-error-rise=1", "--out", tmp_path / "any")
    assert chosen["threshold"] == -4, "the lowest there is, when any error will do"
    assert "pruned at 2" in text_of("prune", finished_run, "--threshold=2", "--out", tmp_path / "table")


def test_digits_are_learnt(tmp_path: Path) -> None:
    epochs = [f"--{phase}.epochs={n}" for phase, n in {"pretrain": 10, "train": 25, "finetune": 3}.items()]
    keys = ["--model.sizes=[64, 30, 10]", "--train.kl_weight.end=5", "--train.batch_size=100", "--seed=3", "--device=cpu"]
    result = json_of("train", "digits", *epochs, *keys, "--out", tmp_path / "run", "--quiet")
    networks = result["networks"]
    assert list(networks) == ["pretrained", "posterior mean", "Monte Carlo", "pruned"]
    assert networks["pretrained"]["error"] < 0.15
    assert networks["pruned"]["error"] < 0.08
    assert networks["pruned"]["compression"] > 2
    assert networks["pruned"]["roc_auc"] > 0.98
    assert result["skipped"] == 0


@pytest.mark.slow
def test_mnist_is_learnt(tmp_path: Path) -> None:
    if not (Path(os.environ.get("PYRO_VD_DATA", "nowhere")) / "MNIST" / "raw").is_dir():
        pytest.skip("PYRO_VD_DATA names no torchvision root with MNIST in it")
    keys = ["--model.sizes=[784, 30, 10]", "--pretrain.epochs=1", "--train.epochs=2", "--finetune.epochs=0", "--device=cpu"]
    sizes = ["--pretrain.batch_size=500", "--train.batch_size=500", "--train.lr=0.01", "--train.kl_weight.end=1"]
    result = json_of("train", "lenet-300-100", *keys, *sizes, "--out", tmp_path / "run", "--quiet")
    assert result["networks"]["pruned"]["error"] < 0.12
    assert result["networks"]["pruned"]["compression"] > 1.5


def test_another_kind_of_schedule_replaces_the_whole_schedule() -> None:
    """The key ``after`` of the recipe belongs to its linear schedule."""
    schedule = yaml.safe_load(text_of("train", "digits", "--train.lr_schedule={kind: constant}", "--print-config"))["train"]
    assert schedule["lr_schedule"] == {"kind": "constant", "after": 0.0, "steps": {}}
    kept = yaml.safe_load(text_of("train", "digits", "--train.lr_schedule={kind: linear}", "--print-config"))["train"]
    assert kept["lr_schedule"]["after"] == 0.5
