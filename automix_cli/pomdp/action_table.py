"""The actions that plans may take: their numbers, their costs, and which of equals comes first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.histories import Histories, PlanStep
from automix_cli.pomdp.model import Cost, Model
from automix_cli.pomdp.problem import Action

NO_ACTION = -1
"""Stands for an action where a plan does not get to."""


class ActionTable(NamedTuple):
    """The actions of one model; models with the same histories number them alike.

    Costs have a line each: the fixed dollars, and those for each token of the prompt.

    Attributes:
        actions: every one that a plan may take.
        codes: their numbers.
        costs: of the actions.
        vote_costs: of one vote, per tier.
        round_costs: of a round of no votes, per tier.
        outline: of the histories, see `Histories.outline`.
    """

    actions: tuple[Action, ...]
    codes: Mapping[Action, int]
    costs: Floats
    vote_costs: Floats
    round_costs: Floats
    outline: Hashable

    @classmethod
    def of(cls, histories: Histories) -> ActionTable:
        """The actions that are legal at some history.

        In a tie between equal charges report wins, then abstain, start, escalate, and vote.
        """
        model, tiers = histories.model, range(len(histories.model.tiers))
        actions = [Action("report", tier) for tier in tiers]
        actions += [Action("abstain"), *(Action("start", tier) for tier in tiers)]
        actions += [Action("escalate", tier) for tier in tiers]
        actions += [Action("vote", tier, m) for tier in tiers for m in _rounds(histories, tier)]
        return cls(
            actions=tuple(actions),
            codes={action: code for code, action in enumerate(actions)},
            costs=_lines([model.charge(action) for action in actions]),
            vote_costs=_lines([own.vote for own in model.tiers]),
            round_costs=_lines([_prompt_of_round(model, tier) for tier in tiers]),
            outline=histories.outline,
        )

    def order(self, tokens: float) -> Ints:
        """The numbers in the order of preference: in a tie the cheaper action wins, then the lower number."""
        return np.argsort(self.costs @ (1.0, tokens), kind="stable")


def _rounds(histories: Histories, tier: int) -> list[int]:
    """The sizes of all rounds that are legal at a tier."""
    levels = histories.table(PlanStep(tier, tier)).levels
    return sorted({votes for level in levels for votes, _, _ in level.rounds})


def _prompt_of_round(model: Model, tier: int) -> Cost:
    return model.charge(Action("vote", tier, 0))


def _lines(costs: Sequence[Cost]) -> Floats:
    return np.array(costs, dtype=float).reshape(-1, 2)
