"""A program: puts wrong values into every leaf of the checkpoints of every kind of training, with right digests.

    python tests/fuzz/leaves.py CASES [TRAINING ...]

For each training, CASES of all pairs of a leaf and a value are tried, or all if CASES is 0. It prints the findings as they are
made, and at the end of a training the number of its cases; it fails if anything was found. Each case is printed on standard
error before it is tried, so that the last one is that of a crash.
"""

from __future__ import annotations

import io
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
from spoil import KINDS, Place, at, places, spoilt  # noqa: E402
from trainings import TRAININGS, resume, unfinished  # noqa: E402

from pyro_vd import InputError, NonFiniteError  # noqa: E402

MAY_DIFFER = (
    *("format", "settings", "cuda_rng", "history.0", "batches"),
    *("optimizer.state", "optimizer.param_groups.0.lr", "scheduler.noted"),
)
"""Where a value may be missing, or be one of another form: no check can know it, or the training does not read it."""
MAY_BE_GONE = {"messages", "attributes", "attentions", "embeddings", "norms", "added", "factors", "is_new", "parts"}
"""Keys of a plan of what was removed that have a default."""


def cases_of(content: Any, part: str | None) -> Iterator[tuple[Place, str, int]]:
    """Every place in a checkpoint, or in a part of it, with the kind and number of a value that is put there."""
    for place in places(content):
        if (part is None and not (place[0] in ("format", "settings") and len(place) > 1)) or place[0] == part:
            for kind, values in KINDS.items():
                yield from ((place, kind, number) for number, _ in enumerate(values(at(content, place))))
            yield (place, "gone", 0)


def finding(read: Any, path: Path, name: str, kind: str, wanted: str) -> str | None:
    """What is wrong with how a spoilt checkpoint is taken; None where nothing is."""
    try:
        found = read(path)
    except InputError as error:
        text = str(error)
        fits = (str(path) in text or kind == "other") and len(text) < 2000 and kind != "same"
        return None if fits else f"refused: {text[:300]}"
    except NonFiniteError as error:
        return None if kind == "other" else f"taken: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    if kind == "same" and found != wanted:
        return "other results than with the same numbers in another order"
    is_default = kind == "gone" and name.startswith("shrinking.plans") and name.rpartition(".")[2] in MAY_BE_GONE
    return "taken" if kind in ("wrong", "gone") and not is_default and not name.startswith(MAY_DIFFER) else None


def main() -> None:
    limit, names = int(sys.argv[1]), sys.argv[2:] or TRAININGS
    logging.disable()
    findings = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.pt"
        for training in names:
            part, options = TRAININGS[training]
            good, read = unfinished(options), resume(options)
            path.write_bytes(good)
            wanted = read(path)
            cases = list(cases_of(torch.load(io.BytesIO(good), weights_only=True), part))
            if limit:
                cases = random.Random(training).sample(cases, min(limit, len(cases)))
            for place, kind, number in cases:
                name = ".".join(map(str, place))
                print(f"{training}: {name}, {kind} {number}", file=sys.stderr, flush=True)
                path.write_bytes(spoilt(good, place, kind, number))
                if found := finding(read, path, name, kind, wanted):
                    findings += 1
                    print(f"{training}: {name}, {kind} {number}: {found}", flush=True)
            print(f"{training}: {len(cases)} cases tried", flush=True)
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
