"""Hull and mixes of single tiers, by hand and by law."""

import itertools
import random
from typing import Any

import numpy as np
import pytest

from automix_cli.data.oracle import oracle
from automix_cli.evaluation.frontier import Point, best_mix, edge, hull, mix_quality


def random_points(rng: random.Random, n: int) -> list[Point]:
    return [
        Point(rng.choice([0, 1, 2, rng.uniform(0, 9)]), rng.choice([0, 0.5, 1, rng.random()]))
        for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("points", "corners"),
    [
        ([(1, 0.5)], [(1, 0.5)]),
        ([(1, 0.5), (5, 0.9)], [(1, 0.5), (5, 0.9)]),
        ([(1, 0.5), (3, 0.6), (5, 0.9)], [(1, 0.5), (5, 0.9)]),
        ([(1, 0.5), (3, 0.8), (5, 0.9)], [(1, 0.5), (3, 0.8), (5, 0.9)]),
        ([(1, 0.25), (3, 0.5), (5, 0.75)], [(1, 0.25), (5, 0.75)]),
        ([(1, 0.9), (5, 0.5)], [(1, 0.9)]),
        ([(1, 0.5), (5, 0.5)], [(1, 0.5)]),
        ([(1, 0.4), (1, 0.5), (1, 0.3)], [(1, 0.5)]),
        ([(0, 0.0), (0, 0.2), (2, 0.2), (4, 1.0), (9, 0.9)], [(0, 0.2), (4, 1.0)]),
    ],
)
def test_the_hull_is_worked_by_hand(points: list[Any], corners: list[Any]) -> None:
    assert list(hull([Point(*p) for p in points])) == corners


@pytest.mark.parametrize("seed", range(40))
def test_the_hull_is_rising_concave_and_above_every_point(seed: int) -> None:
    rng = random.Random(seed)
    points = random_points(rng, rng.randrange(1, 9))
    corners = hull(points)
    slopes = [(b.quality - a.quality) / (b.cost - a.cost) for a, b in itertools.pairwise(corners)]
    assert all(slope > 0 for slope in slopes)
    assert all(a > b for a, b in itertools.pairwise(slopes))
    assert set(corners) <= set(points)
    for point in points:
        assert best_mix(points, point.cost).quality >= point.quality - 1e-12


def test_the_best_mix_is_worked_by_hand() -> None:
    tiers = [Point(1, 0.5), Point(2, 0.4), Point(3, 0.9), Point(9, 0.8)]
    mixed = best_mix(tiers, 1.5)
    assert mixed.shares == (0.75, 0, 0.25, 0)
    assert (mixed.cost, mixed.quality) == pytest.approx((1.5, 0.6))
    assert best_mix(tiers, 3) == ((0, 0, 1, 0), 3, 0.9)
    assert best_mix(tiers, 8) == ((0, 0, 1, 0), 3, 0.9), "flat beyond the best tier, and no dearer than it"
    assert best_mix(tiers, 0.5) == ((1, 0, 0, 0), 1, 0.5), "the cheapest tier stands for what is cheaper"


def test_no_random_mix_that_costs_no_more_beats_the_best_mix() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        tiers = [Point(*pair) for pair in zip(rng.random(4), rng.random(4), strict=True)]
        shares = rng.dirichlet(np.full(4, 0.4), size=500)
        costs, qualities = (shares @ np.array(tiers)).T
        best = mix_quality([t.cost for t in tiers], [t.quality for t in tiers], costs)
        assert (qualities <= best + 1e-12).all()


@pytest.mark.parametrize("seed", range(40))
def test_the_array_form_of_the_best_mix_equals_the_mix(seed: int) -> None:
    rng = random.Random(seed)
    tiers = random_points(rng, rng.randrange(1, 7))
    costs = [t.cost for t in tiers] + [rng.uniform(-1, 10) for _ in range(20)]
    found = mix_quality([t.cost for t in tiers], [t.quality for t in tiers], costs)
    assert found.tolist() == pytest.approx([best_mix(tiers, c).quality for c in costs], abs=1e-12)
    each = mix_quality(
        [[t.cost for t in tiers]] * len(costs), [[t.quality for t in tiers]] * len(costs), costs
    )
    assert np.array_equal(each, found)


def test_edge_is_the_height_above_the_hull() -> None:
    tiers = [Point(1, 0.5), Point(5, 0.9)]
    assert edge(Point(3, 0.75), tiers) == pytest.approx(0.05)
    assert edge(Point(7, 0.85), tiers) == pytest.approx(-0.05)
    for tier in tiers:
        assert edge(tier, tiers) == 0


def test_the_oracle_takes_the_best_answer_and_of_equals_the_cheaper() -> None:
    scores = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [0.25, 0.5, 1]], dtype=float)
    costs = np.array([[3, 1, 9], [1, 5, 5], [2, 2, 1], [1, 2, 9]], dtype=float)
    chosen = oracle(scores, costs)
    assert chosen.tier.tolist() == [1, 1, 2, 2]
    assert chosen.score.tolist() == [1, 1, 0, 1]
    assert chosen.cost.tolist() == [1, 5, 1, 9]
    assert oracle(scores, costs, cost_weight=0.1).tier.tolist() == [1, 1, 2, 1]
    assert oracle(scores, costs, cost_weight=99).tier.tolist() == [1, 0, 2, 0]
