"""Metrics of points and curves against cases worked by hand, laws, and what is undefined."""

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from automix_cli.evaluation.curves import (
    CurveMeasure,
    Ends,
    Measure,
    Savings,
    aiq,
    apgr,
    cpt,
    gain_above_mix,
    gain_area,
    ibc_lift,
    ibc_lifts,
    lines,
    savings,
)
from automix_cli.evaluation.frontier import Point, edge, hull

ENDS = Ends(Point(1, 0.5), Point(5, 0.9))


def random_points(rng: random.Random, n: int) -> list[Point]:
    return [
        Point(rng.choice([0, 1, 2, rng.uniform(0, 9)]), rng.choice([0, 0.5, 1, rng.random()]))
        for _ in range(n)
    ]


# ---------------------------------------------------------------- one point


@pytest.mark.parametrize(
    ("point", "lift"),
    [
        ((5, 0.9), 0),  # the large tier itself
        ((3, 0.7), 0),  # on the line
        ((3, 0.8), 50),  # 0.15 a dollar instead of 0.1
        ((3, 0.5), -100),
        ((2, 0.4), -200),
        ((9, 0.9), -50),
    ],
)
def test_ibc_lift_is_worked_by_hand(point: Any, lift: float) -> None:
    assert ibc_lift(Point(*point), ENDS).value == pytest.approx(lift)


@pytest.mark.parametrize(
    ("point", "ends", "reason"),
    [
        (Point(1, 0.8), ENDS, "the policy does not cost more than the small tier"),
        (Point(0.5, 0.8), ENDS, "the policy does not cost more than the small tier"),
        (
            Point(2, 0.8),
            Ends(Point(1, 0.5), Point(5, 0.5)),
            "the large tier is not better than the small one",
        ),
        (
            Point(2, 0.8),
            Ends(Point(1, 0.9), Point(5, 0.5)),
            "the large tier is not better than the small one",
        ),
        (
            Point(2, 0.8),
            Ends(Point(1, 0.5), Point(1, 0.9)),
            "the large tier does not cost more than the small one",
        ),
        (
            Point(2, 0.8),
            Ends(Point(3, 0.5), Point(1, 0.9)),
            "the large tier does not cost more than the small one",
        ),
    ],
)
def test_ibc_lift_without_a_base_is_none_with_the_reason(point: Point, ends: Ends, reason: str) -> None:
    assert ibc_lift(point, ends) == Measure(None, reason)


def test_savings_are_worked_by_hand() -> None:
    trained = [Point(2, 0.6), Point(4, 0.87), Point(6, 0.9), Point(3, 0.86)]
    held_out = [Point(2, 0.6), Point(4, 0.85), Point(6, 0.92), Point(4.5, 0.81)]
    tiers, seen = [Point(1, 0.5), Point(10, 0.9)], [Point(1, 0.52), Point(10, 0.9)]
    at_95 = savings(0.95, trained, held_out, tiers, seen)
    assert at_95 == pytest.approx((0.55, "", 3, 0.9), abs=1e-12), (
        "chosen in training, though it fails held out"
    )
    at_99 = savings(0.99, trained, held_out, tiers, seen)
    assert (at_99.value, at_99.setting) == (pytest.approx(0.4), 2)


UNREACHED = "no setting reached 95% of the best tier in training"
USUAL = [Point(1, 0.5), Point(10, 0.9)]
FREE = [Point(0, 0.5), Point(0, 0)]


@pytest.mark.parametrize(
    ("trained", "tiers", "held_out", "value", "reason"),
    [
        ([Point(2, 0.5)], USUAL, USUAL, None, UNREACHED),
        ([], USUAL, USUAL, None, UNREACHED),
        ([Point(2, 0.9)], [Point(1, 0.9), Point(10, 0.5)], USUAL, 0.0, "the best tier is the cheapest"),
        ([Point(2, 0.9)], [Point(1, 0.9), Point(10, 0.9)], USUAL, 0.0, "the best tier is the cheapest"),
        ([Point(2, 0.9)], [Point(1, 0.9)], USUAL, 0.0, "the best tier is the cheapest"),
        ([Point(2, 0.9)], USUAL, FREE, None, "the best tier is free"),
    ],
)
def test_savings_that_are_undefined_say_why_and_a_cheapest_best_tier_saves_nothing(
    trained: list[Point], tiers: list[Point], held_out: list[Point], value: float | None, reason: str
) -> None:
    found = savings(0.95, trained, trained, tiers, held_out)
    assert (found.value, found.reason) == (value, reason)


# ---------------------------------------------------------------- curves


