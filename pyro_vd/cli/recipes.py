"""``pyro-vd recipes``: list the built-in recipes."""

from __future__ import annotations

import json

from pyro_vd.cli.arguments import parse, parser_of

HELP = "list the built-in recipes"


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    values = parse(parser_of("recipes", HELP), arguments)

    from pyro_vd.workflow.recipe_files import recipes
    from pyro_vd.workflow.tables import print_table

    found = {name: what for name, (_, what) in recipes().items()}
    if values.json:
        print(json.dumps(found))
    else:
        print_table("recipes", ["name", "what"], list(found.items()), numbers=False)
