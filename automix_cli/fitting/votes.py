"""Votes on right and on wrong answers: BetaBinomials with a prior on both parameters."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from automix_cli.pomdp.arrays import Floats

_LOG_SHAPE_SD = 1.5  # of the prior on log a and log b; a smaller one is a stronger prior
_LOG_SHAPE_MIN, _LOG_SHAPE_MAX = math.log(0.02), math.log(200.0)
_IDENTITY = np.eye(2)


def fit_shapes(histogram: Floats, within: float = 1e-9) -> Floats:
    """BetaBinomial (a, b) by MAP, many problems at once.

    The likelihood of c of t votes is Σ_{i<c} log(a+i) + Σ_{i<t-c} log(b+i) - Σ_{i<t} log(a+b+i),
    so all data enter through how many rows exceed each i, and the cost does not grow with rows.
    The prior is log a, log b ~ N(0, 1.5²); both are clipped to [0.02, 200].

    Args:
        histogram: weights of (c, t), shape (problems, T + 1, T + 1).
        within: how steep the posterior may still be where the search ends, for each row.

    Returns:
        shape (problems, 2).

    Example:
        >>> one_yes_in_four = np.zeros((1, 5, 5)); one_yes_in_four[0, 1, 4] = 1000
        >>> a, b = fit_shapes(one_yes_in_four)[0]
        >>> round(float(a / (a + b)), 2)
        0.25
    """
    exceed = _exceedances(histogram)
    log_shapes = _grid_start(*exceed)
    damping = np.full(len(histogram), 1e-3)
    value, slope, curve = _posterior_of(log_shapes, *exceed)
    least_slope = within * (1 + histogram.sum(axis=(1, 2)))
    is_done = np.zeros(len(histogram), dtype=bool)
    for _ in range(60):
        slope, curve = _stop_at_bounds(log_shapes, slope, curve)
        if (is_done | (np.abs(slope).max(axis=1, initial=0.0) < least_slope)).all():
            break
        candidate = log_shapes + _step(slope, curve, damping)
        candidate = np.minimum(np.maximum(candidate, _LOG_SHAPE_MIN), _LOG_SHAPE_MAX)
        # Where rounding hides whether a step leads uphill, steps shrink until they lead nowhere.
        is_done |= (candidate == log_shapes).all(axis=1)
        new_value, new_slope, new_curve = _posterior_of(candidate, *exceed)
        better = new_value >= value
        damping = np.where(better, damping * 0.2, damping * 10)
        log_shapes = np.where(better[:, None], candidate, log_shapes)
        value = np.where(better, new_value, value)
        slope = np.where(better[:, None], new_slope, slope)
        curve = np.where(better[:, None, None], new_curve, curve)
    return np.exp(log_shapes)


def _exceedances(histogram: Floats) -> tuple[Floats, Floats, Floats]:
    """How many rows have c > i, t - c > i and t > i, for i < T; each (problems, T)."""
    yes, no, all_ = (np.einsum("pct,ict->pi", histogram, own) for own in _exceeds(histogram.shape[-1] - 1))
    return yes, no, all_


@lru_cache(maxsize=8)
def _exceeds(most: int) -> tuple[Floats, Floats, Floats]:
    """Whether c > i, t - c > i and t > i, for i < most; each (most, most + 1, most + 1)."""
    c, t = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    steps = np.arange(most)[:, None, None]
    return (c > steps).astype(float), (t - c > steps).astype(float), (t > steps).astype(float)


def _grid_start(yes: Floats, no: Floats, all_: Floats) -> Floats:
    """The best point of a coarse grid, so that Newton starts on the right hill."""
    grid, of_one, of_sum, prior = _log_grid(yes.shape[1])
    value = (yes @ of_one)[:, :, None] + (no @ of_one)[:, None, :]
    value = value - np.einsum("pi,abi->pab", all_, of_sum) - prior
    best = value.reshape(len(value), -1).argmax(axis=1)
    return np.stack([grid[best // len(grid)], grid[best % len(grid)]], axis=1)


@lru_cache(maxsize=8)
def _log_grid(most: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The points of a coarse grid for either shape, log(a + i) and log(a + b + i) for i < most, the prior."""
    grid = np.linspace(_LOG_SHAPE_MIN, _LOG_SHAPE_MAX, 14)
    a, i = np.exp(grid)[:, None], np.arange(most)
    prior = (grid[:, None] ** 2 + grid[None, :] ** 2) / (2 * _LOG_SHAPE_SD**2)
    return grid, np.log(a + i).T, np.log((a + a.T)[:, :, None] + i), prior


