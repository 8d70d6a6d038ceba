"""The two errors a user can meet: something they gave is wrong, or training went non-finite."""


class InputError(ValueError):
    """Bad input. The message quotes the offending value and says what is allowed; the command line exits with 2."""


class NonFiniteError(ArithmeticError):
    """Training met non-finite losses or gradients again and again. The message names the sites and what to try."""
