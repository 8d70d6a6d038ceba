"""What a launcher of several processes, such as torchrun, says in the environment."""

from __future__ import annotations

import os


def launched() -> int:
    """Return the number of processes that a launcher has started, of which this is one; 1 if it was not launched so."""
    text = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    return int(text) if text.isdecimal() else 1