def test_a_curve_is_clipped_to_the_tiers_that_end_it_and_averages_equal_costs() -> None:
    points = [
        Point(3, 0.8),
        Point(0.5, 1),
        Point(6, 1),
        Point(1, 0),
        Point(5, 0),
        Point(3, 0.6),
        Point(2, 0.6),
    ]
    costs, qualities = np.array(points).T
    line = lines(costs[None], qualities[None], np.array([[1, 0.5, 5, 0.9]]))
    drawn = dict(zip(line.costs[0].tolist(), line.qualities[0].tolist(), strict=True))
    assert drawn == pytest.approx({1: 0.5, 2: 0.6, 3: 0.7, 5: 0.9})
    assert (np.diff(line.costs) >= 0).all()


# (2, 0.8) and (4, 0.6) between (1, 0.5) and (5, 0.9); areas by trapezoids of width 1, 2, 1
ZIGZAG = [Point(4, 0.6), Point(2, 0.8)]


def test_aiq_is_the_area_under_the_rising_hull_by_the_range() -> None:
    # hull 1→2→5: (0.5+0.8)/2·1 + (0.8+0.9)/2·3 = 0.65 + 2.55
    assert aiq(ZIGZAG, ENDS).value == pytest.approx(3.2 / 4)
    assert aiq([], ENDS).value == pytest.approx(0.7)
    # the large tier is worse than a setting: level beyond it. (0.5+1)/2·1 + 1·3
    assert aiq([Point(2, 1.0)], ENDS).value == pytest.approx(3.75 / 4)
    worse = Ends(Point(1, 0.9), Point(5, 0.5))
    assert aiq([Point(3, 0.6)], worse).value == pytest.approx(0.9)


def test_apgr_averages_the_gap_recovered_on_straight_lines() -> None:
    # (0.65 + 0.7·2 + 0.75)/4 = 0.7, of which (0.7 - 0.5)/0.4 is recovered
    assert apgr(ZIGZAG, ENDS).value == pytest.approx(0.5)
    assert apgr([Point(2, 0.8)], ENDS).value == pytest.approx((0.8 - 0.5) / 0.4)
    assert apgr([Point(2, 0.2)], ENDS).value == pytest.approx(((0.35 + 0.55 * 3) / 4 - 0.5) / 0.4)


def test_cpt_is_the_first_cost_that_recovers_the_share() -> None:
    # half the gap is 0.7, reached on the first line at cost 1 + 2/3; 80 % is 0.82, on the last, 4 + 0.22/0.3
    assert cpt(0.5)(ZIGZAG, ENDS).value == pytest.approx((2 / 3) / 4)
    assert cpt(0.8)(ZIGZAG, ENDS).value == pytest.approx((3 + 0.22 / 0.3) / 4)
    assert cpt(0.8)([Point(2, 0.82)], ENDS).value == pytest.approx(0.25)
    assert cpt(1.0)(ZIGZAG, ENDS).value == pytest.approx(1.0)
    assert cpt(0.0)(ZIGZAG, ENDS).value == 0.0


# What routellm 0.2.0 (routellm.evals.evaluate.generate_results) prints for these tables: accuracy by
# per cent of calls to the strong model, then the calls for 20, 50 and 80 % of the gap, and APGR.
ROUTELLM = [
    ({20: 66, 45: 74, 70: 85}, (50, 90), (10.00, 32.50, 63.18), 0.6306249999999999),
    ({10: 63, 50: 71, 80: 80}, (62.5, 82), (27.00, 54.17, 73.67), 0.4833333333333339),
    ({30: 70, 60: 72}, (40, 80), (8.00, 20.00, 60.00), 0.7050000000000001),
]


@pytest.mark.parametrize(("accuracy", "models", "calls", "gap"), ROUTELLM)
def test_apgr_and_cpt_are_what_routellm_prints_where_cost_is_the_share_of_strong_calls(
    accuracy: dict[int, float], models: tuple[float, float], calls: tuple[float, ...], gap: float
) -> None:
    ends = Ends(Point(0, models[0] / 100), Point(1, models[1] / 100))
    points = [Point(percent / 100, right / 100) for percent, right in accuracy.items()]
    assert apgr(points, ends).value == pytest.approx(gap)
    found = [cpt(share)(points, ends).value for share in (0.2, 0.5, 0.8)]
    assert found == pytest.approx([percent / 100 for percent in calls], abs=5e-5)


