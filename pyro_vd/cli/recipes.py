"""``pyro-vd recipes``: list the built-in recipes."""

from __future__ import annotations

import json

from pyro_vd.cli.parsing import Parser
from pyro_vd.runs import recipes


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    values = Parser("recipes").read(arguments)
    found = {name: what for name, (_, what) in recipes().items()}
    if values.json:
        print(json.dumps(found))
    else:
        widest = max(map(len, found))
        print("\n".join(f"{name:{widest}}  {what}" for name, what in found.items()))
