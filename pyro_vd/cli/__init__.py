"""The command line, ``pyro-vd``: one module per command, with a function ``run(arguments)``; the list is in ``commands``."""
