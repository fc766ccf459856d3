"""Pauses between tries: they grow, and are random, so that several waiting processes do not all try at the same moment.

Marc Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015 ("full jitter", with a floor).
"""

import random


class Backoff:
    """The pauses of one series of tries, in seconds."""

    def __init__(self, first: float = 0.05, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self.tries = 0

    def pause(self) -> float:
        """Return how many seconds to wait before the next try."""
        ceiling = min(self._first * (1 << min(self.tries, 16)), self._longest)
        self.tries += 1
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """Note a success: the next pause is a short one again."""
        self.tries = 0
