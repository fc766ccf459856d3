"""Python's garbage collector, in processes that serve."""

import gc

_YOUNG = 10_000
_MIDDLE = 20
_OLD = 50
"""How many new objects, and collections of the younger generation, lead to a collection."""


def tune_gc() -> None:
    """Have it pass over what is there now, which lives as long as the process, and come more seldom.

    Little of what a message or a request leaves behind is in cycles, and under load thousands of them are in hand.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
