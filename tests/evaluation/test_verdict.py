"""The edge over the best mix of single tiers, and the verdict of its interval."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.frontier import edge as height_above_mix
from automix_cli.evaluation.verdict import Edge, correct_bias, edge_of, verdict

# ------------------------------------------------------------------ the verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "kind", "more"),
    [
        (0.03, 0.01, 0.05, "route", None),
        (0.001, 0.0001, 0.005, "route", None),  # surely better, if by little
        (0.0, -0.02, 0.009, "do not route", None),
        (-0.2, -0.3, -0.1, "do not route", None),
        (0.0, 0.0, 0.0, "do not route", None),
        (1e-16, 1e-16, 1e-16, "do not route", None),  # sums of the same numbers, added otherwise
        (-1e-16, -1e-16, 2e-13, "do not route", None),
        (2e-9, 1e-9, 3e-9, "route", None),
        (0.02, -0.02, 0.06, "not enough rows", 100),  # half the width needs four times the rows: 300 more
        (-0.01, -0.05, 0.03, "not enough rows", 100),  # for the upper bound to come to 0.01
        (0.005, -0.005, 0.015, "not enough rows", 100),  # either bound
        (0.02, 0.0, 0.04, "not enough rows", 10),  # as good as there
        (0.0099, -0.1, 0.12, "not enough rows", 10_000),
    ],
)
def test_the_verdict_follows_from_the_interval(
    value: float, low: float, high: float, kind: str, more: int | None
) -> None:
    result = verdict(Edge(value, low, high), rows=100)
    assert (result.kind, result.more_rows) == (kind, more)
    assert (result.edge, result.low, result.high) == pytest.approx((value, low, high), abs=1e-12)


def test_the_rows_that_may_tell_are_told_by_their_order_of_magnitude() -> None:
    """Ten times as many as said surely would have told."""
    rng = random.Random(0)
    for _ in range(300):
        value, below, above = rng.uniform(-0.05, 0.05), rng.uniform(0.001, 0.1), rng.uniform(0.001, 0.1)
        result = verdict(Edge(value, value - below, value + above), rows=100)
        if result.more_rows is not None:
            assert math.log10(result.more_rows) == int(math.log10(result.more_rows)) >= 1
            shrunk = math.sqrt(100 / (100 + 10 * result.more_rows))
            again = verdict(Edge(value, value - below * shrunk, value + above * shrunk), rows=100)
            assert again.kind != "not enough rows"


# ------------------------------------------------------------------ the edge


class Rows(NamedTuple):
    """Scores and costs of a policy (n) and of the single tiers (n×N)."""

    score: np.ndarray
    cost: np.ndarray
    tier_scores: np.ndarray
    tier_costs: np.ndarray


def draw(rng: np.random.Generator, n: int, tiers: Any, policy: tuple[float, float]) -> Rows:
    """Independent right answers, at fixed costs; the policy's cost varies from row to row."""
    costs, qualities = np.array(tiers).T
    scores = (rng.random((n, len(costs))) < qualities).astype(float)
    own = (rng.random(n) < policy[1]).astype(float)
    return Rows(own, policy[0] * rng.choice([0.5, 1.5], n), scores, np.tile(costs, (n, 1)))


def test_the_edge_is_the_height_above_the_mix_less_the_bias_that_the_draws_show() -> None:
    rows = draw(np.random.default_rng(0), 80, [(1, 0.5), (2, 0.6), (4, 0.8)], (2.5, 0.7))
    resamples = Resamples.of(np.arange(80), 0, draws=100)
    counts = resamples.counts.astype(float)

    def height(weight: np.ndarray) -> float:
        means = [float(weight @ column / weight.sum()) for column in (rows.cost, rows.score)]
        tiers = [
            Point(float(weight @ c / weight.sum()), float(weight @ s / weight.sum()))
            for c, s in zip(rows.tier_costs.T, rows.tier_scores.T, strict=True)
        ]
        return height_above_mix(Point(*means), tiers)

    value, draws = height(np.ones(80)), np.array([height(weight) for weight in counts])
    own = edge_of(*rows, resamples)
    assert own.value == pytest.approx(value - (draws.mean() - value), abs=1e-12)
    assert (own.low, own.high) == pytest.approx(
        (own.value - 1.96 * draws.std(), own.value + 1.96 * draws.std()), abs=1e-12
    )
    assert correct_bias(0.3, np.full(5, 0.3)) == pytest.approx((0.3, 0.3, 0.3))


