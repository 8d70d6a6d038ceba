"""The page of the documentation that ``peers.py`` writes: its text and its tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import mean
from typing import Any

Line = dict[str, Any]
INTRODUCTION = """# Several ways to make a trained network smaller, side by side

Written by `python benchmarks/peers.py --table docs/peers.md` from the lines that `python benchmarks/peers.py` has measured;
the other libraries come with `pip install --group zoo --group peers`. It goes on with the first line that is missing.

Every method starts from the same trained network, and has as many epochs as that had: in 0.6 of them the network gets
smaller, in the others what is left recovers. The target is how many times fewer weights, or, with Torch-Pruning, parameters
are left; where units lose all that they read or that reads them, more weights go with them. Seconds are those of the
processor, on one thread; a posterior that serves several targets counts for each. ONNX Runtime has a batch of 64 on one
thread, and "times faster" is against the dense network, measured in turns with it. Errors are of the test data: with 10,000
images and one seed, differences below 0.3 percentage points may be chance.

- `magnitude`: gradual magnitude pruning, `torch.nn.utils.prune`, cubic schedule (Zhu and Gupta 2017).
- `Torch-Pruning`: whole units, little by little, by the size of their weights or by a Taylor series of the loss. Inputs
  stay.
- `cplxmodule`: its layers of variational dropout (VD) and automatic relevance determination (ARD), warm-up of the KL; the
  weights of lowest log α are kept.
- `bayesian-torch`: its layers with a normal prior, from the trained network (MOPED); those of highest |mean| / σ are kept.
- `Laplace`: the diagonal of the Fisher information; those of highest weight² · information are kept.
- `pyro_vd`: `VariationalDropout` for weights, `GroupVariationalDropout` for units, β found for the target, threshold 3.
"""
WHICH = """## When to take which

*Single weights, for a small file.* With 10 times fewer weights of LeNet-300-100, variational dropout (ours and cplxmodule's)
and gradual magnitude pruning are all as good as the dense network, and magnitude pruning takes less time than these and
nothing to understand: take it up to there. A posterior that is computed after an ordinary training and cut at once (Laplace)
is a little behind. With 30 times fewer weights, variational dropout is still as good as the dense network, 1.7 %; magnitude
pruning has 2.4 %. From there on the error of ours rises most slowly: at 100 times 2.2 %, against 2.9 % and 3.2 % of
cplxmodule's and 4.7 % of magnitude pruning; at 300 times 4.5 %, against 10 % of magnitude pruning (328 times) and 15 % and 16 %
of cplxmodule's, which lose more weights than was asked for (354 and 362 times). cplxmodule's KL has one weight whatever the
target, and what is beyond the target is cut off afterwards, by rank; ours rises until so many weights are beyond the
threshold by themselves. Take variational dropout, too, where the numbers of weights per layer are to be found and not given,
or where the posterior itself is wanted.

*Whole units, for a fast network.* With 10 times fewer weights, group variational dropout and Torch-Pruning with a Taylor
series are alike (2.6 % and 2.8 %); from 30 times on group variational dropout has the lowest error of those that remove
units, at 100 times 9 % against 28 %. It takes about ten times as long. It removes inputs too, which then need not be measured
or stored any more. Where the inputs are there anyway and 10 times is enough, Torch-Pruning with a Taylor series, which keeps
them and cuts more hidden units, is a good and quick choice, and faster in ONNX Runtime: no inputs have to be selected. Zeros
alone make no dense runtime faster. But where so many single weights go that whole units go with them, the compact network is
faster, too: with 100 times fewer single weights it has a lower error than with 10 times fewer by units, and a smaller file,
at about the same speed. For what is faster still, use [the sparse runtime](guide/deployment.md).

*bayesian-torch* is not made for pruning. Its posterior starts with the same |mean| / σ for every weight of the trained
network (MOPED), and its KL, the mean over the weights of a layer divided by the size of a batch as in its documentation, is
far weaker than in the ELBO: that is probably why their rank says little about which weights matter. Where nothing is left,
the table counts one weight.
"""
COLUMNS = {
    "error %": ("error", 100.0, ".2f"),
    "times fewer weights": ("compression", 1.0, ".1f"),
    "parameters": ("parameters", 1.0, ",.0f"),
    "bytes, sparse file": ("sparse_bytes", 1.0, ",.0f"),
    "bytes, ONNX": ("onnx_bytes", 1.0, ",.0f"),
    "ONNX Runtime, µs": ("latency", 1e6, ".0f"),
    "times faster": ("speed", 1.0, ".1f"),
    "seconds": ("seconds", 1.0, ".0f"),
}
"""By heading, what is shown: the value of a line, its factor and its format."""


def rows(lines: Sequence[Line]) -> list[str]:
    """A row per target and method, in the order of the lines: means over the seeds, and of several errors the range."""
    found: dict[tuple[float, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line["target"], line["method"]), []).append(line)
    text = []
    for target, method in sorted(found, key=lambda key: key[0]):
        of = found[target, method]
        values = {name: [factor * line[key] for line in of] for name, (key, factor, _) in COLUMNS.items()}
        cells = [format(mean(each), COLUMNS[name][2]) for name, each in values.items()]
        if len(of) > 1:
            cells[0] += f" ({min(values['error %']):.2f}–{max(values['error %']):.2f})"
        text.append(f"| {'–' if method == 'dense' else f'{target:g}'} | {method} | {' | '.join(cells)} |")
    return text


def page(lines: Sequence[Line], methods: Collection[str], targets: Collection[float]) -> str:
    """The page: a table per network, number of epochs and learning rate.

    Args:
        lines: what was measured.
        methods, targets: what is to be measured for each seed.
    """
    parts = [INTRODUCTION]
    for settings in dict.fromkeys((line["net"], line["epochs"], line["lr"]) for line in lines):
        of = [line for line in lines if (line["net"], line["epochs"], line["lr"]) == settings]
        net, epochs, lr = settings
        seeds = len({line["seed"] for line in of})
        parts.append(f"## {net}, {epochs} epochs, learning rate {lr:g}, {seeds} seed{'s' * (seeds > 1)}\n")
        head = f"| target | method | {' | '.join(COLUMNS)} |\n| ---: | --- |{' ---: |' * len(COLUMNS)}"
        parts.append("\n".join([head, *rows(of)]) + "\n")
        whole = seeds * len(methods) * len(targets)
        if missing := whole - sum(line["method"] in methods and line["target"] in targets for line in of):
            shown = ", ".join(f"{each:g}" for each in targets)
            parts.append(f"{missing} of {whole} rows, of the targets {shown}, are not measured yet.\n")
    return "\n".join([*parts, WHICH])
