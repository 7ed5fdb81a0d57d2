"""The classifiers of query-side routers, against scikit-learn and by hand."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from topics import COSTS, HELD_OUT, SCORES, TEXTS

from automix_cli.fitting.features import VectorFeatures
from automix_cli.fitting.fit_classifiers import (
    TrainingRows,
    calibrate_logits,
    fit_logistic,
    held_out_logits,
    sparse_matrix,
)
from automix_cli.fitting.fit_query_router import fit_router
from automix_cli.fitting.query_router import place_rows
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.pomdp.tilt import sigmoid

needs_sklearn = pytest.mark.skipif(not find_spec("sklearn"), reason="needs scikit-learn: the extra `routers`")


# ---------------------------------------------------------------- linear models


def logistic_data(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5))
    truth = rng.normal(size=(5, 3))
    return x, rng.random((n, 3)) < sigmoid(x @ truth + [0.5, -1.0, 0.0])


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_separate_classifiers_are_those_of_scikit_learn(strength: float) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    x, right = logistic_data()
    weights, intercept = fit_logistic(x, right, strength)
    for j in range(3):
        reference = linear.LogisticRegression(C=strength, tol=1e-8).fit(x, right[:, j])
        own = sigmoid(x @ weights + intercept)[:, j]
        assert own == pytest.approx(reference.predict_proba(x)[:, 1], abs=1e-3)


def test_the_multilabel_model_is_one_regression_on_common_and_own_weights() -> None:
    """With columns for w (√share as wide as those for v_j) its prior is that of one plain ridge."""
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    x, right = logistic_data()
    share, strength, tiers = 0.7, 0.5, 3
    weights, intercept = fit_logistic(x, right, strength, share)
    free = 1e3  # so wide that the intercepts' penalty vanishes
    blocks = [
        np.hstack(
            [np.sqrt(share) * x, np.kron(np.eye(tiers)[j], x), np.tile(free * np.eye(tiers)[j], (len(x), 1))]
        )
        for j in range(tiers)
    ]
    stacked = linear.LogisticRegression(
        C=strength / (1 + share), fit_intercept=False, tol=1e-9, max_iter=10_000
    )
    stacked.fit(np.vstack(blocks), right.T.ravel())
    for j in range(tiers):
        reference = stacked.predict_proba(blocks[j])[:, 1]
        assert sigmoid(x @ weights + intercept)[:, j] == pytest.approx(reference, abs=2e-3)


@needs_sklearn
def test_sharing_draws_the_tiers_weights_together() -> None:
    x, right = logistic_data()

    def apart(share: float) -> float:
        return float(fit_logistic(x, right, 1.0, share)[0].std(axis=1).mean())

    spreads = [apart(share) for share in (0.0, 1.0, 30.0, 3_000.0)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.05 * spreads[0]


@pytest.mark.parametrize("kind", ["separate", "multilabel"])
def test_inference_is_scikit_learns_own_on_the_same_weights(kind: QueryRouterKind) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    router = fit_router(kind, TEXTS, SCORES, COSTS).router
    rows = router.features.of(HELD_OUT)
    for j in range(3):
        reference = linear.LogisticRegression()
        reference.classes_ = np.array([0, 1])
        reference.coef_ = router.model.weights.matrix[None, :, j]
        reference.intercept_ = router.model.intercept[[j]]
        expected = reference.predict_proba(sparse_matrix(rows))[:, 1]
        assert router.predict(HELD_OUT)[:, j] == pytest.approx(expected, abs=1e-12)


@needs_sklearn
def test_a_classifier_worse_than_none_is_not_believed_backwards() -> None:
    logits = np.random.default_rng(0).normal(size=(300, 1))
    right = logits < np.random.default_rng(1).normal(size=(300, 1))
    slope, offset = calibrate_logits(logits, right)
    assert slope[0] == 0
    assert sigmoid(offset)[0] == pytest.approx(right.mean(), abs=0.01)


@needs_sklearn
def test_calibration_finds_the_slope_that_makes_logits_true() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 1))
    slope, offset = calibrate_logits(3 * truth - 1, rng.random((20_000, 1)) < sigmoid(truth))
    assert [slope[0], offset[0]] == pytest.approx([1 / 3, 1 / 3], abs=0.03)


def test_a_tier_with_few_right_or_wrong_answers_gets_its_rate() -> None:
    pytest.importorskip("scipy", reason="needs scikit-learn")
    x, right = logistic_data(40)
    right[:, 1], right[:, 2] = True, np.arange(40) < 4
    weights, intercept = fit_logistic(x, right, 1.0, 1.0)
    assert (weights[:, 0] != 0).all()
    assert (weights[:, 1:] == 0).all()
    assert sigmoid(intercept)[1:] == pytest.approx([40.5 / 41, 4.5 / 41])


@needs_sklearn
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_labels_of_a_fold_do_not_reach_its_own_logits(share: float) -> None:
    rng = np.random.default_rng(0)
    x, right, fold = rng.normal(size=(120, 6)), rng.random((120, 2)) < 0.5, np.arange(120) % 5
    features = VectorFeatures(6)
    rows = TrainingRows(features, x, 1e4, right, fold, 0)
    turned = rows._replace(right=np.where((fold == 3)[:, None], ~right, right))
    one, other = (held_out_logits(t, x, (1.0,), share)[0] for t in (rows, turned))
    assert (one[fold == 3] == other[fold == 3]).all()
    assert (one[fold != 3] != other[fold != 3]).all()


# ---------------------------------------------------------------- clusters and neighbours


@needs_sklearn
def test_a_clusters_rates_are_counted_on_its_own_training_questions() -> None:
    found = fit_router("kmeans", TEXTS, SCORES, COSTS)
    model = found.router.model
    cluster = model.classes(found.router.features.of(TEXTS))
    assert len(model.centres) >= 3
    base = (SCORES.sum(axis=0) + 0.5) / 401
    for k, rates in enumerate(model.rates):
        own = SCORES[cluster == k]
        assert rates == pytest.approx((own.sum(axis=0) + 2 * base) / (len(own) + 2), abs=1e-4)


@needs_sklearn
def test_the_best_tier_of_a_cluster_follows_from_mean_score_and_cost() -> None:
    router = fit_router("kmeans", TEXTS, SCORES, COSTS).router
    cluster = router.model.classes(router.features.of(HELD_OUT))
    best = (router.model.rates - 0.01 * COSTS).argmax(axis=1)
    assert (router.choose(router.predict(HELD_OUT), cost_weight=0.01) == best[cluster]).all()
    assert len(set(best)) > 1


@needs_sklearn
def test_noise_is_not_cut_into_clusters() -> None:
    scores = (np.random.default_rng(0).random((400, 2)) < 0.5).astype(float)
    assert len(fit_router("kmeans", TEXTS, scores, [1, 2]).router.model.centres) <= 2


@needs_sklearn
def test_neighbours_are_those_of_highest_cosine() -> None:
    router = fit_router("knn", TEXTS, SCORES, COSTS).router
    model = router.model
    rows = place_rows(router.features.of(HELD_OUT), model.axes)
    points = model.points / np.linalg.norm(model.points.astype(float), axis=1, keepdims=True)
    similarity = rows @ points.T
    near = np.argsort(-similarity, axis=1)[:, : model.k + 1]
    closest = np.take_along_axis(similarity, near, axis=1)
    clear = closest[:, -2] - closest[:, -1] > 1e-9  # of equally near ones any may be asked
    rates = (model.right[near[:, :-1]].sum(axis=1) + 2 * model.base) / (model.k + 2)
    assert clear.mean() > 0.8
    assert router.predict(HELD_OUT)[clear] == pytest.approx(rates[clear], abs=1e-12)
