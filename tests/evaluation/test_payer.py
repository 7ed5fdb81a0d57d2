"""Which tier is the baseline, what is saved, and when the labelled rows are paid back."""

from __future__ import annotations

import pytest

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.payer import Baseline, CostAndQuality, Offer, choose_baseline, make_offer

TIERS = {
    "small": CostAndQuality(0.001, 0.6),
    "medium": CostAndQuality(0.004, 0.9),
    "large": CostAndQuality(0.010, 0.8),
}


def points(*tiers: tuple[float | None, float | None]) -> dict[str, CostAndQuality]:
    return {name: CostAndQuality(*pair) for name, pair in zip("abc", tiers, strict=False)}


@pytest.mark.parametrize(
    ("tiers", "wish", "expected"),
    [
        (points((1, 0.5), (9, 0.9)), None, ("b", 9, "")),
        (points((1, 0.9), (9, 0.9)), None, ("b", 9, "")),
        (points((1, 0.91), (9, 0.9)), None, ("a", 1, "the best single tier")),
        (points((1, 0.5), (4, 0.9), (9, 0.8)), None, ("b", 4, "the best single tier")),
        (points((1, 0.5), (9, 0.9), (4, 0.8)), None, ("b", 9, "")),
        (points((9, None), (1, None)), None, ("a", 9, "")),
        (points((1, 0.5), (None, 0.9)), None, ("b", None, "")),
        (points((None, 0.9), (2, 0.5)), None, ("a", None, "the best single tier")),
        (points((1, 0.5), (1, 0.5)), None, ("b", 1, "")),
        (points((1, 0.5), (9, 0.9)), "a", ("a", 1, "")),
    ],
)
def test_the_baseline_is_the_dearest_tier_unless_another_is_better_or_named(
    tiers: dict[str, CostAndQuality], wish: str | None, expected: tuple[str, float | None, str]
) -> None:
    assert choose_baseline(tiers, wish) == Baseline(*expected)


@pytest.mark.parametrize(
    ("cost", "baseline", "rows_cost", "questions"),
    [
        (0.003, 0.005, 1.0, 500),
        (0.003, 0.005, 1.0011, 501),
        (0.003, 0.005, 0.0, 0),
        (0.005, 0.005, 1.0, None),
        (0.006, 0.005, 1.0, None),
        (None, 0.005, 1.0, None),
        (0.003, None, 1.0, None),
        (0.003, 0.005, None, None),
    ],
)
def test_labelled_rows_are_paid_back_by_what_is_saved(
    cost: float | None, baseline: float | None, rows_cost: float | None, questions: int | None
) -> None:
    offer = Offer(
        subject="Routing", cost=cost, baseline=Baseline("large", baseline), rows=9, rows_cost=rows_cost
    )
    assert offer.payback == questions


def test_an_offer_takes_cost_and_gain_of_its_policy_beside_the_baseline() -> None:
    policies = {"pomdp": CostAndQuality(0.003, 0.85), **{f"always:{n}": p for n, p in TIERS.items()}}
    gains = {("pomdp", "medium"): Measure(-5.0), ("always:small", "large"): Measure(-20.0)}
    routed = make_offer("pomdp", policies, tuple(TIERS), gains)
    assert (routed.subject, routed.tier, routed.cost) == ("Routing", None, 0.003)
    assert routed.baseline == Baseline("medium", 0.004, "the best single tier")
    assert (routed.gain, routed.is_baseline) == (Measure(-5.0), False)
    single = make_offer("always:small", policies, tuple(TIERS), gains, baseline="large")
    assert (single.subject, single.tier, single.cost) == ("small alone", "small", 0.001)
    assert (single.gain, single.is_baseline) == (Measure(-20.0), False)
    assert make_offer("always:medium", policies, tuple(TIERS), gains).is_baseline
