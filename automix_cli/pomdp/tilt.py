"""The prior of one question: the odds ratios of all questions, the marginals that a router gives this one.

    b(s | x) ∝ b(s)·exp(Σ_i θ_i s_i), with θ such that P(tier i is right | x) is the target p_i

The exponential tilt is the distribution nearest to b (in Kullback-Leibler divergence) that has these
marginals. It keeps the odds ratios of b, so what tiers have in common is not counted twice. Plans are
made for targets on a grid of logits. A question lies in one simplex of the grid (Freudenthal's
triangulation: N + 1 corners), and takes the plan of the corner that is worth most to it. The worth of a
plan is linear in the prior, so this is exact, and little is lost between the corners.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from automix_cli.pomdp.arrays import Floats

Logits: TypeAlias = tuple[float, ...]
"""log p/(1 - p) of each tier's chance to be right; () where nothing is known of the question."""

MOST_TRUST = 1.2  # in a router; above 1 its logits are taken for too near to the base rates
GRID_STEP = 0.25
GRID_END = 4.0  # logits beyond it are planned for as it
_TOLERANCE = 1e-12  # of the marginals
_MOST_STEPS = 200
_LONGEST_STEP = 2.0  # of a logit


def sigmoid(logits: Floats) -> Floats:
    """1/(1 + e^-x), without overflow."""
    small = np.exp(-np.abs(logits))
    values: Floats = np.where(logits >= 0, 1.0, small) / (1 + small)
    return values


def logit(probs: Floats) -> Floats:
    """The inverse of `sigmoid`."""
    values: Floats = np.log(probs) - np.log1p(-probs)
    return values


@cache
def state_bits(tiers: int) -> Floats:
    """1 where a tier is right in a state, shape (2^N, N); kept, and not to be written to."""
    bits: Floats = ((np.arange(2**tiers)[:, None] >> np.arange(tiers)) & 1).astype(float)
    bits.flags.writeable = False
    return bits


def marginals(prior: Floats) -> Floats:
    """P(tier is right), shape (…, N), of chances of the states, shape (…, 2^N)."""
    values: Floats = prior @ state_bits(prior.shape[-1].bit_length() - 1)
    return values


def tilt(prior: Floats, targets: Floats) -> Floats:
    """Tilt a prior to given marginals.

    Args:
        prior: chances of the states, all positive; shape (2^N,), or (n, 2^N).
        targets: P(tier is right), between 0 and 1, shape (n, N).

    Returns:
        One prior per line of targets, shape (n, 2^N).

    Raises:
        ValueError: no tilt has these marginals.

    Example:
        >>> tilt(np.array([0.4, 0.1, 0.1, 0.4]), np.array([[0.5, 0.5], [0.9, 0.5]])).round(3).tolist()
        [[0.4, 0.1, 0.1, 0.4], [0.093, 0.407, 0.007, 0.493]]
    """
    bits = state_bits(targets.shape[1])
    both = (bits[:, :, None] * bits[:, None, :]).reshape(len(bits), -1)
    theta = _start(prior, targets)
    with np.errstate(divide="ignore"):
        logs = np.log(prior)
    for _ in range(_MOST_STEPS):
        weight = _normalise(logs + theta @ bits.T)
        mean = weight @ bits
        gap = targets - mean
        if np.abs(gap).max(initial=0.0) < _TOLERANCE:
            return weight
        spread = (weight @ both).reshape(*mean.shape, -1) - mean[:, :, None] * mean[:, None, :]
        step = _solve(spread, gap)
        # Far from the targets the loss is nearly straight, and Newton's step would go anywhere.
        theta = theta + step * (
            _LONGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), _LONGEST_STEP)
        )
    raise ValueError(
        f"no prior with the odds ratios of {prior.tolist()} has the marginals {targets.tolist()}"
    )


def _start(prior: Floats, targets: Floats) -> Floats:
    """The tilt to begin with: that of independent tiers; of two tiers, the exact one but for rounding.

    Two marginals p, q and the odds ratio r of the prior give the chance x that both are right:
    (r - 1)·x² - (1 + (p + q)(r - 1))·x + r·p·q = 0.
    """
    theta = logit(targets) - logit(marginals(prior))
    if targets.shape[1] != 2:
        return np.asarray(theta)
    (p, q), (none, first, second, both) = targets.T, prior.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = none * both / (first * second)
        linear = 1 + (p + q) * (ratio - 1)
        root = np.sqrt(linear**2 - 4 * ratio * (ratio - 1) * p * q)
        x = np.where(linear > 0, 2 * ratio * p * q / (linear + root), (root - linear) / (2 * (1 - ratio)))
        rest = 1 - p - q + x
        exact = np.log(np.stack([(p - x) / rest, (q - x) / rest], axis=1))
        exact -= np.log(np.stack([first / none, second / none], axis=-1))
    return np.asarray(np.where(np.isfinite(exact), exact, theta))


def _solve(matrices: Floats, values: Floats) -> Floats:
    """Solve n small systems; two tiers by Cramer's rule, which is many times quicker than LAPACK for each."""
    if values.shape[1] != 2:
        return np.asarray(np.linalg.solve(matrices, values[:, :, None])[:, :, 0])
    (a, b), (c, d) = matrices.transpose(1, 2, 0)
    x, y = values.T
    steps: Floats = np.stack([d * x - b * y, a * y - c * x], axis=1) / (a * d - b * c)[:, None]
    return steps


def _normalise(logs: Floats) -> Floats:
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


@lru_cache(maxsize=4096)
def tilted_prior(prior: tuple[float, ...], logits: Logits) -> tuple[float, ...]:
    """Tilt one prior to the marginals of given logits; the prior itself without any."""
    if not logits:
        return prior
    return tuple(tilt(np.array(prior), sigmoid(np.array([logits])))[0].tolist())


def shrink_logits(prior: Floats, logits: Floats, trust: float) -> Floats:
    """Draw a router's logits towards the marginals of priors: logit m + trust·(logits - logit m).

    Example:
        >>> shrink_logits(np.array([0.5, 0.5]), np.array([[2.0]]), 0.75).tolist()
        [[1.5]]
    """
    base = logit(marginals(prior))
    return np.asarray(base + trust * (logits - base))


class Corners(NamedTuple):
    """The corners of the simplex in which each of n questions lies, shape (n, N + 1, N).

    `shares` are the weights with which a question lies between them, shape (n, N + 1): they sum to
    one, and a corner of share 0 is not needed.
    """

    logits: Floats
    shares: Floats


def grid_corners(logits: Floats) -> Corners:
    """Return the corners of the grid of plans around each line of logits, shape (n, N).

    Example:
        >>> corners = grid_corners(np.array([[0.1, -0.2]]))
        >>> corners.logits.tolist(), corners.shares.round(2).tolist()
        ([[[0.0, -0.25], [0.25, -0.25], [0.25, 0.0]]], [[0.6, 0.2, 0.2]])
    """
    places = np.clip(logits, -GRID_END, GRID_END) / GRID_STEP
    low = np.floor(places)
    beyond = places - low
    order = np.argsort(-beyond, axis=1, kind="stable")
    n, tiers = places.shape
    steps = np.eye(tiers)[order]  # one more tier goes up at each corner, those farthest beyond first
    ups = np.concatenate([np.zeros((n, 1, tiers)), np.cumsum(steps, axis=1)], axis=1)
    bounds = np.concatenate(
        [np.ones((n, 1)), np.take_along_axis(beyond, order, axis=1), np.zeros((n, 1))], axis=1
    )
    return Corners(GRID_STEP * (low[:, None] + ups), bounds[:, :-1] - bounds[:, 1:])
