"""The one loop, sans I/O: a policy decides, somebody else acts, the loop never knows who.

`ask` drives it with calls to models, tests drive it with recorded traces, and what is
measured on traces is therefore what happens live.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, NamedTuple, TypeVar

from automix_cli.pomdp.problem import Action, Facts, Observation, Policy

B = TypeVar("B")


class Turn(NamedTuple, Generic[B]):
    """An action to carry out, and the belief it was chosen at."""

    action: Action
    belief: B


def rollout(policy: Policy[B], facts: Facts = Facts()) -> Generator[Turn[B], Observation, Turn[B]]:  # noqa: B008
    """Run one question: yields actions, receives observations, returns the final action.

    Example:
        >>> from automix_cli.pomdp.problem import MajorityPolicy
        >>> run = rollout(MajorityPolicy(tiers=2, max_votes=0))
        >>> next(run).action
        Action(kind='start', tier=0, votes=0)
        >>> run.send(Observation()).action
        Action(kind='escalate', tier=1, votes=0)
    """
    belief = policy.begin(facts)
    action = policy.action(belief)
    while not action.final:
        observation = yield Turn(action, belief)
        belief = policy.update(belief, action, observation)
        action = policy.action(belief)
    return Turn(action, belief)
