"""Gives memory that was freed back to the operating system."""

import ctypes
from contextlib import suppress

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Lets the C library return what it keeps for later; nothing happens where it cannot.

    Opening a plan's trees takes three times what they need afterwards, and a worker opens few. Source:
    ``malloc_trim(3)`` of glibc, which other C libraries do not have.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
