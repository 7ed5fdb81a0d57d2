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
            f"{COST}; {DOES}, but its votes do not tell which ones surely enough for what was asked "
            "(AUROC 0.90, where 0.5 is chance and 1 is perfect); with all of them at most 30 % could be "
            "saved.",
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
        (
            {
                "whole": 4.52,
                "least": 0.579,
                "auroc": 1.0,
                "fewer": 1,
                "fewer_cost": 0.579,
                "fewer_auroc": 0.7,
            },
            f"Why: small and 8 votes cost 4.52 × what large costs, with one vote 0.579 ×; {DOES}. All 8 "
            "votes tell which ones (AUROC 1.00, where 0.5 is chance and 1 is perfect), but at 4.52 × they "
            "cost more than they can save; 1 vote, the most that can save anything, with the answer cost "
            "0.579 × and "
            "tells too little (AUROC 0.70).",
        ),
        (
            {"whole": 0.9, "auroc": 0.9, "fewer": 5, "fewer_cost": 0.66, "fewer_auroc": 0.88},
            f"Why: small and 8 votes cost 0.9 × what large costs, with one vote 0.2 ×; {DOES}. All 8 votes "
            "tell which ones (AUROC 0.90, where 0.5 is chance and 1 is perfect), but at 0.9 × they cost more "
            "than they can save; 5 votes, the most that can save anything, with the answer cost 0.66 × and "
            "tell not surely enough for what was asked (AUROC 0.88).",
        ),
        (
            {"whole": 4.52, "least": 0.69, "auroc": 1.0, "fewer": 1, "fewer_cost": 0.69, "fewer_auroc": 1.0},
            f"Why: small and 8 votes cost 4.52 × what large costs, with one vote 0.69 ×; {DOES}. All 8 "
            "votes tell which ones (AUROC 1.00, where 0.5 is chance and 1 is perfect), but at 4.52 × they "
            "cost more than they can save; 1 vote, the most that can save anything, with the answer cost "
            "0.69 × and tells as much, but the 1 % that could be saved at most are not sure on these rows.",
        ),
        (
            {"auroc": 1.0},
            f"{COST}; {DOES}, but though its votes tell which ones (AUROC 1.00, where 0.5 is chance and 1 is "
            "perfect), the 50 % that could be saved at most are not sure on these rows.",
        ),
    ],
    ids=[
        *("costs", "seldom right", "votes tell little", "asked too much", "confidence", "no signal"),
        *("one vote of eight pays", "some votes pay", "one vote tells all", "perfect and cheap"),
    ],
)
def test_the_reason_is_the_one_that_the_figures_give(changes: dict[str, object], sentence: str) -> None:
    own = Obstacle("small", "large", 8, 0.4, 0.2, 0.7, "votes", 0.55, 8)
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


def test_what_fewer_votes_cost_and_tell_is_what_one_drawn_vote_does(table: TraceTable) -> None:
    enough = float((table.score[:, 0] >= table.score[:, 1]).mean())
    priced = table.with_costs({"small": 0.0, "medium": 10.0}, {"small": 10.0 * enough / 1.5})
    own = obstacle(priced, "small", "medium")
    assert own is not None
    assert (own.fewer, own.fewer_cost) == (1, pytest.approx(enough / 1.5))
    parsed = table.votes[:, 0, :2].sum(axis=1) > 0
    share = table.votes[parsed, 0, 0] / table.votes[parsed, 0, :2].sum(axis=1)
    right = table.score[parsed, 0] >= 0.5
    # Two single votes differ by chance p (1 - q) and q (1 - p), so that AUROC is 1/2 + (p - q)/2.
    assert own.fewer_auroc == pytest.approx(0.5 + (share[right].mean() - share[~right].mean()) / 2)
    whole = obstacle(table.with_costs({"small": 0.0, "medium": 10.0}, {"small": 1e-9}), "small", "medium")
    assert whole is not None
    assert (whole.fewer, whole.fewer_auroc) == (whole.votes, pytest.approx(whole.auroc))


def test_a_reason_is_given_where_a_cheaper_tier_is_there_whose_cost_can_be_compared(
    table: TraceTable,
) -> None:
    assert len(why_not_lines(offer("medium"), table)) == 1
    assert why_not_lines(offer("small", "small"), table) == [], "nothing is cheaper"
    assert why_not_lines(offer("small"), table) == [], "not what is compared with"
    assert why_not_lines(offer("medium"), table.with_costs({"small": 1.0, "medium": 0.0})) == []
