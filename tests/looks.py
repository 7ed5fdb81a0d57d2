"""The exact chance that a rule is ever wrong, looked at after every row: by dynamic programming."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def chance_to_be_caught(p: float, misses: Callable[[int, int], bool], looks: int) -> float:
    """The chance that k of n is ever a miss, for n up to `looks` and k a count of events of chance p.

    A miss ends a stream. `misses` is asked only where the chance to come there is above 1e-12.
    """
    alive, lost = np.array([1.0]), 0.0
    for n in range(1, looks + 1):
        alive = np.append(alive * (1 - p), 0.0) + np.append(0.0, alive * p)
        bad = np.array([mass > 1e-12 and misses(k, n) for k, mass in enumerate(alive)])
        lost += float(alive[bad].sum())
        alive[bad] = 0.0
    return lost
