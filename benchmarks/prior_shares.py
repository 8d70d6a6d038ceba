"""The share of the parameters that gets a prior, for networks of others: ``python benchmarks/prior_shares.py``."""

from __future__ import annotations

import logging
import warnings

from zoo import ZOO

from pyro_vd import BayesianNetwork


def main() -> None:
    """Print one line per network: parameters, sites, and the share of the parameters in sites."""
    logging.getLogger("pyro_vd").setLevel(logging.ERROR)  # the table says what stays plain
    print(f"{'network':34s} {'parameters':>12s} {'sites':>6s} {'share':>7s}")
    for specimen in ZOO:
        net = specimen.seeded()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights = BayesianNetwork(net, output=specimen.output).initial_weights
        total = sum(parameter.numel() for parameter in net.parameters())
        share = sum(weight.numel() for weight in weights.values()) / total
        print(f"{specimen.name:34s} {total:12,d} {len(weights):6d} {share:7.1%}")


if __name__ == "__main__":
    main()
