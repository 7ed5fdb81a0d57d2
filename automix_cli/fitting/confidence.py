"""Shares of right answers over the bins of a confidence: smooth curves, fitted by penalised likelihood.

How stiff a curve is follows from the likelihood of held-out folds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Floats

MARGIN = 2.0  # log-likelihood by which held-out rows must prefer a less stiff curve
LAST_MARGIN = 3.0  # and a curve of the last tier's rightness: about twenty times likelier
_MOST_BINS = 20


class Roughness(NamedTuple):
    """How much a curve of log odds over neighbouring bins is penalised: for rising, and for bending."""

    rising: float
    bending: float


_CONSTANT, _LINE = Roughness(1e7, 0.0), Roughness(0.0, 1e7)
# Ever less stiff; a later one must be clearly likelier.
_CURVES = (_CONSTANT, _LINE, Roughness(0.0, 1e3), Roughness(0.0, 1e2), Roughness(0.0, 10.0))
_WALKS = (_CONSTANT, Roughness(300.0, 0.0), Roughness(100.0, 0.0), Roughness(30.0, 0.0))
_PARALLEL = 1e6  # penalty that keeps the curves of two groups at one distance


def smooth_shares(hits: Floats, rows: Floats) -> Floats:
    """Share of hits per bin, smoothed across neighbours: penalised log odds.

    Of the stiffnesses in `_CURVES` the stiffest but for those under which held-out folds are
    likelier by `MARGIN`. Half a hit and half a miss are spread evenly over the bins.

    Args:
        hits: per fold and bin, shape (folds, bins).
        rows: the same, hits and misses.

    Returns:
        shape (bins,); constant where the bins tell nothing.

    Example:
        >>> hits = np.array([[0.0, 5.0, 10.0]] * 5)
        >>> smooth_shares(hits, np.full((5, 3), 10.0)).round(2).tolist()
        [0.0, 0.5, 1.0]
    """
    hits, rows = hits[:, None], rows[:, None]
    curve = _likeliest(hits, rows, _CURVES, MARGIN)
    return np.asarray(fit_penalised(hits.sum(axis=0)[None], rows.sum(axis=0)[None], curve)[0, 0])


def _likeliest(hits: Floats, rows: Floats, curves: tuple[Roughness, ...], margin: float) -> Roughness:
    """The first curve, or the last one that improves the held-out log-likelihood by the margin."""
    train_hits, train_rows = hits.sum(axis=0) - hits, rows.sum(axis=0) - rows
    best, most = curves[0], -math.inf
    for curve in curves:
        shares = fit_penalised(train_hits, train_rows, curve)
        likelihood = float((hits * np.log(shares) + (rows - hits) * np.log(1 - shares)).sum())
        if likelihood > most + margin:
            best, most = curve, likelihood
    return best


def fit_penalised(hits: Floats, rows: Floats, curve: Roughness) -> Floats:
    """Shares whose log odds maximise likelihood less half the penalty, by Newton's method.

    Shapes are (problems, groups, bins). Log odds are a_group + f(bin): the groups share the curve.
    """
    problems, groups, bins = hits.shape
    # Half a hit and half a miss, spread over the bins, keep every share inside (0, 1).
    hits, rows = hits + 0.5 / bins, rows + 1.0 / bins
    # First differences of the log odds measure rising, second differences bending.
    rise, bend = np.diff(np.eye(bins), axis=0), np.diff(np.eye(bins), n=2, axis=0)
    rough = (curve.rising * rise.T @ rise + curve.bending * bend.T @ bend) / groups
    # The distance between the groups' curves may not change from bin to bin: its rise costs much.
    apart = groups * np.eye(groups) - 1
    penalty = np.kron(np.eye(groups), rough) + _PARALLEL * np.kron(apart, rise.T @ rise)
    level = np.log(hits.sum(axis=2) / (rows - hits).sum(axis=2))
    odds, hits, rows = np.repeat(level, bins, axis=1), hits.reshape(problems, -1), rows.reshape(problems, -1)
    for _ in range(30):
        shares = 1 / (1 + np.exp(-odds))
        slope = hits - rows * shares - odds @ penalty
        steepness = np.eye(groups * bins) * (rows * shares * (1 - shares))[:, None, :] + penalty
        step = np.linalg.solve(steepness, slope[:, :, None])[:, :, 0]
        odds = np.clip(
            odds + np.clip(step, -2.0, 2.0), -12.0, 12.0
        )  # short steps: far off, Newton overshoots
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(1 / (1 + np.exp(-odds))).reshape(problems, groups, bins)


def fit_bins(counts: Floats, *, alone: bool) -> Floats:
    """Distributions over bins per cell, from how often each bin is right.

    P(bin | state) is P(bin)·P(state | bin), up to its sum. The shares right per bin are smooth
    curves; where the last tier shows, so are the shares where it is right (`last_tier_shares`).

    Args:
        counts: rows by (fold, 2·s_i + s_N, bin), shape (folds, 4, bins).
        alone: tell only right from wrong answers of tier i (s_i), not whether the last tier is right (s_N).

    Returns:
        shape (2, bins) or (4, bins).
    """
    bins = counts.shape[-1]
    pairs = counts.reshape(len(counts), 2, 2, bins)
    own, rows = pairs.sum(axis=2), counts.sum(axis=(0, 1))
    right = smooth_shares(own[:, 1], own.sum(axis=1))
    weight = (rows + 1 / bins) * np.stack([1 - right, right])
    last = None if alone else last_tier_shares(pairs)
    if last is not None:
        weight = (weight[:, None] * np.stack([1 - last, last], axis=1)).reshape(4, bins)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def last_tier_shares(pairs: Floats) -> Floats | None:
    """How often the last tier is right, among wrong and among right answers of each bin.

    One curve for both, at two levels, because a curve of its own for each is learned from too few
    rows: it turns the order of the bins round, and with it decisions. The curve is drawn to a
    constant (a random walk from bin to bin), and is one unless held-out rows are likelier by
    `LAST_MARGIN`.

    Args:
        pairs: rows by (fold, s_i, s_N, bin), shape (folds, 2, 2, bins).

    Returns:
        shape (2, bins); None where the bins tell no more of the last tier than s_i does.
    """
    hits, rows = pairs[:, :, 1], pairs.sum(axis=2)
    curve = _likeliest(hits, rows, _WALKS, LAST_MARGIN)
    if curve is _CONSTANT:
        return None
    return np.asarray(fit_penalised(hits.sum(axis=0)[None], rows.sum(axis=0)[None], curve)[0])


def quantile_cuts(values: Floats, weight: float = 1.0) -> tuple[float, ...]:
    """Edges that cut values into bins of 8 questions or more (2 to 20 bins); equal values share a bin.

    Args:
        values: one per row.
        weight: of a row, in questions.
    """
    bins = min(max(int(weight * len(values) + 1e-9) // 8, 2), _MOST_BINS)
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="higher"))
    return tuple(map(float, edges[edges > values.min()]))