# What automix-llm (Automix.evaluate) says of six rows, three of them escalated, at three prices:
# costs of the two models, the average cost, and its ibc_lift.
@pytest.mark.parametrize(
    ("costs", "spent", "lift"),
    [
        ((1, 50), 27.0, 1.0295857988165698),
        ((1, 10), 6.5, 0.7622377622377637),
        ((2, 20), 12.0, 0.93846153846154),
    ],
)
def test_ibc_lift_is_what_the_package_of_automix_says(
    costs: tuple[float, float], spent: float, lift: float
) -> None:
    ends = Ends(Point(costs[0], 2.8 / 6), Point(costs[1], 4.1 / 6))
    assert ibc_lift(Point(spent, 0.7), ends).value == pytest.approx(100 * lift)


def test_gain_area_takes_no_hull_and_bad_settings_count() -> None:
    assert gain_area(ZIGZAG, ENDS).value == pytest.approx(0, abs=1e-9)
    assert gain_area([Point(2, 0.8)], ENDS).value == pytest.approx(100 * (0.8 - 0.7))
    assert gain_area([Point(3, 0.2)], ENDS).value == pytest.approx(100 * ((0.35 * 2 + 0.55 * 2) / 4 - 0.7))
    falling = Ends(Point(1, 0.9), Point(5, 0.5))
    assert gain_area([Point(3, 0.9)], falling).value == pytest.approx(10)


def above_mix(tiers: list[Point]) -> Callable[[list[Point]], Measure]:
    costs, qualities = np.array(tiers).T
    return lambda points: gain_above_mix(costs[None], qualities[None])(points, Ends(tiers[0], tiers[-1]))


def test_with_a_middle_tier_the_gain_is_measured_above_the_mix_through_it() -> None:
    tiers = [Point(0, 0.5), Point(1, 0.8), Point(4, 1.0)]
    mix = above_mix(tiers)
    assert mix([tiers[1]]).value == pytest.approx(0)
    assert mix([Point(0.5, 0.65), tiers[1], Point(2, 13 / 15)]).value == pytest.approx(0)
    # without the middle tier on its curve a policy loses the triangle under the mix: (1.3 + 5.4 - 6)/2/4
    assert mix([]).value == pytest.approx(-100 * (0.65 + 2.7 - 3) / 4)
    # 0.1 above the middle tier: two triangles of height 0.1 over 4
    assert mix([Point(1, 0.9)]).value == pytest.approx(100 * 0.1 / 2)
    assert gain_area([tiers[1]], Ends(tiers[0], tiers[2])).value > 0, "the line would credit the mix"


def test_beyond_the_best_tier_the_mix_and_the_curve_are_level() -> None:
    tiers = [Point(1, 0.5), Point(2, 0.9), Point(5, 0.7)]
    assert above_mix(tiers)([tiers[1]]).value == pytest.approx(0)
    assert above_mix(tiers)([tiers[1], Point(4, 0.8)]).value == pytest.approx(-100 * 0.1 * 3 / 2 / 4)


def test_a_middle_tier_that_is_no_use_leaves_the_line_from_small_to_large() -> None:
    tiers = [Point(1, 0.5), Point(4.5, 0.55), Point(5, 0.9)]
    assert above_mix(tiers)(ZIGZAG).value == pytest.approx(gain_area(ZIGZAG, ENDS).value, abs=1e-9)


CURVES: dict[str, CurveMeasure] = {
    "aiq": aiq,
    "apgr": apgr,
    "cpt 50": cpt(0.5),
    "cpt 80": cpt(0.8),
    "gain area": gain_area,
}


@pytest.mark.parametrize("seed", range(10))
def test_a_random_mix_of_the_two_tiers_gains_nothing_by_any_measure(seed: int) -> None:
    rng = random.Random(seed)
    small = Point(rng.random(), rng.random() / 2)
    ends = Ends(small, Point(small.cost + rng.random(), small.quality + rng.random() / 2))
    shares = [rng.random() for _ in range(rng.randrange(12))]
    step = (ends.large.cost - small.cost, ends.large.quality - small.quality)
    line = [Point(small.cost + s * step[0], small.quality + s * step[1]) for s in shares]
    assert gain_area(line, ends).value == pytest.approx(0, abs=1e-9)
    assert apgr(line, ends).value == pytest.approx(0.5)
    assert aiq(line, ends).value == pytest.approx((small.quality + ends.large.quality) / 2)
    assert cpt(0.5)(line, ends).value == pytest.approx(0.5)
    assert cpt(0.8)(line, ends).value == pytest.approx(0.8)
    for point in line:
        assert ibc_lift(point, ends).value == pytest.approx(0, abs=1e-6)
        assert edge(point, ends) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_measures_do_not_depend_on_the_order_of_points_or_the_unit_of_money(seed: int) -> None:
    rng = random.Random(seed)
    points = [Point(rng.uniform(0, 6), rng.random()) for _ in range(9)]
    shuffled = rng.sample(points, 9)
    cents = [Point(100 * p.cost, p.quality) for p in points]
    in_cents = Ends(*(Point(100 * p.cost, p.quality) for p in ENDS))
    for name, measure in CURVES.items():
        value = measure(points, ENDS).value
        assert measure(shuffled, ENDS).value == pytest.approx(value), name
        assert measure(cents, in_cents).value == pytest.approx(value), name
        assert measure(np.array(points), ENDS).value == pytest.approx(value), name
    assert aiq(points, ENDS).value >= ENDS.small.quality + gain_area(points, ENDS).value / 100


