"""Query-side routers: what they may look at, what they choose, and how they are kept."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from automix_cli.data.oracle import oracle
from automix_cli.errors import DataError, UsageError
from automix_cli.fitting import query_router as routers
from automix_cli.fitting.features import Quantised, VectorFeatures
from automix_cli.fitting.query_router import (
    QUERY_ROUTER_KINDS,
    SELECTIONS,
    FittedRouter,
    Linear,
    QueryRouter,
    QueryRouterKind,
    fit_logistic,
    fit_router,
    sigmoid,
)

needs_sklearn = pytest.mark.skipif(
    not routers.find_spec("sklearn"), reason="needs scikit-learn: the extra `routers`"
)

COSTS = np.array([1.0, 4.0, 20.0])
TOPICS = {  # words, and each tier's chance to be right
    "poem": ("rhyme verse sonnet stanza metre ode", (0.9, 0.9, 0.9)),
    "sums": ("add multiply divide total remainder number", (0.1, 0.5, 0.9)),
    "code": ("function loop return variable compile stack", (0.1, 0.9, 0.6)),
}


def questions(n: int, seed: int = 0, graded: bool = False) -> tuple[list[str], np.ndarray]:
    """Questions of three topics that say which they are, and what three tiers scored on them."""
    rng = np.random.default_rng(seed)
    topics = rng.choice(list(TOPICS), n)
    texts = [" ".join(rng.choice(TOPICS[t][0].split(), 6)) + f" case {i}" for i, t in enumerate(topics)]
    scores = (rng.random((n, 3)) < [TOPICS[t][1] for t in topics]).astype(float)
    return texts, scores * 0.6 + 0.2 if graded else scores


TEXTS, SCORES = questions(400)
HELD_OUT, HELD_OUT_SCORES = questions(150, seed=1)


@pytest.fixture(scope="module", params=QUERY_ROUTER_KINDS)
def fitted(request: pytest.FixtureRequest) -> FittedRouter:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the extra `routers`")
    return fit_router(request.param, TEXTS, SCORES, COSTS)


def by_hand(
    targets: dict[str, list[float]] | None = None, rewards: object = ((0, 1),) * 3, seed: int = 0
) -> QueryRouter:
    """A router whose choices are looked at, not its eyes."""
    return QueryRouter(
        kind="separate",
        seed=seed,
        features=VectorFeatures(1),
        model=Linear(Quantised.of(np.zeros((1, 3))), np.zeros(3)),
        rewards=np.array(rewards, dtype=float),
        costs=COSTS,
        targets={
            k: np.array(v)
            for k, v in (targets or {"prediction": [0, 0, 0, 0], "sorted": [0, 0, 0, 0]}).items()
        },
        centres=np.zeros((1, 3)),
    )


def log_loss(probs: np.ndarray, right: np.ndarray) -> float:
    return float(-np.log(np.where(right, probs, 1 - probs)).mean())


# ---------------------------------------------------------------- what it learns


def test_every_kind_learns_which_tier_a_topic_needs(fitted: FittedRouter) -> None:
    router = fitted.router
    chosen = router.choose(router.predict(HELD_OUT), cost_weight=0.005)
    score = HELD_OUT_SCORES[np.arange(len(chosen)), chosen].mean()
    assert score > HELD_OUT_SCORES.mean(axis=0).max() + 0.05
    assert COSTS[chosen].mean() < COSTS[2] / 2


def test_held_out_probabilities_are_calibrated(fitted: FittedRouter) -> None:
    right = SCORES >= 0.5
    assert fitted.probs.mean(axis=0) == pytest.approx(right.mean(axis=0), abs=0.02)
    for j in range(3):
        for low, high in pairwise([0, 0.35, 0.7, 1]):
            rows = (fitted.probs[:, j] >= low) & (fitted.probs[:, j] < high)
            if rows.sum() > 50:
                assert fitted.probs[rows, j].mean() == pytest.approx(right[rows, j].mean(), abs=0.1)


def test_held_out_probabilities_tell_as_much_as_new_questions_show(fitted: FittedRouter) -> None:
    inside = log_loss(fitted.probs, SCORES >= 0.5)
    outside = log_loss(fitted.router.predict(HELD_OUT), HELD_OUT_SCORES >= 0.5)
    assert inside == pytest.approx(outside, abs=0.06)


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_questions_asked_twice_do_not_make_noise_look_predictable(kind: QueryRouterKind) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.integers(0, 300, 5)) for _ in range(100)] * 2
    scores = np.tile((rng.random((100, 2)) < 0.5).astype(float), (2, 1))
    found = fit_router(kind, texts, scores, [1, 2])
    assert log_loss(found.probs, scores > 0) > 0.67  # log 2 = 0.69; with twins across folds it is far below


@needs_sklearn
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_labels_of_a_fold_do_not_reach_its_own_logits(share: float) -> None:
    rng = np.random.default_rng(0)
    x, right, fold = rng.normal(size=(120, 6)), rng.random((120, 2)) < 0.5, np.arange(120) % 5
    features = VectorFeatures(6)
    task = routers._Task(features, x, right, fold, 0, 1e4)
    turned = task._replace(right=np.where((fold == 3)[:, None], ~right, right))
    one, other = (routers._held_out_logits(t, x, 1.0, share) for t in (task, turned))
    assert (one[fold == 3] == other[fold == 3]).all()
    assert (one[fold != 3] != other[fold != 3]).all()


@needs_sklearn
@pytest.mark.parametrize("kind", ["kmeans", "knn"])
def test_labels_of_a_fold_reach_its_own_rates_through_the_overall_rate_alone(kind: QueryRouterKind) -> None:
    fold = routers._folds(TEXTS, 0)
    turned = np.where((fold == 2)[:, None], 1 - SCORES, SCORES)
    turned[fold == 2] = SCORES[fold == 2][::-1]  # the same labels on other rows: the overall rate stays
    one, other = (fit_router(kind, TEXTS, s, COSTS) for s in (SCORES, turned))
    if _setting(one.router) == _setting(other.router):
        assert one.probs[fold == 2] == pytest.approx(other.probs[fold == 2], abs=1e-4)
    assert np.abs(one.probs[fold != 2] - other.probs[fold != 2]).max() > 1e-3


def _setting(router: QueryRouter) -> int:
    model = router.model
    return model.k if isinstance(model, routers.Neighbours) else router.n_classes


@needs_sklearn
def test_shuffling_the_labels_of_held_out_rows_changes_nothing_that_is_learned() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "query_routers.py"
    spec = importlib.util.spec_from_file_location("query_routers", script)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    ids = [str(i) for i in range(240)]
    whole = benchmark.Part(ids, TEXTS[:240], SCORES[:240])
    train, test = benchmark.cut(whole, [None] * 240, seed=0)
    assert not set(train.ids) & set(test.ids)
    held_out = [int(i) for i in test.ids]
    shuffled = SCORES[:240].copy()
    shuffled[held_out] = shuffled[np.random.default_rng(1).permutation(held_out)]
    again, _ = benchmark.cut(whole._replace(scores=shuffled), [None] * 240, seed=0)
    one, other = (benchmark.learned(part, COSTS) for part in (train, again))
    assert one.settings == other.settings
    for kind in QUERY_ROUTER_KINDS:
        assert one.fitted[kind].router.to_dict() == other.fitted[kind].router.to_dict()


def test_what_is_read_of_a_question_does_not_depend_on_the_others(fitted: FittedRouter) -> None:
    router = fitted.router
    together = router.read(HELD_OUT)
    backwards = router.read(HELD_OUT[::-1])
    assert (together.probs == backwards.probs[::-1]).all()
    assert (together.cells == backwards.cells[::-1]).all()
    for i in range(0, len(HELD_OUT), 30):
        alone = router.read([HELD_OUT[i]])
        assert (alone.probs == together.probs[i]).all()
        assert alone.cells[0] == together.cells[i]
    ids = list(range(len(HELD_OUT)))
    for rule in router.rules:
        all_of_them = router.choose(together.probs, rule, ids=ids)
        few = router.choose(together.probs[40:50], rule, ids=ids[40:50])
        assert (all_of_them[40:50] == few).all()


def test_a_fit_is_the_same_every_time_and_the_seed_matters(fitted: FittedRouter) -> None:
    kind = fitted.router.kind
    again, other = (fit_router(kind, TEXTS, SCORES, COSTS, seed=s) for s in (0, 1))
    assert again.router.to_dict() == fitted.router.to_dict()
    assert (again.probs == fitted.probs).all()
    assert (other.probs != fitted.probs).any()


# ---------------------------------------------------------------- classifiers


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
        expected = reference.predict_proba(routers._matrix(rows))[:, 1]
        assert router.predict(HELD_OUT)[:, j] == pytest.approx(expected, abs=1e-12)


@needs_sklearn
def test_a_classifier_worse_than_none_is_not_believed_backwards() -> None:
    logits = np.random.default_rng(0).normal(size=(300, 1))
    right = logits < np.random.default_rng(1).normal(size=(300, 1))
    slope, offset = routers._calibration(logits, right)
    assert slope[0] == 0
    assert sigmoid(offset)[0] == pytest.approx(right.mean(), abs=0.01)


@needs_sklearn
def test_calibration_finds_the_slope_that_makes_logits_true() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 1))
    slope, offset = routers._calibration(3 * truth - 1, rng.random((20_000, 1)) < sigmoid(truth))
    assert [slope[0], offset[0]] == pytest.approx([1 / 3, 1 / 3], abs=0.03)


def test_a_tier_with_few_right_or_wrong_answers_gets_its_rate() -> None:
    pytest.importorskip("scipy", reason="needs scikit-learn")
    x, right = logistic_data(40)
    right[:, 1], right[:, 2] = True, np.arange(40) < 4
    weights, intercept = fit_logistic(x, right, 1.0, 1.0)
    assert (weights[:, 0] != 0).all()
    assert (weights[:, 1:] == 0).all()
    assert sigmoid(intercept)[1:] == pytest.approx([40.5 / 41, 4.5 / 41])


# ---------------------------------------------------------------- clusters and neighbours


@needs_sklearn
def test_a_clusters_rates_are_counted_on_its_own_training_questions() -> None:
    found = fit_router("kmeans", TEXTS, SCORES, COSTS)
    model = found.router.model
    assert found.router.n_classes >= 3
    base = (SCORES.sum(axis=0) + 0.5) / 401
    for k in range(found.router.n_classes):
        own = SCORES[found.cells == k]
        assert model.rates[k] == pytest.approx((own.sum(axis=0) + 2 * base) / (len(own) + 2), abs=1e-4)
    assert (found.router.read(TEXTS).classes == found.cells).all()


@needs_sklearn
def test_the_best_tier_of_a_cluster_follows_from_mean_score_and_cost() -> None:
    router = fit_router("kmeans", TEXTS, SCORES, COSTS).router
    reading = router.read(HELD_OUT)
    best = (router.model.rates - 0.01 * COSTS).argmax(axis=1)
    assert (router.choose(reading.probs, cost_weight=0.01) == best[reading.cells]).all()
    assert len(set(best)) > 1


@needs_sklearn
def test_noise_is_not_cut_into_clusters_or_cells() -> None:
    scores = (np.random.default_rng(0).random((400, 2)) < 0.5).astype(float)
    assert fit_router("kmeans", TEXTS, scores, [1, 2]).router.n_classes <= 2


@needs_sklearn
def test_neighbours_are_those_of_highest_cosine() -> None:
    router = fit_router("knn", TEXTS, SCORES, COSTS).router
    model = router.model
    rows = routers._placed(router.features.of(HELD_OUT), model.axes)
    points = model.points / np.linalg.norm(model.points.astype(float), axis=1, keepdims=True)
    similarity = rows @ points.T
    near = np.argsort(-similarity, axis=1)[:, : model.k + 1]
    closest = np.take_along_axis(similarity, near, axis=1)
    clear = closest[:, -2] - closest[:, -1] > 1e-9  # of equally near ones any may be asked
    rates = (model.right[near[:, :-1]].sum(axis=1) + 2 * model.base) / (model.k + 2)
    assert clear.mean() > 0.8
    assert router.predict(HELD_OUT)[clear] == pytest.approx(rates[clear], abs=1e-12)


def test_a_hidden_neighbour_is_never_asked() -> None:
    placed = np.eye(4)[:2]
    points = (127 * np.eye(4)).astype(np.int8)
    hidden = np.array([[True, False, False, False], [False, False, False, False]])
    near = routers._most_similar(placed, points, 3, hidden)
    assert near.tolist() == [[1, 2, 3], [1, 0, 2]]


@needs_sklearn
@pytest.mark.parametrize("kind", ["multilabel", "knn"])
def test_cells_are_few_and_tell_right_from_wrong(kind: QueryRouterKind) -> None:
    found = fit_router(kind, TEXTS, SCORES, COSTS)
    assert 2 <= found.router.n_classes <= 8
    assert set(found.cells) <= set(range(found.router.n_classes))
    counts = np.bincount(found.cells, minlength=found.router.n_classes)
    rates = np.bincount(found.cells, SCORES[:, 0], minlength=len(counts)) / np.maximum(counts, 1)
    assert np.ptp(rates[counts > 20]) > 0.4
    centres = found.router.centres
    gaps = ((routers.logit(found.probs)[:, None] - centres) ** 2).sum(axis=2)
    assert (gaps.argmin(axis=1) == found.cells).all()


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_under_a_hundred_rows_all_questions_are_of_one_class(kind: QueryRouterKind) -> None:
    found = fit_router(kind, TEXTS[:99], SCORES[:99], COSTS)
    assert found.router.n_classes == 1
    assert not found.cells.any()


# ---------------------------------------------------------------- selection rules

PROBS = np.array([[0.9, 0.8, 0.95], [0.2, 0.55, 0.5], [0.5, 0.5, 0.5], [0.1, 0.3, 0.2]])


@pytest.mark.parametrize(
    ("cost_weight", "chosen"),
    [(0, [2, 1, 0, 1]), (0.004, [0, 1, 0, 1]), (0.1, [0, 1, 0, 0]), (1, [0, 0, 0, 0])],
)
def test_argmax_takes_the_highest_score_less_the_weighted_cost(cost_weight: float, chosen: list[int]) -> None:
    assert by_hand().choose(PROBS, cost_weight=cost_weight).tolist() == chosen


def test_argmax_weighs_what_right_and_wrong_answers_score() -> None:
    graded = by_hand(rewards=[(0.6, 0.7), (0.0, 1.0), (0.0, 1.0)])
    assert graded.expected(PROBS)[1] == pytest.approx([0.62, 0.55, 0.5])
    assert graded.choose(PROBS).tolist() == [2, 0, 0, 0]


@needs_sklearn
def test_rewards_are_the_mean_scores_of_wrong_and_right_answers() -> None:
    texts, scores = questions(200, graded=True)
    router = fit_router("separate", texts, scores, COSTS).router
    for j, (wrong, right) in enumerate(router.rewards):
        good = scores[:, j] >= 0.5
        assert right == pytest.approx((0.8 * good.sum() + 2) / (good.sum() + 2))
        assert wrong == pytest.approx(0.2 * (~good).sum() / ((~good).sum() + 2))


def test_prediction_takes_the_tier_nearest_to_what_is_predicted() -> None:
    router = by_hand({"prediction": [0.3, 0, 0, 0], "sorted": [0, 0, 1, 0]})
    assert router.choose(PROBS, "prediction").tolist() == [1, 0, 0, 1]
    assert router.choose(PROBS, "sorted").tolist() == [1, 1, 0, 1]  # predicts the second tier's own
    assert router.choose(PROBS, "prediction", cost_weight=10).tolist() == [0, 0, 0, 0]


def test_targets_regress_the_probability_of_the_first_right_tier_in_their_order() -> None:
    rng = np.random.default_rng(0)
    probs, right = rng.random((300, 3)), rng.random((300, 3)) < [0.8, 0.4, 0.6]
    targets = routers._targets(routers._Seen(probs, right, np.arange(300) % 5, 0), COSTS)
    for rule, order in {"prediction": (0, 1, 2), "sorted": (1, 2, 0)}.items():
        value = [next((probs[i, j] for j in order if right[i, j]), 0.5) for i in range(300)]
        design = np.column_stack([np.ones(300), probs])
        expected = np.linalg.lstsq(design, np.array(value), rcond=None)[0]
        assert targets[rule] == pytest.approx(expected, abs=1e-3)


def test_random_draws_among_three_when_in_doubt_and_only_then() -> None:
    router = by_hand()
    probs = np.tile([[0.3, 0.1, 0.61], [0.2, 0.6, 0.5]], (3_000, 1))
    ids = [f"q{i}" for i in range(6_000)]
    chosen = router.choose(probs, "random", ids=ids)
    assert (chosen[::2] == 2).all()
    shares = np.bincount(chosen[1::2], minlength=3) / 3_000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)
    assert (router.choose(probs, "random", ids=ids) == chosen).all()
    assert (replace(router, seed=1).choose(probs, "random", ids=ids)[1::2] != chosen[1::2]).mean() > 0.5
    order = np.random.default_rng(0).permutation(6_000)
    assert (router.choose(probs[order], "random", ids=[ids[i] for i in order]) == chosen[order]).all()


def test_the_shortlist_of_random_counts_the_cost() -> None:
    router = replace(by_hand(rewards=((0, 1),) * 4), costs=np.array([1.0, 2.0, 3.0, 100.0]))
    probs = np.tile([0.1, 0.2, 0.3, 0.4], (500, 1))
    for cost_weight, left_out in ((0.0, 0), (0.01, 3)):
        chosen = router.choose(probs, "random", cost_weight=cost_weight, ids=range(500))
        assert set(chosen) == {0, 1, 2, 3} - {left_out}


@pytest.mark.parametrize("rule", [r for r in SELECTIONS if r != "random"])
def test_a_higher_cost_weight_never_costs_more(rule: routers.Rule) -> None:
    rng = np.random.default_rng(0)
    router = by_hand({"prediction": [0.1, 0.5, 0.2, 0.1], "sorted": [0.3, 0.1, 0.1, 0.4]})
    probs, costs = rng.random((500, 3)), rng.random((500, 3))
    path = [0, *np.geomspace(0.01, 100, 30)]
    spent = [costs[range(500), router.choose(probs, rule, cost_weight=c, costs=costs)] for c in path]
    assert all((after <= before).all() for before, after in pairwise(spent))
    assert (spent[-1] == costs.min(axis=1)).mean() > 0.9


def test_rules_that_a_kind_does_not_have_are_refused(fitted: FittedRouter) -> None:
    router = fitted.router
    assert router.rules == (SELECTIONS if router.kind in ("separate", "multilabel") else ("argmax",))
    for rule in ("prediction", "random", "best"):
        if rule not in router.rules:
            with pytest.raises(UsageError, match="has no rule"):
                router.choose(fitted.probs, rule)


def test_random_without_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="ids"):
        by_hand().choose(PROBS, "random")


# ---------------------------------------------------------------- bounds


def test_the_bound_knows_the_scores_of_the_capable_tiers_and_of_no_others() -> None:
    probs = np.array([[0.6, 0.7, 0.1], [0.6, 0.7, 0.1], [0.1, 0.2, 0.3], [0.9, 0.9, 0.9]])
    scores = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    found = by_hand().bound(probs, scores)
    assert found.tier.tolist() == [0, 0, 2, 1]  # nothing right: the cheaper; none capable: the likeliest
    assert found.score.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert found.cost.tolist() == [1.0, 1.0, 20.0, 4.0]


def test_a_router_is_below_its_bound_and_that_below_the_oracle_row_by_row(fitted: FittedRouter) -> None:
    router = fitted.router
    probs, rows = router.predict(HELD_OUT), np.arange(len(HELD_OUT))
    own = HELD_OUT_SCORES[rows, router.choose(probs)]
    bound = router.bound(probs, HELD_OUT_SCORES)
    best = oracle(HELD_OUT_SCORES, np.broadcast_to(COSTS, HELD_OUT_SCORES.shape))
    assert (own <= bound.score).all()
    assert (bound.score <= best.score).all()
    assert own.mean() < bound.score.mean()
    assert bound.cost.mean() < COSTS[router.choose(probs)].mean()


# ---------------------------------------------------------------- kept as JSON


def test_a_router_survives_json_and_decides_the_same(fitted: FittedRouter) -> None:
    router = fitted.router
    told = json.dumps(router.to_dict(), allow_nan=False)
    read = QueryRouter.from_dict(json.loads(told))
    assert len(told) < routers.BUDGET
    assert (read.predict(HELD_OUT) == router.predict(HELD_OUT)).all()
    assert (read.read(HELD_OUT).cells == router.read(HELD_OUT).classes).all()
    ids = range(len(HELD_OUT))
    for rule in router.rules:
        one, other = (r.choose(router.predict(HELD_OUT), rule, ids=ids) for r in (router, read))
        assert (one == other).all()
    assert read.to_dict() == router.to_dict()


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
@pytest.mark.parametrize(("tiers", "budget"), [(1, 12_000), (2, routers.BUDGET), (6, routers.BUDGET)])
def test_a_router_keeps_within_its_budget_and_uses_it(kind: QueryRouterKind, tiers: int, budget: int) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(1_500)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(600)]
    scores = (rng.random((600, tiers)) < 0.6).astype(float)
    router = fit_router(kind, texts, scores, np.arange(tiers), budget=budget).router
    assert 0.3 * budget < len(json.dumps(router.to_dict())) <= budget


def test_a_stored_router_needs_numpy_alone(fitted: FittedRouter) -> None:
    program = (
        "import json, sys\n"
        "sys.modules.update(dict.fromkeys(('sklearn', 'scipy', 'threadpoolctl')))\n"
        "from automix_cli.fitting.query_router import QueryRouter\n"
        "router, texts = json.load(sys.stdin)\n"
        "print(json.dumps(QueryRouter.from_dict(router).predict(texts).tolist()))\n"
    )
    given = json.dumps([fitted.router.to_dict(), HELD_OUT[:10]])
    ran = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == fitted.router.predict(HELD_OUT[:10]).tolist()


def test_fitting_without_scikit_learn_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        fit_router("separate", TEXTS, SCORES, COSTS)
    assert caught.value.hint == "python -m pip install 'automix-cli[routers]'"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "oracle"},
        {"kind": None},
        {"seed": "x"},
        {"costs": []},
        {"costs": [1, 2]},
        {"costs": [1, float("inf"), 2]},
        {"rewards": [[0, 1]]},
        {"features": None},
        {"features": {}},
        {"features": {"embedding": 10**9}},
        {"model": {}},
        {"model": []},
    ],
)
def test_a_router_that_is_none_is_refused(fitted: FittedRouter, wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        QueryRouter.from_dict({**fitted.router.to_dict(), **wrong})


def test_a_router_with_a_part_missing_or_cut_is_refused(fitted: FittedRouter) -> None:
    good = fitted.router.to_dict()
    for key in good:
        with pytest.raises(DataError, match="cannot be read"):
            QueryRouter.from_dict({k: v for k, v in good.items() if k != key})
    for key, value in good["model"].items():
        cut = {**value, "steps": value["steps"][:-8]} if isinstance(value, dict) else None
        with pytest.raises(DataError, match="cannot be read"):
            QueryRouter.from_dict({**good, "model": {**good["model"], key: cut}})


# ---------------------------------------------------------------- edges


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
@pytest.mark.parametrize(
    ("texts", "scores"),
    [
        (["one"], [[1, 0]]),
        (["one", "two"], [[1, 0], [0, 1]]),
        (["same"] * 30, [[1, 0], [0, 1]] * 15),
        ([""] * 60, [[1, 0], [0, 1]] * 30),
        ([f"q {i}" for i in range(120)], [[1, 0]] * 120),
        ([f"q {i}" for i in range(120)], [[1, 1]] * 119 + [[0, 0]]),
        ([f"q {i}" for i in range(60)], [[0.5], [0.4]] * 30),
    ],
    ids=["one", "two", "same", "blank", "constant", "nearly-constant", "one-tier"],
)
def test_poor_data_gives_a_router_all_the_same(
    kind: QueryRouterKind, texts: list[str], scores: list[list[float]]
) -> None:
    table = np.array(scores, dtype=float)
    costs = np.arange(1, table.shape[1] + 1)
    found = fit_router(kind, texts, table, costs)
    router = QueryRouter.from_dict(json.loads(json.dumps(found.router.to_dict(), allow_nan=False)))
    for probs in (found.probs, router.predict(texts), router.predict(["something else", ""])):
        assert ((probs > 0) & (probs < 1)).all()
        for rule in router.rules:
            assert set(router.choose(probs, rule, ids=range(len(probs)))) <= set(range(len(costs)))
    assert router.predict([]).shape == (0, len(costs))
    assert found.cells.max() < router.n_classes


@needs_sklearn
def test_unknown_scores_costs_and_kinds_are_refused() -> None:
    for scores, costs in (
        (np.where(SCORES == 1, np.nan, 0), COSTS),
        (SCORES[:5], COSTS),
        (SCORES, [1.0, 2.0]),
        (SCORES, [1.0, 2.0, np.nan]),
    ):
        with pytest.raises(DataError, match="a router needs"):
            fit_router("separate", TEXTS, scores, costs)
    with pytest.raises(DataError, match="a router needs"):
        fit_router("knn", [], np.empty((0, 3)), COSTS)
    with pytest.raises(UsageError, match="no query-side router"):
        fit_router("forest", TEXTS, SCORES, COSTS)


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_rows_beyond_the_most_that_are_fitted_on_are_read_like_any_other(
    kind: QueryRouterKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routers, "MOST_ROWS", 150)
    found = fit_router(kind, TEXTS, SCORES, COSTS)
    rest = routers._folds(TEXTS, 0) < 0
    assert rest.sum() == 250
    reading = found.router.read(TEXTS)
    assert (found.probs[rest] == reading.probs[rest]).all()
    assert (found.cells[rest] == reading.cells[rest]).all()
    turned = np.where(rest[:, None], 1 - SCORES, SCORES)
    assert (fit_router(kind, TEXTS, turned, COSTS).probs == found.probs).all()


def test_folds_follow_the_question_and_not_its_place() -> None:
    fold = routers._folds(TEXTS, 0)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert (routers._folds([TEXTS[i] for i in order], 0) == fold[order]).all()
    twice = routers._folds([*TEXTS, *(f" {t.upper()} " for t in TEXTS)], 0)
    assert (twice[:400] == twice[400:]).all()
    assert np.bincount(fold).tolist() == [80] * 5


# ---------------------------------------------------------------- embeddings


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_embeddings_are_read_in_place_of_texts(kind: QueryRouterKind) -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(400) < 0.5
    vectors = rng.normal(size=(400, 12)) + 3 * np.where(easy[:, None], np.eye(12)[0], np.eye(12)[1])
    scores = np.column_stack([easy, np.ones(400)]).astype(float)
    scores[rng.random(400) < 0.1, 1] = 0
    texts = [f"q{i}" for i in range(400)]
    router = fit_router(kind, texts[:300], scores[:300], [1, 5], embeddings=vectors[:300]).router
    router = QueryRouter.from_dict(json.loads(json.dumps(router.to_dict())))
    chosen = router.choose(router.predict(texts[300:], embeddings=vectors[300:]), cost_weight=0.02)
    assert ((chosen == 0) == easy[300:]).mean() > 0.8
    with pytest.raises(DataError, match="reads embeddings"):
        router.predict(texts[300:])
    with pytest.raises(DataError, match="expected embeddings of 12"):
        router.predict(texts[300:], embeddings=vectors[300:, :5])
