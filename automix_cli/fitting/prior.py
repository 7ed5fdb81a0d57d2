"""The prior over states: counts plus pseudo-counts, whose number maximises leave-one-out likelihood."""

from __future__ import annotations

import numpy as np

from automix_cli.pomdp.arrays import Floats


def independent(counts: Floats) -> Floats:
    """Product of the tiers' marginals, each (right + ½)/(n + 1), over the 2^N states.

    Args:
        counts: rows per state, shape (..., 2^N); bit i of the index is tier i.
    """
    tiers = counts.shape[-1].bit_length() - 1
    product = np.ones_like(counts)
    for i in range(tiers):
        right = (np.arange(counts.shape[-1]) >> i) & 1
        share = ((counts * right).sum(axis=-1, keepdims=True) + 0.5) / (
            counts.sum(axis=-1, keepdims=True) + 1
        )
        product = product * np.where(right, share, 1 - share)
    return product


def shrunk(counts: Floats, towards: Floats, weight: float) -> Floats:
    """(counts + weight·towards)/(n + weight), over the last axis."""
    return np.asarray((counts + weight * towards) / (counts.sum(axis=-1, keepdims=True) + weight))


def weight_grid(rows: int) -> Floats:
    """Pseudo-counts to choose from: 1 … 4n, geometric."""
    return np.geomspace(1.0, max(1.0, 4.0 * rows), 25)


def left_out(counts: Floats, weights: Floats) -> Floats:
    """For each weight and state, the prior's chance of a row of that state, fitted without that row.

    Returns:
        shape (weights, states); the marginals are without the row, too.
    """
    states = len(counts)
    others = counts - np.eye(states)  # row s: the counts without one row of state s
    product = independent(np.maximum(others, 0.0))[np.arange(states), np.arange(states)]
    own = np.maximum(counts - 1, 0.0)
    return np.asarray((own + weights[:, None] * product) / (max(counts.sum() - 1, 0.0) + weights[:, None]))


def choose_alpha(counts: Floats) -> float:
    """The pseudo-counts under which rows left out are likeliest; the most of equals."""
    weights = weight_grid(int(counts.sum()))
    return _best(weights, _log_likelihood(left_out(counts, weights), counts))


def choose_kappa(counts: Floats, alpha: float) -> float:
    """The same for classes (one row of `counts` each), drawn to the prior of all."""
    weights = weight_grid(int(counts.sum()))
    overall = left_out(counts.sum(axis=0), np.array([alpha]))[0]
    own, rows = np.maximum(counts - 1, 0.0), np.maximum(counts.sum(axis=1, keepdims=True) - 1, 0.0)
    chances = (own + weights[:, None, None] * overall) / (rows + weights[:, None, None])
    return _best(weights, _log_likelihood(chances, counts))


def _log_likelihood(chances: Floats, counts: Floats) -> Floats:
    """Σ counts·log(chances) over all but the first axis; states that no row is in do not count."""
    logs = np.log(np.where(counts > 0, chances, 1.0))
    return np.asarray((counts * logs).reshape(len(chances), -1).sum(axis=1))


def _best(weights: Floats, likelihood: Floats) -> float:
    """The weight with the highest likelihood; of equals the largest, which shrinks most."""
    return float(weights[::-1][likelihood[::-1].argmax()])
