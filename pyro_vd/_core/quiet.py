"""What is not said for a while, because it would be wrong or a repetition for the reader of a larger task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident


@contextmanager
def unsaid(*loggers: logging.Logger) -> Iterator[None]:
    """Within it, nothing that this thread says by these loggers is heard; other threads are."""
    thread = get_ident()

    def passes(_: logging.LogRecord) -> bool:
        return get_ident() != thread

    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)
