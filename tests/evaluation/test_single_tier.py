"""What is a single tier, however it is set: one definition for calibrate and bench."""

from __future__ import annotations

import numpy as np
import pytest
from known import table_of

from automix_cli.evaluation.charges import single_tier
from automix_cli.evaluation.replay import replay
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import AlwaysPolicy, ThresholdPolicy

STEP = {"votes": [1, 0], "cost": 1.0, "vote_cost": 0.1}


def rows(failed: bool) -> list[dict]:
    own = [{"s": {**STEP, "score": i % 2}, "l": {"score": 1, "cost": 9.0}} for i in range(4)]
    if failed:
        own[1]["s"] = {"failed": "filtered", "cost": 1.0}
    return [{"tiers": tiers} for tiers in own]


@pytest.mark.parametrize(
    ("policy", "failed", "tier"),
    [
        (AlwaysPolicy(2, 0), False, 0),
        (AlwaysPolicy(2, 1), False, 1),
        (AlwaysPolicy(2, 1), True, 1),
        (AlwaysPolicy(2, 0), True, None),  # it goes on where there is no answer
        (ThresholdPolicy.single(tiers=2, votes=2, cut=-1.0), False, None),  # it buys votes
        (ThresholdPolicy.single(tiers=2, votes=0, cut=2.0), False, None),  # it pays for both tiers
    ],
    ids=["small", "large", "large, small fails", "small fails", "votes", "always escalates"],
)
def test_a_single_tier_is_what_asks_one_tier_on_every_row_and_does_no_more(
    policy: Policy, failed: bool, tier: int | None
) -> None:
    run = replay(policy, table_of(rows(failed), tiers=["s", "l"]))
    assert single_tier(run) == tier
    assert np.isfinite(run.cost).all()
