"""Fit the classifiers of query-side routers: linear models, clusters and neighbours.

Each is fitted on all training rows, and once more without each fold, so that the held-out
probabilities of a row come from models that were fitted without its label.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.fitting.features import (
    FeatureRows,
    Quantised,
    Sparse,
    TextFeatures,
    VectorFeatures,
    round_digits,
)
from automix_cli.fitting.query_router import (
    GROUP_PSEUDO_ROWS,
    Classifier,
    Clusters,
    Linear,
    Neighbours,
    most_similar,
    nearest,
    place_rows,
    row_chunks,
)
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.tilt import sigmoid

MAX_DIMENSIONS = 16  # of the space for clusters and neighbours
LEAST_LABELS = 5  # right and wrong answers of a tier, for a classifier of its own
CHARS_PER_BYTE = 4 / 3  # of base64
_STRENGTHS = (0.1, 0.3, 1.0)  # prior variances of a weight, of which folds choose
_VECTOR_STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # of an embedding's, whose single numbers are small
_TUNING_ROWS = 2_500  # on which they choose
_CLUSTERS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_NEIGHBOURS = (8, 16, 32, 64, 128)


class HeldOutProbs(NamedTuple):
    """Labels of training rows, with P(right) by models that were fitted on other folds."""

    probs: Floats
    right: Bools
    fold: Ints
    seed: int


class TrainingRows(NamedTuple):
    """Training rows as a classifier takes them; it may take `budget` characters of JSON."""

    features: TextFeatures | VectorFeatures
    rows: FeatureRows
    budget: float
    right: Bools
    fold: Ints
    seed: int

    def held_out(self, probs: Floats) -> HeldOutProbs:
        """The labels with held-out probabilities."""
        return HeldOutProbs(probs, self.right, self.fold, self.seed)


def _others(fold: Ints) -> Iterable[tuple[Ints, Ints]]:
    """For each fold its rows, and the rows of all other folds."""
    return ((np.flatnonzero(fold == f), np.flatnonzero(fold != f)) for f in np.unique(fold))


def _by_fold(data: TrainingRows, predict: Callable[[Ints, Ints], Floats]) -> Floats:
    """The predictions `predict(other rows, rows)` for the rows of each fold, n×N."""
    out = np.empty(data.right.shape)
    for own, others in _others(data.fold):
        out[own] = predict(others, own)
    return out


def _brier(probs: Floats, right: Bools) -> float:
    return float(((probs - right) ** 2).mean())


def _log_loss(probs: Floats, right: Bools) -> float:
    return float(-np.log(np.where(right, probs, 1 - probs)).mean())


def _rates(right: Bools, groups: Ints, k: int) -> Floats:
    """Share of right answers in each of k groups, K×N, with two pseudo-rows of the overall share."""
    base = (right.sum(axis=0) + 0.5) / (len(right) + 1)
    counts = np.bincount(groups, minlength=k)[:, None]
    hits = np.stack([np.bincount(groups, column, minlength=k) for column in right.T], axis=1)
    shares: Floats = (hits + GROUP_PSEUDO_ROWS * base) / (counts + GROUP_PSEUDO_ROWS)
    return shares


def fit_classifier(kind: QueryRouterKind, data: TrainingRows) -> tuple[Classifier, Floats]:
    """The model fitted to all rows, and the probabilities of models fitted to other folds."""
    if kind == "kmeans":
        return _fit_clusters(data)
    if kind == "knn":
        return _fit_neighbours(data)
    return _fit_linear(data, share=1.0 if kind == "multilabel" else 0.0)


# ---------------------------------------------------------------- linear models


def _fit_linear(data: TrainingRows, share: float) -> tuple[Linear, Floats]:
    """Logistic regressions, their strength chosen and their logits calibrated on held-out folds."""
    x = sparse_matrix(data.rows)
    strength, logits = _tune(data, x, share)
    slope, offset = calibrate_logits(logits, data.right)
    weights, intercept = fit_logistic(x, data.right, strength, share)
    model = Linear(Quantised.of(weights * slope), round_digits(intercept * slope + offset))
    return model, sigmoid(logits * slope + offset)


def sparse_matrix(rows: FeatureRows) -> Any:
    """Rows as SciPy and scikit-learn take them."""
    if not isinstance(rows, Sparse):
        return rows
    from scipy.sparse import csr_matrix

    return csr_matrix((rows.value, (rows.row, rows.column)), shape=(rows.n, rows.width))


def _tune(data: TrainingRows, x: Any, share: float) -> tuple[float, Floats]:
    """The strength of least held-out loss, and its held-out logits."""
    few = len(data.right) <= _TUNING_ROWS
    order = np.random.default_rng(data.seed).permutation(len(data.right))
    sample = np.arange(len(data.right)) if few else np.sort(order[:_TUNING_ROWS])
    part = data._replace(right=data.right[sample], fold=data.fold[sample])
    strengths = _STRENGTHS if isinstance(data.features, TextFeatures) else _VECTOR_STRENGTHS
    logits = dict(zip(strengths, held_out_logits(part, x[sample], strengths, share), strict=True))

    def loss(strength: float) -> float:
        slope, offset = calibrate_logits(logits[strength], part.right)
        return _log_loss(sigmoid(logits[strength] * slope + offset), part.right)

    best = min(strengths, key=loss)
    return best, logits[best] if few else held_out_logits(data, x, (best,), share)[0]


def held_out_logits(data: TrainingRows, x: Any, strengths: Sequence[float], share: float) -> Floats:
    """Logits of each fold's rows by logistic regressions on the other folds, C×n×N.

    Each fit but the first begins where that of the strength before ended, which is quicker.
    """
    out = np.empty((len(strengths), *data.right.shape))
    for own, others in _others(data.fold):
        train, test, weights = x[others], x[own], None
        for k, strength in enumerate(strengths):
            weights, intercept = fit_logistic(train, data.right[others], strength, share, weights)
            out[k, own] = np.clip(test @ weights + intercept, -15, 15)
    return out


def fit_logistic(
    x: Any, right: Bools, strength: float, share: float = 0.0, near: Floats | None = None
) -> tuple[Floats, Floats]:
    """Fit a logistic regression for each tier, their weights tied by `share`.

    Weights are w_j = w + v_j with a normal prior on the common w and on each v_j, of which w
    has `share` times the variance of v_j; both together have the variance `strength`. With
    w integrated into the penalty that is (Σ|w_j|² - k·|Σ w_j|²)·(1 + share)/(2·strength), k =
    share/(1 + N·share). `share` 0 is scikit-learn's LogisticRegression(C=strength) for each tier.
    Intercepts are free. A tier with fewer than 5 right or wrong answers gets its rate.

    Args:
        x: n×width, sparse or dense.
        right: n×N.
        strength: prior variance of a weight.
        share: how far tiers have weights in common.
        near: weights to begin with, those of a fit that is not far off; zeros by default.

    Returns:
        weights, width×N, and intercepts, N.
    """
    from scipy.optimize import minimize

    hits = right.sum(axis=0)
    rate = (hits + 0.5) / (len(right) + 1)
    weights, intercept = np.zeros((x.shape[1], right.shape[1])), np.log(rate / (1 - rate))
    usable = np.flatnonzero(np.minimum(hits, len(right) - hits) >= LEAST_LABELS)
    if not len(usable):
        return weights, intercept
    sign = np.where(right[:, usable].T, 1.0, -1.0)
    ridge, tie = (1 + share) / strength, share / (1 + len(usable) * share)
    x_transpose, shape = x.T, (len(usable), x.shape[1])

    def loss(flat: Floats) -> tuple[float, Floats]:
        w, b = flat[: -len(usable)].reshape(shape), flat[-len(usable) :]
        margin = sign * (_products(x, w) + b[:, None])
        pull = ridge * (w - tie * w.sum(axis=0))
        small = np.exp(-np.abs(margin))
        slope = -sign * np.where(margin >= 0, small, 1.0) / (1 + small)
        gradient = np.concatenate([(_products(x_transpose, slope) + pull).ravel(), slope.sum(axis=1)])
        value = (np.log1p(small) - np.minimum(margin, 0)).sum() + 0.5 * np.vdot(w, pull)
        return value / len(right), gradient / len(right)

    begin = weights if near is None else near
    start = np.concatenate([begin[:, usable].T.ravel(), intercept[usable]])
    options = {"maxiter": 300, "gtol": 3e-5, "ftol": 1e-9}
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    weights[:, usable] = best[: -len(usable)].reshape(shape).T
    intercept[usable] = best[-len(usable) :]
    return weights, intercept


def _products(x: Any, vectors: Floats) -> Floats:
    """The product of a matrix with each of a few vectors, a line each: quicker in SciPy than all at once."""
    if isinstance(x, np.ndarray):
        return np.asarray(vectors @ x.T)
    return np.stack([x @ vector for vector in vectors])


def calibrate_logits(logits: Floats, right: Bools) -> tuple[Floats, Floats]:
    """Fit the slope and offset per tier that calibrate held-out logits: Platt scaling, 2 × N.

    Targets are smoothed as Platt did, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), and no slope is below 0:
    so a classifier that is worse than none is not used the other way round.
    Source: J. Platt, "Probabilistic outputs for support vector machines" (1999).
    """
    from scipy.optimize import minimize

    hits = right.sum(axis=0)
    misses = len(right) - hits
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))

    def slope_and_offset(z: Floats, t: Floats) -> Floats:
        def loss(ab: Floats) -> tuple[float, Floats]:
            wide = ab[0] * z + ab[1]
            gap = sigmoid(wide) - t
            return float((np.logaddexp(0, wide) - t * wide).mean()), np.array([(gap * z).mean(), gap.mean()])

        best: Floats = minimize(loss, [1.0, 0.0], jac=True, bounds=[(0, None), (None, None)]).x
        return best

    slope, offset = np.stack(
        [slope_and_offset(z, t) for z, t in zip(logits.T, target.T, strict=True)], axis=1
    )
    return slope, offset


# ---------------------------------------------------------------- clusters and neighbours


def _axes(data: TrainingRows, budget: float) -> Quantised:
    """Axes of the space of few dimensions: leading right singular vectors of the rows."""
    from sklearn.utils.extmath import randomized_svd

    width = data.rows.width if isinstance(data.rows, Sparse) else data.rows.shape[1]
    room = int(budget / (CHARS_PER_BYTE * max(width, 1)))
    size = max(1, min(MAX_DIMENSIONS, len(data.right), width, room))
    _, _, axes = randomized_svd(sparse_matrix(data.rows), n_components=size, n_iter=5, random_state=data.seed)
    return Quantised.of(axes.T)


def _centres(points: Floats, k: int, seed: int, tries: int) -> Floats:
    """K-means; the best of several starts."""
    if k == 1:
        return round_digits(points.mean(axis=0, keepdims=True), 4)
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different points than centres: some centres are equal
        clusters = KMeans(k, n_init=tries, max_iter=100, random_state=seed).fit(points)
    return round_digits(clusters.cluster_centers_, 4)


def _held_out_rates(data: TrainingRows, points: Floats, k: int) -> Floats:
    """Rates of the nearest of k clusters, each fold's clusters and rates from the others."""

    def predict(others: Ints, own: Ints) -> Floats:
        if len(others) < k:
            return np.full((len(own), data.right.shape[1]), 0.5)
        centres = _centres(points[others], k, data.seed, tries=1)
        rates = _rates(data.right[others], nearest(points[others], centres), k)
        own_rates: Floats = rates[nearest(points[own], centres)]
        return own_rates

    return _by_fold(data, predict)


