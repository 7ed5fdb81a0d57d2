"""The loop of every policy."""

from __future__ import annotations

import pytest

from automix_cli.pomdp.problem import Action, History, Observation, Visit, rollout
from automix_cli.pomdp.rules import MajorityPolicy


def test_the_loop_yields_actions_and_ends_with_the_final_one() -> None:
    run = rollout(MajorityPolicy(tiers=2, max_votes=1))
    assert next(run).action == Action("start", 0)
    assert run.send(Observation()).action == Action("vote", 0, 1)
    assert run.send(Observation(0, 1, 1)).action == Action("escalate", 1)
    with pytest.raises(StopIteration) as stop:
        run.send(Observation())
    assert stop.value.value.action == Action("report", 1)


def test_the_loop_hands_out_the_belief_each_action_was_chosen_at() -> None:
    run = rollout(MajorityPolicy(tiers=2, max_votes=1))
    assert next(run).belief == History()
    assert run.send(Observation()).belief == History((Visit(0),))
