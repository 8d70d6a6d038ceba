"""Several ways to make the same trained network smaller, side by side: error, size, latency and seconds, whoever wins.

Every method starts from the same network, trained on the same examples, and has the same number of epochs. Settings are those
that the methods' authors give, and none is chosen on test data. Run ``python benchmarks/peers.py --net lenet-300-100``, which
needs the dependency groups ``zoo`` and, for the Bayesian libraries, ``peers``. Each line is kept in the file of ``--lines``,
which belongs to the repository, and a second run goes on with the first line that is missing. ``--table docs/peers.md`` writes
the page of the documentation of all lines that are there, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rivals
import rivals_bayesian
import torch
from peers_page import page
from rivals import Task, learn
from torch import nn

from pyro_vd import Dataset, evaluate, load_data, load_onnx, save_onnx, save_pruned
from pyro_vd.networks import lenet5, mlp
from pyro_vd.networks.inputs import run
from pyro_vd.runtime.timing import shortest_seconds

NETWORKS = {"lenet-300-100": lambda: mlp((784, 300, 100, 10)), "lenet5": lenet5, "digits": lambda: mlp((64, 300, 10))}
METHODS = rivals.METHODS | rivals_bayesian.METHODS
LINES = Path(__file__).with_name("peers.jsonl")
BATCH = 64
"""Examples of the batch whose latency is measured."""


def files(net: nn.Module, x: torch.Tensor, folder: Path) -> tuple[int, int, nn.Module]:
    """Bytes of a sparse file and of an ONNX file of a network, and the latter for ONNX Runtime."""
    save_pruned(net, sparse := folder / "net.safetensors", layout="sparse")
    save_onnx(net, onnx := folder / "net.onnx", x[:3])
    return sparse.stat().st_size, onnx.stat().st_size, load_onnx(onnx)


def measured(net: nn.Module, before: nn.Module, data: Dataset, seconds: float) -> dict[str, float]:
    """What a network is worth where it is deployed; latencies are taken in turns with those of the network before."""
    net.eval()
    x = data.x_test[:BATCH]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second, torch.inference_mode(False):
        *_, of_before = files(before, x, Path(first))
        sparse, onnx, of_net = files(net, x, Path(second))
        slow, fast = shortest_seconds(lambda: run(of_before, x), lambda: run(of_net, x))
    weights = sum(p.numel() for p in before.parameters() if p.dim() > 1)
    left = sum(int((p != 0).sum()) for p in net.parameters() if p.dim() > 1)
    return {
        "error": evaluate(net, data.test).error,  # type: ignore[union-attr]
        "compression": weights / max(left, 1),
        "parameters": sum(p.numel() for p in net.parameters()),
        "sparse_bytes": sparse,
        "onnx_bytes": onnx,
        "latency": fast,
        "speed": slow / fast,
        "seconds": seconds,
    }


def trained(options: argparse.Namespace, seed: int, data: Dataset) -> tuple[nn.Module, dict[str, float]]:
    """The dense network of a seed and what it is worth; a file of ``--out`` keeps it."""
    torch.manual_seed(seed)
    net, path = NETWORKS[options.net](), options.out / f"{options.net}-{options.epochs}-{options.lr:g}-{seed}.pt"
    if path.exists():
        saved = torch.load(path)
        net.load_state_dict(saved["net"])
        return net.eval(), saved["measured"]
    start = time.process_time()
    learn(net, Task(net, (data.x_train, data.y_train), 1, options.epochs, options.lr), options.epochs)
    found = measured(net, net, data, time.process_time() - start)
    torch.save({"net": net.state_dict(), "measured": found}, path)
    return net, found


def lines_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The lines that are there."""
    return [json.loads(line) for line in options.lines.read_text().splitlines()] if options.lines.exists() else []


def carry_out(options: argparse.Namespace) -> None:
    """Train what is missing, one line after another."""
    data = load_data("digits" if options.net == "digits" else "mnist")
    settings = {"net": options.net, "epochs": options.epochs, "lr": options.lr}
    options.out.mkdir(parents=True, exist_ok=True)
    lines = lines_of(options)

    def keep(key: dict[str, Any], values: dict[str, float]) -> None:
        if not any(key.items() <= line.items() for line in lines):
            lines.append(key | values)
            with options.lines.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(f"{key}: {values}", flush=True)

    for seed in range(options.seeds):
        dense, values = trained(options, seed, data)
        keep(settings | {"seed": seed, "target": 1.0, "method": "dense"}, values)
        for target in options.targets:
            for name, method in METHODS.items():
                key = settings | {"seed": seed, "target": target, "method": name}
                if any(key.items() <= line.items() for line in lines):
                    continue
                torch.manual_seed(seed)
                start = time.process_time()
                net = method(Task(dense, (data.x_train, data.y_train), target, options.epochs, options.lr))
                seconds = time.process_time() - start + getattr(method, "spared", 0.0)
                keep(key, measured(net, dense, data, seconds))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETWORKS, default="lenet-300-100")
    parser.add_argument("--targets", type=float, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each method, after as many of the dense network")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--lines", type=Path, default=LINES, help=f"what is measured (default: {LINES.name} beside this)")
    parser.add_argument("--out", type=Path, default=Path("out/peers"), help="folder of dense networks (default: out/peers)")
    parser.add_argument("--table", type=Path, help="a file for the page of all lines that are there; nothing is trained")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    if options.table is None:
        carry_out(options)
    text = page(lines_of(options), METHODS, options.targets)
    if options.table is None:
        print(text)
    else:
        options.table.write_text(text)


if __name__ == "__main__":
    main()
