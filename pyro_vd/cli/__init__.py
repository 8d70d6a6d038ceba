"""The commands of ``pyro-vd``, one a file: ``HELP`` says what it does, ``run(arguments)`` does it."""
