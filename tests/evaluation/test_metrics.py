"""Measures against cases worked by hand, laws, and what is undefined."""

import itertools
import math
import random
from collections.abc import Callable
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from automix_cli.data.oracle import oracle
from automix_cli.evaluation.bootstrap import BootstrapFigure, Interval, Resamples, curve_draws, interval
from automix_cli.evaluation.frontier import Point, best_mix, edge, hull, mix_quality
from automix_cli.evaluation.metrics import (
    Ends,
    Measure,
    Savings,
    aiq,
    apgr,
    cpt,
    curve,
    gain_area,
    ibc_lift,
    savings,
)
from automix_cli.evaluation.reliability import auroc, ece, reliability, wilson
from automix_cli.evaluation.verdict import verdict

ENDS = Ends(Point(1, 0.5), Point(5, 0.9))


def random_points(rng: random.Random, n: int) -> list[Point]:
    return [
        Point(rng.choice([0, 1, 2, rng.uniform(0, 9)]), rng.choice([0, 0.5, 1, rng.random()]))
        for _ in range(n)
    ]


# ---------------------------------------------------------------- hull and mixes


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
    line = curve(points, ENDS)
    assert not isinstance(line, str)
    assert line.costs.tolist() == [1, 2, 3, 5]
    assert line.qualities.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.9])


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
    assert cpt(ZIGZAG, ENDS, 0.5).value == pytest.approx((2 / 3) / 4)
    assert cpt(ZIGZAG, ENDS, 0.8).value == pytest.approx((3 + 0.22 / 0.3) / 4)
    assert cpt([Point(2, 0.82)], ENDS, 0.8).value == pytest.approx(0.25)
    assert cpt(ZIGZAG, ENDS, 1.0).value == pytest.approx(1.0)
    assert cpt(ZIGZAG, ENDS, 0.0).value == 0.0


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
    found = [cpt(points, ends, share).value for share in (0.2, 0.5, 0.8)]
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


CURVES: dict[str, Callable[..., Measure]] = {
    "aiq": aiq,
    "apgr": apgr,
    "cpt 50": lambda points, ends: cpt(points, ends, 0.5),
    "cpt 80": lambda points, ends: cpt(points, ends, 0.8),
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
    assert cpt(line, ends, 0.5).value == pytest.approx(0.5)
    assert cpt(line, ends, 0.8).value == pytest.approx(0.8)
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


# ---------------------------------------------------------------- the verifier's health


def test_auroc_is_worked_by_hand_with_ties() -> None:
    # right 0.9, 0.5, 0.5; wrong 0.5, 0.1: pairs won 1+1, ½+1, ½+1 of six
    assert auroc([0.9, 0.5, 0.5, 0.5, 0.1], [1, 1, 1, 0, 0]).value == pytest.approx(5 / 6)
    assert auroc([0.5] * 4, [1, 0, 1, 0]).value == 0.5
    assert auroc([1, 2, 3, 4], [0, 0, 1, 1]).value == 1
    assert auroc([4, 3, 2, 1], [0, 0, 1, 1]).value == 0
    assert auroc([0.9, math.nan, 0.1], [True, True, False]).value == 1


@pytest.mark.parametrize("seed", range(5))
def test_auroc_counts_the_pairs_won(seed: int) -> None:
    rng = random.Random(seed)
    signal = [rng.randrange(6) / 5 for _ in range(60)]
    right = [rng.random() < 0.4 for _ in range(60)]
    pairs = [
        (a, b)
        for a, r in zip(signal, right, strict=True)
        if r
        for b, w in zip(signal, right, strict=True)
        if not w
    ]
    won = sum(Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0) for a, b in pairs)
    assert auroc(signal, right).value == pytest.approx(float(won / len(pairs)))
    assert auroc([-s for s in signal], right).value == pytest.approx(1 - float(won / len(pairs)))


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        ([True, True], "there are no wrong answers"),
        ([False, False], "there are no right answers"),
        ([], "there are no right answers"),
    ],
)
def test_auroc_of_one_class_is_none_with_the_reason(right: list[bool], reason: str) -> None:
    assert auroc([0.5] * len(right), right) == Measure(None, reason)


