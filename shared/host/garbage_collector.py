"""Python's garbage collector, in processes that serve."""

import gc

_YOUNG = 10_000
_MIDDLE = 20
_OLD = 50
"""How many new objects, and collections of the younger generation, lead to a collection."""


def tune_gc() -> None:
    """Exclude the objects that exist now, which live as long as the process, and collect less often.

    Messages and requests leave few cycles behind, and under load thousands of them are in memory at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
