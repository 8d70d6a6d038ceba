"""Several ways to make the same trained network smaller, side by side: error, size, latency and seconds, whoever wins.

Every method starts from the same network, trained on the same examples, and has the same number of epochs. Settings are those
that the methods' authors give, and none is chosen on test data. Run ``python benchmarks/peers.py --net lenet-300-100``, which
needs the dependency group ``zoo``. Each line is kept in the file of ``--out``, and a second run goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean

import torch
from rivals import METHODS, Task, learn
from torch import nn

from pyro_vd import Dataset, evaluate, load_data, load_onnx, save_onnx, save_pruned
from pyro_vd.networks import lenet5, mlp

NETWORKS = {"lenet-300-100": lambda: mlp((784, 300, 100, 10)), "lenet5": lenet5, "digits": lambda: mlp((64, 300, 10))}


def latency(net: nn.Module, x: torch.Tensor) -> float:
    """Median of 200 calls of ONNX Runtime at one thread, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        save_onnx(net, Path(folder) / "net.onnx", x)
        run = load_onnx(Path(folder) / "net.onnx")
        times = []
        for _ in range(200):
            start = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - start)
    return 1e6 * sorted(times)[100]


def measured(net: nn.Module, before: nn.Module, data: Dataset, seconds: float) -> dict[str, float]:
    """What a network is worth where it is deployed."""
    net.eval()
    x = data.x_test[:64]
    with tempfile.TemporaryDirectory() as folder:
        save_pruned(net, path := Path(folder) / "net.safetensors", layout="sparse")
        size = path.stat().st_size
    weights = sum(p.numel() for p in before.parameters() if p.dim() > 1)
    left = sum(int((p != 0).sum()) for p in net.parameters() if p.dim() > 1)
    return {
        "error": evaluate(net, data.test).error,  # type: ignore[union-attr]
        "compression": weights / max(left, 1),
        "parameters": sum(p.numel() for p in net.parameters()),
        "sparse_bytes": size,
        "speed": latency(before, x) / latency(net, x),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETWORKS, default="lenet-300-100")
    parser.add_argument("--targets", type=float, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each method, after as many of the dense network")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, default=Path("out/peers.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("digits" if options.net == "digits" else "mnist")
    settings = {"net": options.net, "epochs": options.epochs, "lr": options.lr}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        dense = NETWORKS[options.net]()
        start = time.process_time()
        learn(dense, Task(dense, (data.x_train, data.y_train), 1, options.epochs, options.lr), options.epochs)
        before = measured(dense, dense, data, time.process_time() - start)
        print(f"seed {seed}: dense network, error {100 * before['error']:.2f} %, {before['seconds']:.0f} s", flush=True)
        for target in options.targets:
            for name, method in METHODS.items():
                key = settings | {"seed": seed, "target": target, "method": name}
                if any(key.items() <= line.items() for line in lines):
                    continue
                torch.manual_seed(seed)
                start = time.process_time()
                net = method(Task(dense, (data.x_train, data.y_train), target, options.epochs, options.lr))
                lines.append(key | measured(net, dense, data, time.process_time() - start))
                with options.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    print(table([line for line in lines if settings.items() <= line.items()]))


def table(lines: list[dict[str, float]]) -> str:
    """A line per target and method, means over the seeds; of errors the range as well."""
    rows = ["| target | method | error % | times fewer weights | parameters | bytes, sparse | ONNX, times faster | seconds |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for target in sorted({line["target"] for line in lines}):
        for name in METHODS:
            of = [line for line in lines if line["target"] == target and line["method"] == name]
            if of:
                errors = [100 * line["error"] for line in of]
                error = f"{mean(errors):.2f} ({min(errors):.2f}–{max(errors):.2f})"
                forms = {"compression": ".1f", "parameters": ",.0f", "sparse_bytes": ",.0f", "speed": ".1f", "seconds": ".0f"}
                cells = [format(mean(line[key] for line in of), form) for key, form in forms.items()]
                rows.append(f"| {target:g} | {name} | {error} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