def _posterior_of(log_shapes: Floats, yes: Floats, no: Floats, all_: Floats) -> tuple[Floats, Floats, Floats]:
    """Log posterior, its gradient and its Hessian in (log a, log b); shapes (p,), (p, 2), (p, 2, 2)."""
    shapes = np.exp(log_shapes)
    sums = np.stack([shapes[:, 0], shapes[:, 1], shapes[:, 0] + shapes[:, 1]])
    terms = sums[:, :, None] + np.arange(yes.shape[1])  # a + i, b + i, a + b + i
    counts, logs = np.stack([yes, no, all_]), np.log(terms)
    value = (yes * logs[0] + no * logs[1] - all_ * logs[2]).sum(axis=1)
    value = value - (log_shapes**2).sum(axis=1) / (2 * _LOG_SHAPE_SD**2)
    ratios, squares = (counts / terms).sum(axis=2).T, (counts / terms**2).sum(axis=2).T
    first, second = ratios[:, :2] - ratios[:, 2:], squares[:, 2:] - squares[:, :2]
    curve = np.empty((len(shapes), 2, 2))
    curve[:, 0, 1] = curve[:, 1, 0] = shapes.prod(axis=1) * squares[:, 2]
    diagonal = shapes**2 * second + shapes * first - 1 / _LOG_SHAPE_SD**2
    curve[:, 0, 0], curve[:, 1, 1] = diagonal[:, 0], diagonal[:, 1]
    return value, shapes * first - log_shapes / _LOG_SHAPE_SD**2, curve


def _stop_at_bounds(log_shapes: Floats, slope: Floats, curve: Floats) -> tuple[Floats, Floats]:
    """Slope and curvature in which a parameter that would leave its bounds stays fixed."""
    at_bound = ((log_shapes <= _LOG_SHAPE_MIN) & (slope < 0)) | ((log_shapes >= _LOG_SHAPE_MAX) & (slope > 0))
    if not at_bound.any():
        return slope, curve
    curve = np.where(at_bound[:, :, None] | at_bound[:, None, :], 0.0, curve)
    return np.where(at_bound, 0.0, slope), curve - at_bound[:, :, None] * _IDENTITY


def _step(slope: Floats, curve: Floats, damping: Floats) -> Floats:
    """A damped Newton step uphill (Levenberg–Marquardt); short where the hill is not concave."""
    steep = np.abs(curve).sum(axis=2).max(axis=1)
    top = np.linalg.eigvalsh(curve)[:, -1]
    damp = damping * steep + np.maximum(top + 1e-3 * steep, 0.0)
    matrix = damp[:, None, None] * _IDENTITY - curve
    return np.linalg.solve(matrix, slope[:, :, None])[:, :, 0]


def votes_log_likelihood(shapes: Floats, most: int) -> Floats:
    """Log ℓ(c, t) per problem: shape (problems, most + 1, most + 1), 0 where c > t."""
    i = np.arange(most)
    logs = [np.log(x[:, None] + i) for x in (shapes[:, 0], shapes[:, 1], shapes.sum(axis=1))]
    yes, no, all_ = (np.concatenate([np.zeros((len(shapes), 1)), np.cumsum(x, axis=1)], axis=1) for x in logs)
    c, t = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    value = yes[:, c] + no[:, np.maximum(t - c, 0)] - all_[:, t]
    return np.asarray(np.where(c <= t, value, 0.0))