def _fit_clusters(data: TrainingRows) -> tuple[Clusters, Floats]:
    """K-means in the space, with as many clusters as predict held-out rows best (Brier score)."""
    axes = _axes(data, data.budget)
    points = place_rows(data.rows, axes)
    sizes = [1, *(k for k in _CLUSTERS if 50 * k <= len(points))]
    held_out = {k: _held_out_rates(data, points, k) for k in sizes}
    best = min(sizes, key=lambda k: _brier(held_out[k], data.right))
    centres = _centres(points, best, data.seed, tries=4)
    rates = round_digits(_rates(data.right, nearest(points, centres), best), 4)
    return Clusters(axes, centres, rates), held_out[best]


def _fit_neighbours(data: TrainingRows) -> tuple[Neighbours, Floats]:
    """Keep as many rows as there is room for; the k that predicts held-out rows best (Brier score)."""
    axes = _axes(data, data.budget / 2)
    points = place_rows(data.rows, axes)
    bytes_each = points.shape[1] + (data.right.shape[1] + 7) // 8
    room = int((data.budget - CHARS_PER_BYTE * axes.steps.size) / (CHARS_PER_BYTE * bytes_each))
    places = np.sort(np.random.default_rng(data.seed).permutation(len(points))[: max(room, 1)])
    steps = np.rint(127 * points[places]).astype(np.int8)
    base = round_digits((data.right.sum(axis=0) + 0.5) / (len(points) + 1))
    sizes = [k for k in _NEIGHBOURS if 4 * k <= len(places)] or [len(places)]
    held_out = _held_out_neighbours(data, points, steps, places, base, sizes)
    best = min(sizes, key=lambda k: _brier(held_out[k], data.right))
    return Neighbours(axes, steps, data.right[places], base, best), held_out[best]


def _held_out_neighbours(
    data: TrainingRows,
    points: Floats,
    steps: NDArray[np.int8],
    places: Ints,
    base: Floats,
    sizes: Sequence[int],
) -> dict[int, Floats]:
    """For each k the rates of the k most similar rows of other folds, for every row."""
    rates: dict[int, list[Floats]] = {k: [] for k in sizes}
    for start, part in zip(range(0, len(points), 1_024), row_chunks(points), strict=True):
        is_own_fold = data.fold[start : start + len(part), None] == data.fold[places]
        near = most_similar(part, steps, max(sizes), is_own_fold)
        visible = ~np.take_along_axis(is_own_fold, near, axis=1)
        hits = (data.right[places][near] & visible[:, :, None]).cumsum(axis=1)
        counts = visible.cumsum(axis=1)
        for k in sizes:
            total = counts[:, k - 1, None] + GROUP_PSEUDO_ROWS
            rates[k].append((hits[:, k - 1] + GROUP_PSEUDO_ROWS * base) / total)
    return {k: np.concatenate(parts) for k, parts in rates.items()}
