"""Fitting query-side routers: what they learn, and from which rows."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from topics import COSTS, HELD_OUT, HELD_OUT_SCORES, SCORES, TEXTS, questions

from automix_cli.data.groups import Grouping, question_keys
from automix_cli.errors import DataError, UsageError
from automix_cli.fitting.fit_classifiers import HeldOutProbs
from automix_cli.fitting.fit_query_router import (
    MAX_ROUTER_CHARS,
    FittedRouter,
    assign_folds,
    fit_regressions,
    fit_router,
)
from automix_cli.fitting.query_router import Neighbours, QueryRouter
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, QueryRouterKind

needs_sklearn = pytest.mark.skipif(not find_spec("sklearn"), reason="needs scikit-learn: the extra `routers`")


def grouping_of(texts: list[str]) -> Grouping:
    return Grouping.of(question_keys(texts, range(len(texts))))


GROUPING = grouping_of(TEXTS)


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
@pytest.mark.parametrize("kind", ["kmeans", "knn"])
def test_labels_of_a_fold_reach_its_own_rates_through_the_overall_rate_alone(kind: QueryRouterKind) -> None:
    fold = assign_folds(GROUPING, 0)
    turned = np.where((fold == 2)[:, None], 1 - SCORES, SCORES)
    turned[fold == 2] = SCORES[fold == 2][::-1]  # the same labels on other rows: the overall rate stays
    one, other = (fit_router(kind, TEXTS, s, COSTS) for s in (SCORES, turned))
    if _setting(one.router) == _setting(other.router):
        assert one.probs[fold == 2] == pytest.approx(other.probs[fold == 2], abs=1e-4)
    assert np.abs(one.probs[fold != 2] - other.probs[fold != 2]).max() > 1e-3


def _setting(router: QueryRouter) -> int:
    model = router.model
    return model.k if isinstance(model, Neighbours) else len(model.centres)


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
    together = router.predict(HELD_OUT)
    assert (together == router.predict(HELD_OUT[::-1])[::-1]).all()
    for i in range(0, len(HELD_OUT), 30):
        assert (router.predict([HELD_OUT[i]]) == together[i]).all()
    ids = list(range(len(HELD_OUT)))
    for rule in router.rules:
        all_of_them = router.choose(together, rule, ids=ids)
        few = router.choose(together[40:50], rule, ids=ids[40:50])
        assert (all_of_them[40:50] == few).all()


def test_a_fit_is_the_same_every_time_and_the_seed_matters(fitted: FittedRouter) -> None:
    kind = fitted.router.kind
    again, other = (fit_router(kind, TEXTS, SCORES, COSTS, seed=s) for s in (0, 1))
    assert again.router.to_dict() == fitted.router.to_dict()
    assert (again.probs == fitted.probs).all()
    assert (other.probs != fitted.probs).any()


@needs_sklearn
def test_rewards_are_the_mean_scores_of_wrong_and_right_answers() -> None:
    texts, scores = questions(200, graded=True)
    router = fit_router("separate", texts, scores, COSTS).router
    for j, (wrong, right) in enumerate(router.rewards):
        good = scores[:, j] >= 0.5
        assert right == pytest.approx((0.8 * good.sum() + 2) / (good.sum() + 2))
        assert wrong == pytest.approx(0.2 * (~good).sum() / ((~good).sum() + 2))


def test_targets_regress_the_probability_of_the_first_right_tier_in_their_order() -> None:
    rng = np.random.default_rng(0)
    probs, right = rng.random((300, 3)), rng.random((300, 3)) < [0.8, 0.4, 0.6]
    targets = fit_regressions(HeldOutProbs(probs, right, np.arange(300) % 5, 0), COSTS)
    for rule, order in {"prediction": (0, 1, 2), "sorted": (1, 2, 0)}.items():
        value = [next((probs[i, j] for j in order if right[i, j]), 0.5) for i in range(300)]
        design = np.column_stack([np.ones(300), probs])
        expected = np.linalg.lstsq(design, np.array(value), rcond=None)[0]
        assert targets[rule] == pytest.approx(expected, abs=1e-3)


# ---------------------------------------------------------------- room, and what is installed


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
@pytest.mark.parametrize(("tiers", "budget"), [(1, 12_000), (2, MAX_ROUTER_CHARS), (6, MAX_ROUTER_CHARS)])
def test_a_router_keeps_within_its_budget_and_uses_it(kind: QueryRouterKind, tiers: int, budget: int) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(1_500)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(600)]
    scores = (rng.random((600, tiers)) < 0.6).astype(float)
    router = fit_router(kind, texts, scores, np.arange(tiers), budget=budget).router
    assert 0.3 * budget < len(json.dumps(router.to_dict())) <= budget


def test_fitting_without_scikit_learn_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        fit_router("separate", TEXTS, SCORES, COSTS)
    assert caught.value.hint == "python -m pip install 'automix-cli[routers]'"


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
    kind: QueryRouterKind,
) -> None:
    found = fit_router(kind, TEXTS, SCORES, COSTS, max_rows=150)
    rest = assign_folds(GROUPING, 0, 150) < 0
    assert rest.sum() == 250
    assert (found.probs[rest] == found.router.predict(TEXTS)[rest]).all()
    turned = np.where(rest[:, None], 1 - SCORES, SCORES)
    assert (fit_router(kind, TEXTS, turned, COSTS, max_rows=150).probs == found.probs).all()


def test_folds_follow_the_question_and_not_its_place() -> None:
    fold = assign_folds(GROUPING, 0)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert (assign_folds(grouping_of([TEXTS[i] for i in order]), 0) == fold[order]).all()
    twice = assign_folds(grouping_of([*TEXTS, *(f" {t.upper()} " for t in TEXTS)]), 0)
    assert (twice[:400] == twice[400:]).all()
    assert np.bincount(fold).tolist() == [80] * 5


def test_no_part_of_a_question_is_left_out_of_the_rows_to_fit_on() -> None:
    fold = assign_folds(grouping_of(TEXTS[:100] * 4), 0, max_rows=150)
    assert (fold.reshape(4, 100) == fold[:100]).all()
    assert (fold >= 0).sum() == 148


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_a_router_does_not_depend_on_the_order_of_the_rows(kind: QueryRouterKind) -> None:
    order = np.random.default_rng(1).permutation(200)
    one = fit_router(kind, TEXTS[:200], SCORES[:200], COSTS)
    other = fit_router(kind, [TEXTS[i] for i in order], SCORES[order], COSTS)
    assert other.probs == pytest.approx(one.probs[order], abs=1e-9)


@needs_sklearn
@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_what_rows_of_a_group_share_does_not_make_noise_look_predictable(kind: QueryRouterKind) -> None:
    rng = np.random.default_rng(0)
    passage = np.repeat(np.arange(40), 8)
    texts = [
        f"What does passage {'xyz'[g % 3] * (2 + g)} say about point {i}?" for i, g in enumerate(passage)
    ]
    right = rng.random((40, 2))[passage] < 0.5
    groups = Grouping.of(passage.astype(np.uint64))
    together = fit_router(kind, texts, right.astype(float), [1, 2], grouping=groups)
    apart = fit_router(kind, texts, right.astype(float), [1, 2])
    assert log_loss(together.probs, right) > np.log(2) - 0.03
    assert log_loss(apart.probs, right) < log_loss(together.probs, right)


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
