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
    """Have the collector pass over what is there now, which lives as long as the process, and come more seldom.

    Little of what a message or a request leaves behind is in cycles, and under load thousands of them are in hand.

    And have the C library give memory back. Left to itself, glibc raises the size from which a buffer is a mapping of
    its own to that of the largest it has seen: then buffers of some hundred kilobytes lie between small objects, and
    after large messages a process keeps twice what it needs. Saying where to trim ends that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    with suppress(AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