@pytest.mark.parametrize("name", CURVES)
def test_many_curves_at_once_are_what_they_are_one_by_one(name: str) -> None:
    rng, measure = random.Random(3), CURVES[name]
    costs = np.array([[rng.choice([0, 1, 2, 2, 3, rng.uniform(0, 6)]) for _ in range(8)] for _ in range(200)])
    qualities = np.array([[rng.random() for _ in range(8)] for _ in range(200)])
    ends = np.array([[1, rng.random(), rng.choice([1, 5]), rng.random()] for _ in range(200)])
    drawn = measure.draws(costs, qualities, ends)
    for value, c, q, e in zip(drawn, costs, qualities, ends, strict=True):
        one = measure(list(map(Point, c, q)), Ends(Point(*e[:2]), Point(*e[2:]))).value
        assert np.isnan(value) if one is None else value == pytest.approx(one, abs=1e-12)
    assert 0 < np.isnan(drawn).sum() < 200


@pytest.mark.parametrize("seed", range(30))
def test_the_hull_of_a_curve_is_that_of_its_points(seed: int) -> None:
    rng = random.Random(seed)
    points = [*random_points(rng, 9), ENDS.small, ENDS.large]
    inside = [p for p in points if 1 < p.cost < 5]
    same_cost = {c: [p.quality for p in inside if p.cost == c] for c in {p.cost for p in inside}}
    merged = [Point(c, sum(q) / len(q)) for c, q in same_cost.items()]
    corners = hull([*merged, ENDS.small, ENDS.large])
    level = [*corners, Point(5, corners[-1].quality)]
    area = sum((b.cost - a.cost) * (a.quality + b.quality) / 2 for a, b in pairwise(level))
    assert aiq(points, ENDS).value == pytest.approx(area / 4)


def test_ibc_lifts_of_draws_are_those_of_their_points() -> None:
    rng = np.random.default_rng(0)
    costs, qualities, ends = rng.uniform(0, 3, 300), rng.random(300), rng.random((300, 4))
    for c, q, e, value in zip(costs, qualities, ends, ibc_lifts(costs, qualities, ends), strict=True):
        one = ibc_lift(Point(c, q), Ends(Point(*e[:2]), Point(*e[2:]))).value
        assert np.isnan(value) if one is None else value == pytest.approx(one)


HARD = [
    Ends(Point(0, 0.5), Point(1, 0.9)),  # a free small tier
    Ends(Point(0, 0.5), Point(0, 0.9)),  # both free
    Ends(Point(1, 0.5), Point(1, 0.5)),  # equal tiers
    Ends(Point(1, 0.9), Point(5, 0.5)),  # the small one better
    Ends(Point(5, 0.5), Point(1, 0.9)),  # the large one cheaper on these rows
    Ends(Point(0, 0.0), Point(1, 0.0)),
    Ends(Point(0, 0.0), Point(5e-324, 1.0)),  # the smallest number there is
    Ends(Point(0, 0.0), Point(1.7e308, 5e-324)),
]


@pytest.mark.parametrize("ends", HARD)
@pytest.mark.parametrize(
    "points",
    [[], [Point(0, 0)], [Point(0.5, 0.7)], [Point(0.5, 0.7)] * 3, [Point(5e-324, 1)], [Point(1.7e308, 1)]],
)
def test_degenerate_cases_give_a_number_or_none_with_a_reason(points: list[Point], ends: Ends) -> None:
    found = [measure(points, ends) for measure in CURVES.values()]
    found += [ibc_lift(point, ends) for point in points]
    saved = [savings(0.95, points, points, ends, ends)]
    for measure in (*found, *saved):
        assert measure.reason if measure.value is None else math.isfinite(measure.value)
    as_arrays = [Point(np.float64(p.cost), np.float64(p.quality)) for p in points]
    assert [measure(as_arrays, ends) for measure in CURVES.values()] == found[: len(CURVES)]
    for point in as_arrays:
        assert isinstance(ibc_lift(point, ends), Measure)
        assert isinstance(savings(0.95, as_arrays, as_arrays, ends, ends), Savings)
        assert math.isfinite(edge(point, list(ends)))
