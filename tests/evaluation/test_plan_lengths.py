"""Laws of plans that are solved for some cost_weights at a time."""

from dataclasses import replace

import numpy as np
from models import two_tiers

from automix_cli.evaluation.plan_lengths import PlansByLength
from automix_cli.pomdp.cost import Cost
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.induction import PlanCase

SMALL, LARGE = two_tiers().tiers
MODEL = two_tiers(
    tiers=(
        replace(SMALL, answer=Cost(1e-5, 5e-6), vote=Cost(1e-5, 6e-6)),
        replace(LARGE, answer=Cost(1e-3, 1e-4)),
    )
)
WEIGHTS = np.geomspace(1, 2000, 24)
EVERY = np.arange(24)
CASES = [PlanCase(200.0), PlanCase(300.0)]


def test_plans_are_the_same_whichever_are_solved_together() -> None:
    whole, parts = (PlansByLength(MODEL, WEIGHTS, EVERY) for _ in range(2))
    whole.solve((case, EVERY) for case in CASES)
    for which in ([0, 4], [4, 5, 6], EVERY):
        parts.solve((case, np.array(which)) for case in CASES)
    for case in CASES:
        one, other = whole.plans(case), parts.plans(case)
        assert np.allclose(one.line, other.line, rtol=0, atol=1e-12)
        assert np.allclose(one.spending, other.spending, rtol=0, atol=1e-12)
        for path, ways in one.orders.items():
            assert np.array_equal(ways, other.orders[path])


def test_each_row_has_its_plans_at_both_ends_and_few_others_are_solved() -> None:
    tokens = np.linspace(50, 900, 40)
    plans = PlansByLength(MODEL, WEIGHTS, EVERY)
    cells = list(plans.cells(tokens, {Root(): np.arange(40)}, EVERY))
    times = np.zeros((24, 40), dtype=int)
    is_solved = {case: plans.plans(case).orders[()][:, 0, 0] > 0 for cell in cells for case in cell[2:4]}
    for cell in cells:
        times[np.ix_(cell.settings, cell.rows)] += 1
        assert is_solved[cell.low][cell.settings].all()
        assert is_solved[cell.high][cell.settings].all()
    assert np.all(times == 1)
    assert sum(own.sum() for own in is_solved.values()) < 0.7 * 24 * len(is_solved)