def test_neither_the_order_of_rows_and_tiers_nor_the_unit_of_cost_changes_the_edge() -> None:
    rows = draw(np.random.default_rng(1), 60, [(1, 0.5), (2, 0.65), (4, 0.8)], (2.5, 0.75))
    plain = edge_of(*rows, Resamples.of(np.arange(60), 0, draws=100))
    order, tiers = np.random.default_rng(2).permutation(60), [2, 0, 1]
    turned = Rows(
        rows.score[order],
        1000 * rows.cost[order],
        rows.tier_scores[order][:, tiers],
        1000 * rows.tier_costs[order][:, tiers],
    )
    again = edge_of(*turned, Resamples.of(order, 0, draws=100))
    assert again == pytest.approx(plain, abs=1e-12)


WORLDS: dict[str, tuple[list[tuple[float, float]], tuple[float, float]]] = {
    # Three tiers on one line: the middle one is as good as a mix of the others.
    "tied": ([(1, 0.5), (2, 0.65), (3, 0.8)], (2.0, 0.65)),
    "equal": ([(1, 0.7), (3, 0.7)], (2.0, 0.7)),
    "clear": ([(1, 0.4), (3, 0.9)], (2.0, 0.65)),
}
RUNS, DRAWS = 500, 200


class Figures(NamedTuple):
    """Over many tables drawn from one world in which the policy has no edge."""

    raw: np.ndarray
    corrected: np.ndarray
    covered: float
    route: float


@pytest.fixture(scope="module")
def figures() -> Callable[[str, int], Figures]:
    found: dict[tuple[str, int], Figures] = {}

    def of(world: str, n: int) -> Figures:
        if (world, n) not in found:
            found[world, n] = simulate(world, n)
        return found[world, n]

    return of


def simulate(world: str, n: int) -> Figures:
    rng, tiers = np.random.default_rng(n), WORLDS[world]
    edges, raw = [], []
    resamples = Resamples.of(np.arange(n), 0, draws=DRAWS)  # the tables differ, the draws need not
    for _ in range(RUNS):
        rows = draw(rng, n, *tiers)
        edges.append(edge_of(*rows, resamples))
        means = [
            Point(*p) for p in zip(rows.tier_costs.mean(axis=0), rows.tier_scores.mean(axis=0), strict=True)
        ]
        raw.append(height_above_mix(Point(rows.cost.mean(), rows.score.mean()), means))
    kinds = [verdict(own, n).kind for own in edges]
    return Figures(
        np.array(raw),
        np.array([own.value for own in edges]),
        float(np.mean([own.low <= 0 <= own.high for own in edges])),
        kinds.count("route") / RUNS,
    )


@pytest.mark.parametrize("world", ["tied", "equal"])
def test_where_mixes_are_nearly_equal_the_edge_is_drawn_down_and_the_correction_takes_a_part_of_it_back(
    world: str, figures: Any
) -> None:
    own = figures(world, 60)
    error = own.raw.std() / math.sqrt(RUNS)
    assert own.raw.mean() < -4 * error, "the bias is there"
    assert own.raw.mean() * 0.8 < own.corrected.mean() < error


def test_where_the_mix_is_clear_there_is_nothing_to_correct(figures: Any) -> None:
    own = figures("clear", 60)
    assert abs((own.corrected - own.raw).mean()) < 0.001
    assert np.abs(own.corrected - own.raw).max() < 4 * 0.08 / math.sqrt(DRAWS), (
        "the chance of the draws alone"
    )
    assert abs(own.corrected.mean()) < 3 * own.corrected.std() / math.sqrt(RUNS)


@pytest.mark.parametrize("world", WORLDS)
def test_intervals_cover_the_truth_and_routing_without_an_edge_is_seldom_advised(
    world: str, figures: Any
) -> None:
    own = figures(world, 60)
    error = math.sqrt(0.9 * 0.1 / RUNS)
    assert own.covered >= 0.92 - 2 * error
    assert own.covered < 1, "an interval that always covers is too wide"
    assert own.route <= 0.04 + 2 * math.sqrt(0.04 * 0.96 / RUNS)
