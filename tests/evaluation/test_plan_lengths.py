"""Laws of plans that are solved for some cost_weights and some fits at a time."""

import numpy as np
from models import two_tiers
from msgspec.structs import replace

from automix_cli.evaluation.joint_plans import join
from automix_cli.evaluation.plan_lengths import PlannedRows, divide
from automix_cli.evaluation.plan_stock import PlanRequest, PlanStock, solve_requests
from automix_cli.pomdp.cost import Cost
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.plan_cases import PlanCase

SMALL, LARGE = two_tiers().tiers
MODEL = two_tiers(
    tiers=(
        replace(SMALL, answer=Cost(1e-5, 5e-6), vote=Cost(1e-5, 6e-6)),
        replace(LARGE, answer=Cost(1e-3, 1e-4)),
    )
)
OTHER = replace(MODEL, priors=((0.1, 0.1, 0.2, 0.6),))
WEIGHTS = np.geomspace(1, 2000, 24)
EVERY = np.arange(24)
CASES = [PlanCase(200.0), PlanCase(300.0)]


def assert_same(stock: PlanStock, other: PlanStock) -> None:
    for case in CASES:
        assert np.allclose(stock[case].line, other[case].line, rtol=0, atol=1e-12)
        assert np.allclose(stock[case].spending, other[case].spending, rtol=0, atol=1e-12)
        one, another = (join(own, [case], [EVERY]) for own in (stock, other))
        assert one.reaches.keys() == another.reaches.keys()
        for path, own in one.reaches.items():
            orders, others = (np.lexsort(r.columns[::-1]) for r in (own, another.reaches[path]))
            for array, same in zip(own[3:], another.reaches[path][3:], strict=True):
                assert np.array_equal(array[:, orders], same[:, others])


def test_plans_are_the_same_whichever_are_solved_together() -> None:
    whole, parts = (PlanStock(MODEL, WEIGHTS) for _ in range(2))
    solve_requests(PlanRequest(whole, case, EVERY) for case in CASES)
    for which in ([0, 4], [4, 5, 6], EVERY):
        solve_requests(PlanRequest(parts, case, np.array(which)) for case in CASES)
    assert_same(whole, parts)


def test_plans_of_several_models_are_those_of_each_alone() -> None:
    models = (MODEL, OTHER, replace(MODEL, tiers=(SMALL, LARGE)))
    together, alone = ([PlanStock(model, WEIGHTS) for model in models] for _ in range(2))
    solve_requests(PlanRequest(stock, case, EVERY) for case in CASES for stock in together)
    for stock, own in zip(together, alone, strict=True):
        solve_requests(PlanRequest(own, case, EVERY) for case in CASES)
        assert_same(stock, own)


def test_each_row_has_its_plans_at_both_ends_and_few_others_are_solved() -> None:
    tokens, stock = np.linspace(50, 900, 40), PlanStock(MODEL, WEIGHTS)
    (cells,) = divide([PlannedRows(stock, EVERY, tokens, {Root(): np.arange(40)})])
    times = np.zeros((24, 40), dtype=int)
    is_solved = {case: stock[case].is_solved for cell in cells for case in cell[2:4]}
    for cell in cells:
        times[np.ix_(cell.settings, cell.rows)] += 1
        assert is_solved[cell.low][cell.settings].all()
        assert is_solved[cell.high][cell.settings].all()
    assert np.all(times == 1)
    assert sum(own.sum() for own in is_solved.values()) < 0.7 * 24 * len(is_solved)
