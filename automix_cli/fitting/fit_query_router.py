"""Fit query-side routers on training rows; scikit-learn is needed for it.

    fit_router(kind, texts, scores, costs) ─▶ FittedRouter(router, probs)

Only training rows are used, and labels only through folds in which equal questions stay
together: `FittedRouter.probs` of a row comes from models that were fitted without its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from automix_cli.data.folds import fold_groups
from automix_cli.data.groups import Grouping, question_keys
from automix_cli.errors import DataError, UsageError
from automix_cli.fitting.features import (
    FeatureRows,
    Sparse,
    TextFeatures,
    VectorFeatures,
    fit_text_features,
    fit_vector_features,
    round_digits,
)
from automix_cli.fitting.fit_classifiers import (
    CHARS_PER_BYTE,
    MAX_DIMENSIONS,
    HeldOutProbs,
    TrainingRows,
    fit_classifier,
)
from automix_cli.fitting.query_router import (
    EXTREME,
    REGRESSIONS,
    Linear,
    QueryRouter,
    Selection,
    mean_rewards,
)
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, QueryRouterKind
from automix_cli.pomdp.arrays import Floats, Ints

MAX_ROUTER_CHARS = 48_000  # of JSON; a profile holds 64 KiB in all
MAX_FITTING_ROWS = 20_000  # with more, the vocabulary is the limit
ROUTER_FOLDS = 5
_MAX_ENTRIES = 3_000  # of the vocabulary
_CHARS_PER_ENTRY = 4 * CHARS_PER_BYTE  # of a key and its idf
_OVERHEAD = 3_000.0  # characters of the form, the rates and whatever else is small


class FittedRouter(NamedTuple):
    """A router, and its held-out predictions for its own training rows.

    Attributes:
        router: fitted on all training rows.
        probs: n×N, P(right) of each training row from models fitted on other folds.
    """

    router: QueryRouter
    probs: Floats


def require_sklearn() -> None:
    """Check that routers can be fitted here.

    Raises:
        UsageError: without scikit-learn, with the command that installs it.
    """
    if find_spec("sklearn") is None:
        raise UsageError(
            "query-side routers are fitted with scikit-learn, which is not installed",
            hint="python -m pip install 'automix-cli[routers]'",
        )


def fit_router(
    kind: QueryRouterKind,
    texts: Sequence[str],
    scores: Floats,
    costs: ArrayLike,
    *,
    seed: int = 0,
    embeddings: ArrayLike | None = None,
    embed_model: str = "",
    pass_score: float = 0.5,
    budget: int = MAX_ROUTER_CHARS,
    max_rows: int = MAX_FITTING_ROWS,
    grouping: Grouping | None = None,
) -> FittedRouter:
    """Fit a router on training rows.

    Args:
        kind: `multilabel`, `separate`, `kmeans` or `knn`.
        texts: n questions.
        scores: n×N, what each tier scored on each, 0..1.
        costs: N, planned cost of an answer per tier, USD; any common unit does.
        seed: of folds, clusters and draws.
        embeddings: n×D, to be read instead of the texts.
        embed_model: the model that made them; kept with the router.
        pass_score: from this score on an answer is right.
        budget: about how many characters of JSON the router may take.
        max_rows: the most rows to fit on; further rows are only read.
        grouping: which rows ask the same question; None takes rows of equal texts for that.

    Raises:
        UsageError: for an unknown kind, or without scikit-learn.
        DataError: for rows that do not score every tier, or none; for a cost that is unknown.
    """
    if kind not in QUERY_ROUTER_KINDS:
        raise UsageError(f"no query-side router {kind!r}", hint=f"there are: {', '.join(QUERY_ROUTER_KINDS)}")
    require_sklearn()
    from threadpoolctl import threadpool_limits

    table, price = np.asarray(scores, dtype=float), np.asarray(costs, dtype=float)
    _check_rows(len(texts), table, price)
    questions = _Questions(texts, None if embeddings is None else np.asarray(embeddings, dtype=float))
    if grouping is None:
        grouping = Grouping.of(question_keys(texts, range(len(texts))))
    fold = assign_folds(grouping, seed, max_rows)
    fit_rows = _rows_to_fit(texts, grouping, fold)
    right = table >= pass_score
    with threadpool_limits(1):  # sums over threads depend on how many there are, and so would clusters
        features = _fit_features(kind, questions.at(fit_rows), embed_model, len(price), budget)
        rows = TrainingRows(*features, right[fit_rows], fold[fit_rows], seed)
        router, held_out = _fit_classifier(kind, rows, mean_rewards(table, right), price)
        return _complete(router, held_out.probs, fit_rows, questions)


def _rows_to_fit(texts: Sequence[str], grouping: Grouping, fold: Ints) -> Ints:
    """The rows that have a fold, in an order that the order of the file does not change."""
    _, rank = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)
    order = np.lexsort((rank, grouping.groups))
    return order[fold[order] >= 0]


def _fit_classifier(
    kind: QueryRouterKind,
    rows: TrainingRows,
    rewards: Floats,
    costs: Floats,
) -> tuple[QueryRouter, HeldOutProbs]:
    """Fit the router on its training rows; also what it says of each when held out."""
    model, probs = fit_classifier(kind, rows)
    held_out = rows.held_out(np.clip(probs, EXTREME, 1 - EXTREME))
    router = QueryRouter(
        kind=kind,
        seed=rows.seed,
        features=rows.features,
        model=model,
        rewards=rewards,
        costs=costs,
        targets=fit_regressions(held_out, costs) if isinstance(model, Linear) else {},
    )
    return router, held_out


def _check_rows(n: int, scores: Floats, costs: Floats) -> None:
    if costs.ndim != 1 or not np.isfinite(costs).all():
        raise DataError(f"a router needs a cost for each tier, got {costs.tolist()}")
    if not n or scores.shape != (n, len(costs)) or not np.isfinite(scores).all():
        raise DataError(f"a router needs rows that score each of {len(costs)} tiers, got {scores.shape}")


class _Questions(NamedTuple):
    """Training questions as texts, and as embeddings where these are to be read."""

    texts: Sequence[str]
    vectors: Floats | None

    def at(self, rows: Ints) -> _Questions:
        """Some of the questions."""
        texts = [self.texts[i] for i in rows.tolist()]
        return _Questions(texts, None if self.vectors is None else self.vectors[rows])


def assign_folds(grouping: Grouping, seed: int, max_rows: int = MAX_FITTING_ROWS) -> Ints:
    """Each row's fold, whole questions each; -1 for the rows of questions beyond `max_rows`.

    Which questions these are is drawn by the seed.
    """
    order = grouping.shuffle(seed, "router")
    is_fitted = np.zeros(len(grouping), dtype=np.bool_)
    is_fitted[order] = np.cumsum(grouping.sizes[order]) <= max_rows
    rows = is_fitted[grouping.groups]
    fold = np.full(len(rows), -1)
    fold[rows] = fold_groups(grouping.subset(rows), ROUTER_FOLDS, seed)
    return fold


class _FittedFeatures(NamedTuple):
    """Features, the training rows in them, and the characters that remain for the classifier."""

    features: TextFeatures | VectorFeatures
    rows: FeatureRows
    budget: float


def _fit_features(
    kind: QueryRouterKind, questions: _Questions, embed_model: str, tiers: int, budget: int
) -> _FittedFeatures:
    if questions.vectors is None:
        return _fit_text_features(kind, questions.texts, tiers, budget)
    return _fit_vector_features(kind, questions.vectors, embed_model, tiers, budget)


def _fit_text_features(
    kind: QueryRouterKind, texts: Sequence[str], tiers: int, budget: int
) -> _FittedFeatures:
    """Features with as large a vocabulary as the budget allows."""
    chars = budget - _OVERHEAD
    columns = tiers if kind in ("multilabel", "separate") else MAX_DIMENSIONS
    share = {"knn": 0.4, "kmeans": 0.6}.get(kind, 1.0)  # neighbours and centres take the rest
    entries = int(share * chars / (_CHARS_PER_ENTRY + CHARS_PER_BYTE * columns))
    features, rows = _text_rows(tuple(texts), max(2, min(entries, _MAX_ENTRIES)))
    chars -= _CHARS_PER_ENTRY * len(features.vocabulary)
    return _FittedFeatures(features, rows, chars)


@lru_cache(maxsize=2)
def _text_rows(texts: tuple[str, ...], limit: int) -> tuple[TextFeatures, Sparse]:
    """Features and the rows in them, kept: `multilabel` and `separate` are fitted on the same."""
    features = fit_text_features(texts, limit)
    return features, features.of(texts)


def _fit_vector_features(
    kind: QueryRouterKind, vectors: Floats, model: str, tiers: int, budget: int
) -> _FittedFeatures:
    features = fit_vector_features(vectors, model)
    chars = (budget - _OVERHEAD - CHARS_PER_BYTE * features.width) * (0.8 if kind == "kmeans" else 1.0)
    columns = tiers if kind in ("multilabel", "separate") else 2
    if chars < CHARS_PER_BYTE * features.width * columns:
        raise UsageError(
            f"a router on embeddings of {features.width:,} numbers takes more than {budget:,} characters",
            hint=f"profile: embedding: {{model: {features.model or '…'}, params: {{dimensions: 256}}}}",
        )
    return _FittedFeatures(features, features.of(vectors), chars)


def _complete(router: QueryRouter, held_out: Floats, fit_rows: Ints, questions: _Questions) -> FittedRouter:
    """The probabilities of all rows; rows that were not fitted on are only read."""
    n = len(questions.texts)
    probs = np.empty((n, len(router.costs)))
    probs[fit_rows] = held_out
    rest = np.setdiff1d(np.arange(n), fit_rows)
    if len(rest):
        others = questions.at(rest)
        probs[rest] = router.predict(others.texts, embeddings=others.vectors)
    return FittedRouter(router, probs)


def fit_regressions(held_out: HeldOutProbs, costs: Floats) -> dict[Selection, Floats]:
    """The regressions of the rules `prediction` and `sorted`; see `QueryRouter.choose`."""
    by_cost = np.argsort(costs, kind="stable")
    by_rate = np.lexsort((costs, held_out.right.mean(axis=0)))
    return {rule: _regress(held_out, o) for rule, o in zip(REGRESSIONS, (by_cost, by_rate), strict=True)}


def _regress(held_out: HeldOutProbs, order: Ints) -> Floats:
    """Intercept and coefficients of the first right tier's probability, 0.5 where none is right."""
    probs, right = held_out.probs, held_out.right
    first = order[right[:, order].argmax(axis=1)]
    value = np.where(right.any(axis=1), probs[np.arange(len(first)), first], 0.5)
    mean = probs.mean(axis=0)
    spread = probs - mean
    ridge = 1e-5 * len(first) * np.eye(len(order))  # tiers may be as good as collinear
    slope = np.linalg.solve(spread.T @ spread + ridge, spread.T @ (value - value.mean()))
    return round_digits([value.mean() - mean @ slope, *slope])