def test_reliability_and_ece_are_worked_by_hand() -> None:
    confidence = [0.0, 0.05, 0.1, 0.95, 1.0, 1.0, math.nan]
    right = [0, 1, 1, 1, 1, 0.5, 1]
    table = reliability(confidence, right, bins=10)
    assert [row.start for row in table] == pytest.approx([0, 0.1, 0.9])
    assert [row.end for row in table] == pytest.approx([0.1, 0.2, 1])
    assert [row.rows for row in table] == [2, 1, 3]
    assert [row.confidence for row in table] == pytest.approx([0.025, 0.1, 2.95 / 3])
    assert [row.right for row in table] == pytest.approx([0.5, 1, 2.5 / 3])
    assert all(row.low <= row.right <= row.high for row in table)
    assert ece(confidence, right).value == pytest.approx((2 * 0.475 + 0.9 + 3 * 0.15) / 6)
    assert ece([], []) == Measure(None, "there are no rows")
    assert reliability([], []) == []


def test_a_perfectly_calibrated_confidence_has_no_error() -> None:
    assert ece([0.25] * 4 + [0.75] * 4, [1, 0, 0, 0, 1, 1, 1, 0]).value == 0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (8, 10, 0.4902, 0.9433),
        (50, 100, 0.4038, 0.5962),
        (0, 0, 0, 1),
    ],
)
def test_wilson_s_interval_has_the_textbook_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_s_bounds_are_where_the_score_test_just_rejects() -> None:
    z = NormalDist().inv_cdf(0.975)
    for hits, n in ((1, 7), (30, 31), (400, 1000)):
        for bound in wilson(hits, n):
            assert abs(hits / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n))


# ---------------------------------------------------------------- bootstrap


def test_resamples_of_few_rows_draw_as_many_as_there_are() -> None:
    counts = Resamples.of(37, seed=0, draws=500).counts
    assert counts.shape == (500, 37)
    assert (counts.sum(axis=1) == 37).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(37), abs=0.25)
    assert counts.var() == pytest.approx(1 - 1 / 37, abs=0.03), "the variance of a multinomial count"


def test_resamples_of_many_rows_are_poisson_weights() -> None:
    counts = Resamples.of(20_001, seed=0).counts
    assert counts.shape == (200, 20_001)
    assert len(set(counts.sum(axis=1).tolist())) > 100
    assert counts.mean() == pytest.approx(1, abs=0.003)
    assert counts.var() == pytest.approx(1, abs=0.005)


