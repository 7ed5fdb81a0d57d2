"""Query-side routers in use: what they choose, and how they are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from topics import COSTS, HELD_OUT, HELD_OUT_SCORES

from automix_cli.data.oracle import oracle
from automix_cli.data.read_traces import read_table
from automix_cli.errors import DataError, UsageError
from automix_cli.fitting.classes import Classes
from automix_cli.fitting.features import Quantised, VectorFeatures
from automix_cli.fitting.fit_query_router import MAX_ROUTER_CHARS, FittedRouter
from automix_cli.fitting.query_router import SELECTIONS, Linear, QueryRouter, Selection, most_similar
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, QueryRouterKind
from automix_cli.pomdp.tilt import logit


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
    )


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
    assert graded.expected_scores(PROBS)[1] == pytest.approx([0.62, 0.55, 0.5])
    assert graded.choose(PROBS).tolist() == [2, 0, 0, 0]


def test_prediction_takes_the_tier_nearest_to_what_is_predicted() -> None:
    router = by_hand({"prediction": [0.3, 0, 0, 0], "sorted": [0, 0, 1, 0]})
    assert router.choose(PROBS, "prediction").tolist() == [1, 0, 0, 1]
    assert router.choose(PROBS, "sorted").tolist() == [1, 1, 0, 1]  # predicts the second tier's own
    assert router.choose(PROBS, "prediction", cost_weight=10).tolist() == [0, 0, 0, 0]


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
def test_a_higher_cost_weight_never_costs_more(rule: Selection) -> None:
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


# ---------------------------------------------------------------- neighbours


def test_a_hidden_neighbour_is_never_asked() -> None:
    placed = np.eye(4)[:2]
    points = (127 * np.eye(4)).astype(np.int8)
    hidden = np.array([[True, False, False, False], [False, False, False, False]])
    near = most_similar(placed, points, 3, hidden)
    assert near.tolist() == [[1, 2, 3], [1, 0, 2]]


# ---------------------------------------------------------------- kept as JSON


def test_a_router_survives_json_and_decides_the_same(fitted: FittedRouter) -> None:
    router = fitted.router
    told = json.dumps(router.to_dict(), allow_nan=False)
    read = QueryRouter.from_dict(json.loads(told))
    assert len(told) < MAX_ROUTER_CHARS
    assert (read.predict(HELD_OUT) == router.predict(HELD_OUT)).all()
    ids = range(len(HELD_OUT))
    for rule in router.rules:
        one, other = (r.choose(router.predict(HELD_OUT), rule, ids=ids) for r in (router, read))
        assert (one == other).all()
    assert read.to_dict() == router.to_dict()


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
        with pytest.raises(DataError, match="cannot be read" if key != "version" else "version an older one"):
            QueryRouter.from_dict({k: v for k, v in good.items() if k != key})
    for key, value in good["model"].items():
        cut = {**value, "steps": value["steps"][:-8]} if isinstance(value, dict) else None
        with pytest.raises(DataError, match="cannot be read"):
            QueryRouter.from_dict({**good, "model": {**good["model"], key: cut}})


@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_clusters_are_measured_by_what_is_written_and_others_by_models_of_other_folds(
    kind: QueryRouterKind,
) -> None:
    rows = [
        {
            "id": i,
            "question": f"{'sum' if i % 2 else 'integral'} {i % 7} of {i}",
            "tiers": {"s": {"score": i % 2, "cost": 1}, "l": {"score": 1, "cost": 9}},
        }
        for i in range(60)
    ]
    table = read_table(enumerate(rows, 1))
    (own,) = Classes(sources=(kind,)).of(table, np.ones(60, dtype=bool))
    assert own.router is not None
    logits, as_read = own.table.question_logits, own.as_read().question_logits
    if kind == "kmeans":
        assert as_read is not None
        np.testing.assert_allclose(as_read, logit(own.router.predict([str(text) for text in table.texts])))
    else:
        assert as_read is logits
