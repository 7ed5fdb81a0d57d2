"""AutoMix's released rule, rebuilt: the same decisions as the package automix-llm.

The bit strings were computed with automix-llm 1.0.3 (NumPy 2.4, pandas 3.1, SciPy 1.17), its
`POMDP(num_bins=8)` trained by `Automix.train` with `cost_constraint=(least cost, inf)` on the
rows below, and written down here; the package itself is not imported. Each says, for 0, 1, …
votes that say CORRECT, whether the trained rule escalates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known import table_of

from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.evaluation.crossfit import Crossfit, crossfit
from automix_cli.evaluation.paper import PaperFamily
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import LeastCost


def rows(votes: int, n: int = 90, *, swapped: bool = False) -> list[dict[str, Any]]:
    """Rows made by arithmetic: more votes where the small tier does well; some scores between 0 and 1."""
    found = []
    for i in range(n):
        yes = (i * i + 3 * i) % (votes + 1)
        small = 1.0 if (7 * i) % (votes + 2) < yes else (0.25 if i % 7 == 0 else 0.0)
        large = 0.0 if (5 * i) % 9 == 0 else (0.5 if i % 11 == 0 else 1.0)
        small, large = (large, small) if swapped else (small, large)
        bag = [1] * yes + [0] * (votes - yes)
        found.append({"id": i, "tiers": {"small": {"score": small, "votes": bag}, "large": {"score": large}}})
    return found


def table(votes: int, dear: float, vote: float, *, swapped: bool = False) -> TraceTable:
    prices = {"small": 1.0, "large": dear}
    return table_of(
        rows(votes, swapped=swapped), tiers=("small", "large"), costs=prices, vote_costs={"small": vote}
    )


def decisions(family: PaperFamily, trained: TraceTable) -> list[str]:
    """For each least cost the decision at each number of CORRECT votes; equals in a row stand once."""
    found: list[str] = []
    for (rule,) in family.fit(trained).rules:
        votes = family.max_votes
        text = "".join("01"[rule.escalates_at(c / votes)] for c in range(votes + 1))
        if found[-1:] != [text]:
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("votes", "dear", "vote", "swapped", "recorded"),
    [
        (8, 50.0, 0.125, False, ["010000000", "110000000", "110010000", "110010010"]),
        (8, 10.0, 0.5, False, ["110010000"]),
        (5, 20.0, 0.125, False, ["100000", "111110"]),
        (
            10,
            50.0,
            0.1,
            False,
            ["10000000000", "10001000000", "10001001100", "10001011100", "10001011110", "10001011111"],
        ),
        (8, 20.0, 0.125, True, ["011000000", "110000000", "111110000", "111111111"]),
    ],
)
def test_it_decides_as_the_package_does(
    votes: int, dear: float, vote: float, swapped: bool, recorded: list[str]
) -> None:
    trained = table(votes, dear, vote, swapped=swapped)
    assert decisions(PaperFamily(max_votes=votes), trained) == recorded


def test_as_released_there_is_no_least_cost() -> None:
    trained = table(8, 50.0, 0.125)
    family = PaperFamily(max_votes=8)
    fitted = family.fit(trained)
    assert fitted.settings[0] == LeastCost(0.0)
    assert family.policy(trained, fitted.settings[0]) == fitted.policy(0)


def test_it_buys_all_votes_at_once_and_pays_for_them() -> None:
    trained = table(8, 50.0, 0.125)
    family = PaperFamily(max_votes=8)
    run = replay(family.policy(trained, LeastCost(0.0)), trained)
    share = trained.votes[:, 0, 0]
    assert (run.votes[:, 0] == 8).all()
    assert (run.rounds[:, 0] == 1).all()
    assert (run.escalated == (share == 1)).all()
    np.testing.assert_allclose(run.cost, 2.0 + 50.0 * (share == 1))


def test_a_least_cost_is_reached_in_training() -> None:
    trained = table(10, 50.0, 0.1)
    fitted = PaperFamily(max_votes=10).fit(trained)
    for place, setting in enumerate(fitted.settings):
        cost = replay(fitted.policy(place), trained).cost.mean()
        assert cost >= 1 + setting.share * 49


def test_a_confidence_that_costs_nothing_is_no_division_by_zero() -> None:
    """Never escalating then costs what the small tier costs: there the package compares with NaN."""
    found = rows(8)
    for row in found:
        small = row["tiers"]["small"]
        small["confidence"] = sum(small.pop("votes")) / 8
    free = table_of(found, tiers=("small", "large"), costs={"small": 1.0, "large": 50.0})
    family = PaperFamily(max_votes=8)
    run = replay(family.policy(free, LeastCost(0.0)), free)
    assert not run.votes.any()
    assert run.cost.mean() > 1


def test_equal_tiers_leave_nothing_to_rise_and_are_never_escalated() -> None:
    found = rows(8)
    for row in found:
        row["tiers"]["large"]["score"] = row["tiers"]["small"]["score"]
    same = table_of(
        found, tiers=("small", "large"), costs={"small": 1.0, "large": 9.0}, vote_costs={"small": 0.1}
    )
    run = replay(PaperFamily(max_votes=8).policy(same, LeastCost(0.0)), same)
    assert not run.escalated.any()


def test_a_vote_that_says_nothing_counts_as_wrong_in_fitting_where_no_other_speaks() -> None:
    found = rows(8)
    wrong = [row["tiers"]["small"] for row in found if not sum(row["tiers"]["small"]["votes"])]
    before = decisions(PaperFamily(max_votes=8), _priced(found))
    for small in wrong:
        small["votes"] = [None] * 8
    assert wrong
    assert decisions(PaperFamily(max_votes=8), _priced(found)) == before


def _priced(found: list[dict[str, Any]]) -> TraceTable:
    prices = {"small": 1.0, "large": 50.0}
    return table_of(found, tiers=("small", "large"), costs=prices, vote_costs={"small": 0.125})


def test_it_cross_fits_like_any_family() -> None:
    trained = table(8, 50.0, 0.125)
    curve = crossfit(trained, PaperFamily(max_votes=8), options=Crossfit(folds=3), seed=0)
    assert [s.share for s in curve.settings] == [k / 20 for k in range(20)]
    assert all(2 <= point.cost <= 52 + 1e-9 for point in curve.points)  # the votes alone; all of it


def test_it_knows_two_tiers_only() -> None:
    one = table(8, 50.0, 0.125).pick(["small"])
    for use in (PaperFamily(max_votes=8).fit, lambda t: PaperFamily(max_votes=8).policy(t, ())):
        with pytest.raises(UsageError, match="two tiers"):
            use(one)
