"""The commands of ``pyro-vd`` and what each does, in the order of the overview. None of their modules is imported for it."""

COMMANDS = {
    "train": "pretrain, train, prune and measure as a recipe says",
    "compress": "make the network of a recipe or a run so many times smaller where it is deployed",
    "sweep": "train a recipe with many settings, several runs at a time, and rank them by validation",
    "prune": "prune a trained run at another threshold, or to other numbers of inputs",
    "evaluate": "measure a run, or a pruned network's file, on the test data",
    "compare": "show finished runs side by side, in a table and a figure",
    "report": "show finished runs as one page of HTML, with figures to explore",
    "inspect": "show layer by layer what a run has learnt, and write its posterior for ArviZ",
    "animate": "show a run's training as a GIF, and as an MP4 where ffmpeg is found",
    "export": "write a pruned network, compacted, in another format, and measure the file",
    "experiment": "carry out an experiment of the report: its table, figures and numbers",
    "recipes": "list the built-in recipes",
}
"""Help texts by name. Each command is a module of :mod:`pyro_vd.cli` of that name, with a function ``run(arguments)``."""
