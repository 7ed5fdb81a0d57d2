"""The reason why routing does not pay, in figures of the rows."""

from __future__ import annotations

import pytest
from known import draw_table, two_tiers

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.payer import Baseline, Offer
from automix_cli.views.why_not_words import Obstacle, obstacle, why_not_lines, why_not_words

COST = "Why: small and 8 votes cost 0.4 × what large costs, with one vote 0.2 ×"
DOES = "it does as well as large on 70 % of these rows"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"whole": 1.55, "least": 1.1},
            "Why: small and 8 votes cost 1.55 × what large costs, with one vote 1.1 ×: "
            "nothing is left to save.",
        ),
        (
            {"enough": 0.15},
            f"{COST}, and does as well as large on 15 % of these rows only: even a perfect verifier "
            "would save nothing.",
        ),
        (
            {"auroc": 0.55},
            f"{COST}; {DOES}, but its votes tell too little which ones "
            "(AUROC 0.55, where 0.5 is chance and 1 is perfect).",
        ),
        (
            {"auroc": 0.9},
            f"{COST}; {DOES}, but its votes tell which ones not "
            "surely enough for what was asked (AUROC 0.90, where 0.5 is chance and 1 is perfect).",
        ),
        (
            {"votes": 0, "whole": 0.2, "signal": "logprob", "auroc": 0.6},
            f"Why: small costs 0.2 × what large costs; {DOES}, but its "
            "confidence tells too little which ones (AUROC 0.60, where 0.5 is chance and 1 is perfect).",
        ),
        (
            {"votes": 1, "whole": 0.2, "auroc": None},
            f"Why: small and 1 vote cost 0.2 × what large costs; {DOES}, "
            "but nothing that is recorded tells which ones.",
        ),
    ],
    ids=["costs", "seldom right", "votes tell little", "asked too much", "confidence", "no signal"],
)
def test_the_reason_is_the_one_that_the_figures_give(changes: dict[str, object], sentence: str) -> None:
    own = Obstacle("small", "large", 8, 0.4, 0.2, 0.7, "votes", 0.55)
    assert why_not_words(own._replace(**changes)) == sentence


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 100, 0)


def offer(tier: str, baseline: str = "medium") -> Offer:
    return Offer(subject=tier, tier=tier, cost=1.0, baseline=Baseline(baseline, 1.0))


def test_the_figures_are_those_of_the_rows(table: TraceTable) -> None:
    priced = table.with_costs({"small": 2.0, "medium": 20.0}, {"small": 0.5})
    own = obstacle(priced, "small", "medium")
    assert own is not None
    assert own.votes == 6
    assert own.whole == pytest.approx((2 + 6 * 0.5) / 20)
    assert own.least == pytest.approx((2 + 0.5) / 20)
    assert own.enough == pytest.approx((table.score[:, 0] >= table.score[:, 1]).mean())


def test_a_reason_is_given_where_a_cheaper_tier_is_there_whose_cost_can_be_compared(
    table: TraceTable,
) -> None:
    assert len(why_not_lines(offer("medium"), table)) == 1
    assert why_not_lines(offer("small", "small"), table) == [], "nothing is cheaper"
    assert why_not_lines(offer("small"), table) == [], "not what is compared with"
    assert why_not_lines(offer("medium"), table.with_costs({"small": 1.0, "medium": 0.0})) == []
