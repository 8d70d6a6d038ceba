"""A digest of every kind of result, to see whether a change of the code leaves all numbers bit for bit as they were.

Small seeded runs of every guide, prior, likelihood, option and command on one thread of the CPU, in about two minutes. Run
``python benchmarks/fingerprint.py``: it prints one line for each part of a result, its name and twelve digits. With ``--against
benchmarks/fingerprint.txt`` it prints the lines that differ from a recorded output, and exits with 1 if there are any.

Only values count, see ``fingerprint_digest.py``, so that code can be renamed. Names of lines are chosen here: keep them.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: what a recipe leaves to choose runs on the CPU

import pyro
import torch
from fingerprint_commands import RESULTS as OF_COMMANDS
from fingerprint_digest import digest
from fingerprint_results import RESULTS as IN_PYTHON

RESULTS = IN_PYTHON | OF_COMMANDS


def fingerprint(only: str = "") -> Iterator[str]:
    """A line for each result of those whose name contains ``only``; each starts from the same seed, whatever ran before."""
    for name, result in RESULTS.items():
        if only not in name:
            continue
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        torch.set_num_threads(1)
        started = time.perf_counter()
        with TemporaryDirectory() as folder:
            values = result(Path(folder))
            for part, value in values.items():
                yield f"{name}, {part}: {digest(value)}"
        print(f"{time.perf_counter() - started:6.1f} s  {name}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="recorded output to compare with")
    parser.add_argument("--only", default="", help="only results whose name contains this text")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    recorded: dict[str, str] = {}
    if arguments.against:
        lines = arguments.against.read_text().splitlines()
        recorded = dict(line.rsplit(": ", 1) for line in lines if line and not line.startswith("#"))
        recorded = {name: found for name, found in recorded.items() if arguments.only in name.split(", ")[0]}
    else:
        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "pyro-ppl", "numpy"))
        print(f"# Python {platform.python_version()}, {versions}")
        print("# Digests are comparable only on the same kind of machine, with these versions.")
    differ = 0
    for line in fingerprint(arguments.only):
        if not arguments.against:
            print(line, flush=True)
        else:
            name, found = line.rsplit(": ", 1)
            wanted = recorded.pop(name, "not recorded")
            if found != wanted:
                differ += 1
                print(f"{name}: {found}, recorded: {wanted}", flush=True)
    for name, wanted in recorded.items():
        print(f"{name}: missing, recorded: {wanted}")
    if arguments.against:
        print(f"{differ + len(recorded)} lines differ", file=sys.stderr)
    sys.exit(bool(differ or recorded))


if __name__ == "__main__":
    main()
