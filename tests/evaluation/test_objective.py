"""Each objective takes its setting, and none below a mix of single tiers."""

from __future__ import annotations

import numpy as np
import pytest

from automix_cli.errors import GateError
from automix_cli.evaluation.crossfit import NO_CURVE, Curve
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.objective import Objective, choose
from automix_cli.evaluation.settings import Always, CostWeight, Setting

TIERS = ("small", "large")
SINGLES = (Point(1.0, 0.6), Point(11.0, 0.9))
CURVE = Curve(
    tuple(CostWeight(w) for w in (0.0, 0.1, 0.2, 0.3)),
    (Point(12.0, 0.92), Point(6.0, 0.88), Point(5.0, 0.70), Point(3.0, 0.75)),
)


@pytest.mark.parametrize(
    ("objective", "setting", "met"),
    [
        (Objective("keep", 0.97), CostWeight(0.1), True),
        (Objective("keep", 0.8), CostWeight(0.3), True),
        (Objective("keep", 0.5), Always("small"), True),
        (Objective("keep", 1.0), CostWeight(0.0), True),
        (Objective("budget", 7.0), CostWeight(0.1), True),
        (Objective("budget", 2.0), Always("small"), True),
        (Objective("budget", 0.5), Always("small"), False),
        (Objective("cost_weight", 0.2), CostWeight(0.2), True),
        (Objective("ibc", 0.0), CostWeight(0.3), True),
    ],
    ids=str,
)
def test_each_objective_takes_the_corner_of_the_hull_it_asks_for(
    objective: Objective, setting: Setting, met: bool
) -> None:
    chosen = choose(CURVE, TIERS, SINGLES, objective)
    assert chosen.setting == setting
    assert chosen.is_met == met


def test_a_single_tier_is_preferred_to_a_policy_that_comes_to_the_same() -> None:
    same = Curve((CostWeight(9.0),), (SINGLES[0],))
    assert choose(same, TIERS, SINGLES, Objective("keep", 0.5)).setting == Always("small")


def test_an_undefined_ibc_is_a_gate_that_is_not_met() -> None:
    with pytest.raises(GateError, match="the large tier is not better"):
        choose(CURVE, TIERS, (Point(1.0, 0.9), Point(11.0, 0.6)), Objective("ibc"))
    below = Curve((CostWeight(1.0),), (Point(6.0, 0.6),))
    with pytest.raises(GateError, match="no setting is above"):
        choose(below, TIERS, SINGLES, Objective("ibc"))


def test_no_setting_below_a_mix_of_single_tiers_is_ever_chosen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = tuple(
            Point(float(c), float(q)) for c, q in zip(rng.uniform(1, 11, 8), rng.random(8), strict=True)
        )
        curve = Curve(tuple(CostWeight(float(k)) for k in range(8)), points)
        for objective in (
            Objective("keep", float(rng.uniform(0.5, 1))),
            Objective("budget", float(rng.uniform(1, 11))),
        ):
            point = choose(curve, TIERS, SINGLES, objective).point
            mix = 0.6 + 0.3 * (min(point.cost, 11.0) - 1) / 10
            assert point.quality >= mix - 1e-12


def test_without_a_curve_only_single_tiers_are_chosen() -> None:
    assert choose(NO_CURVE, TIERS, SINGLES, Objective("keep", 0.9)).setting == Always("large")
