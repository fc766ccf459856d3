"""Memory in processes that serve: Python's garbage collector, and the C library beneath it."""

import ctypes
import gc
from contextlib import suppress

_YOUNG = 10_000
_MIDDLE = 20
_OLD = 50
"""How many new objects, and collections of the younger generation, lead to a collection."""

_M_TRIM_THRESHOLD = -1
_TRIM_THRESHOLD = 256 << 10
"""Bytes that are free at the heap's end and are given back."""


def tune_gc() -> None:
    """Exclude the objects that exist now, which live as long as the process, and collect less often.

    Messages and requests leave few cycles behind, and under load thousands of them are in memory at once.

    The C library is told when to give memory back. By default, glibc raises the size from which a buffer is a mapping
    of its own to that of the largest it has seen. Then buffers of some hundred kilobytes lie between small objects, and
    after large messages a process keeps twice what it needs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    with suppress(AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