def test_the_same_seed_gives_the_same_resamples_and_another_others() -> None:
    one, same, other = (Resamples.of(50, seed).counts for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("rows", [1, 2, 700, 20_001])
def test_means_are_those_of_the_rows_drawn_whatever_is_passed_along(rows: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((rows, 3))
    sample = Resamples.of(rows, seed=5, draws=120)
    means = sample.means(values)
    assert means.shape == (len(sample.counts), 3)
    for draw in (0, 17, len(means) - 1):
        expected = np.average(values, axis=0, weights=sample.counts[draw])
        assert means[draw] == pytest.approx(expected, rel=1e-12)
    assert sample.means(values[:, 1]) == pytest.approx(means[:, 1], rel=1e-12)


def test_one_row_resamples_to_itself_and_no_rows_cannot_be() -> None:
    assert Resamples.of(1, seed=0, draws=9).means([0.25]).tolist() == [0.25] * 9
    with pytest.raises(ValueError, match="no rows"):
        Resamples.of(0, seed=0)


def test_pairing_makes_the_difference_of_equal_policies_exactly_nothing() -> None:
    scores = np.random.default_rng(0).random(300)
    means = Resamples.of(300, seed=0).means(np.stack([scores, scores], axis=1))
    assert (means[:, 0] == means[:, 1]).all()
    assert interval(means[:, 0] - means[:, 1]) == (0, 0)


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_the_true_mean_about_95_times_in_a_hundred(paired: bool) -> None:
    rng = np.random.default_rng(2)
    covered, repetitions, truth = 0, 400, -0.1 if paired else 0.3
    for repetition in range(repetitions):
        first = (rng.random(150) < 0.3).astype(float)
        second = np.where(rng.random(150) < 0.25, rng.random(150) < 0.7, first)
        values = first - second if paired else first
        low, high = interval(Resamples.of(150, seed=repetition, draws=300).means(values))
        covered += low <= truth <= high
    # nominal 95 %; the percentile interval of 150 rows falls a little short; ±3 standard errors
    assert covered / repetitions == pytest.approx(0.945, abs=3 * math.sqrt(0.95 * 0.05 / repetitions))


def test_poisson_weights_give_the_interval_of_the_exact_resamples() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(20_001)
    width = 2 * 1.96 * scores.std() / math.sqrt(len(scores))
    low, high = interval(Resamples.of(20_001, seed=1).means(scores))
    assert high - low == pytest.approx(width, rel=0.25)
    assert (low + high) / 2 == pytest.approx(scores.mean(), abs=width / 5)


def test_the_interval_is_the_percentiles() -> None:
    assert interval(np.arange(101) / 100) == pytest.approx((0.025, 0.975))
    assert interval([0.5]) == (0.5, 0.5)
    assert interval(np.arange(101), level=0.5) == (25, 75)


def test_a_figure_is_bounded_by_the_resamples_in_which_it_is_defined() -> None:
    def bounded(draws: list[float]) -> Measure:
        return BootstrapFigure(0.5, "", np.array(draws)).measure()

    whole = bounded([k / 100 for k in range(101)])
    assert (whole.value, whole.low, whole.high) == pytest.approx((0.5, 0.025, 0.975))
    assert bounded([0.25] * 96 + [math.nan] * 4) == Measure(0.5, "", 0.25, 0.25)
    assert bounded([0.25] * 94 + [math.nan] * 6) == Measure(0.5, "undefined in 6 of 100 resamples")
    assert bounded([math.nan]) == Measure(0.5, "undefined in 1 of 1 resamples")
    assert bounded([]) == Measure(0.5, "too few rows for an interval")
    assert BootstrapFigure.without_value("why").measure() == Measure(None, "why")


def test_curve_measures_are_redrawn_with_their_ends() -> None:
    costs, qualities = np.array([[2.0, 4], [3, 4]]), np.array([[0.8, 0.6], [0.7, 0.9]])
    ends = np.array([[1, 0.5, 5, 0.9], [1, 0.5, 5, 0.5]])
    drawn = curve_draws(cpt, costs, qualities, ends, 0.5)
    assert drawn == [cpt(ZIGZAG, ENDS, 0.5), Measure(None, "the large tier is not better than the small one")]
    assert curve_draws(gain_area, costs, qualities, ends)[0] == gain_area(ZIGZAG, ENDS)


# ---------------------------------------------------------------- the verdict


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
        (0.02, -0.02, 0.06, "not enough rows", 300),  # half the width needs four times the rows
        (-0.01, -0.05, 0.03, "not enough rows", 300),  # for the upper bound to come to 0.01
        (0.005, -0.005, 0.015, "not enough rows", 300),  # either bound
        (0.02, 0.0, 0.04, "not enough rows", 1),  # as good as there
    ],
)
def test_the_verdict_follows_from_the_interval(
    value: float, low: float, high: float, kind: str, more: int | None
) -> None:
    found = verdict(value, Interval(low, high), rows=100)
    assert (found.kind, found.more_rows) == (kind, more)
    assert (found.edge, found.low, found.high) == pytest.approx((value, low, high), abs=1e-12)


def test_the_rows_asked_for_would_have_told() -> None:
    rng = random.Random(0)
    for _ in range(300):
        value, below, above = rng.uniform(-0.05, 0.05), rng.uniform(0.001, 0.1), rng.uniform(0.001, 0.1)
        found = verdict(value, Interval(value - below, value + above), rows=100)
        if found.more_rows is not None:
            shrunk = math.sqrt(100 / (100 + found.more_rows)) * (1 - 1e-9)
            again = verdict(value, Interval(value - below * shrunk, value + above * shrunk), rows=100)
            assert again.kind != "not enough rows"
