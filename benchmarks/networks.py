"""Which networks of others the library can take: the table of the README, as Markdown. Run ``python benchmarks/networks.py``.

Networks that are large are trained and exported in a narrower variant of the same class; sizes and shares are those of the
networks themselves.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from stages import (
    EXPORTS,
    compacted,
    difference,
    exported,
    other_sizes,
    parameters,
    pruned,
    share_under_a_prior,
    tolerance,
    train,
)
from zoo import Specimen, specimens

from pyro_vd._core.messages import one_line

COLUMNS = ("network", "parameters", "with a prior", "trains", "compact, 40 % of the units pruned", *EXPORTS)
YES, NO = "yes", "no"


def cells(specimen: Specimen) -> list[str]:
    """One row; what fails is said on standard error."""

    def stage(name: str, does: Callable[[], str]) -> str:
        try:
            return does()
        except Exception as error:  # any stage of any network may fail in any way, and the others are still told
            print(f"{specimen.name}: {name}: {one_line(error)[:200]}", file=sys.stderr)
            return NO

    def compacts() -> str:
        small, net = compacted(specimen, small=False), pruned(specimen, small=False)
        if not max(difference(small, net, x) for x in other_sizes(specimen)) <= 1e-5:
            raise ValueError("the compact network is another function")
        return f"{parameters(net) / parameters(small):.1f} times smaller"

    def trains() -> str:
        trained = train(specimen)
        without = len(trained.without_gradient)
        return f"yes, but {without} of {len(trained.model.weight_names)} sites" if without else YES

    def exports(kind: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            again = exported(pruned(specimen), specimen, kind, Path(folder) / "net")
            net = pruned(specimen)
            if not all(difference(again, net, x) <= tolerance(net, x) for x in other_sizes(specimen)):
                raise ValueError("the file is another function")
        return "any batch, any length" if specimen.has_length else "any batch"

    net = specimen.seeded()
    return [
        specimen.name,
        f"{parameters(net):,}",
        stage("prior", lambda: f"{100 * share_under_a_prior(net, specimen.output):.1f} %"),
        stage("training", trains),
        stage("compaction", compacts),
        *(stage(kind, lambda kind=kind: exports(kind)) for kind in EXPORTS),  # type: ignore[misc]
    ]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of networks (default: all)")
    names = parser.parse_args(given).names
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}", sep="\n")
    for specimen in specimens(*names):
        print(f"| {' | '.join(cells(specimen))} |", flush=True)
        pruned.cache_clear()
        compacted.cache_clear()


if __name__ == "__main__":
    main()
