"""Plans for several prices of quality, lengths and priors at once, kept as far as they are followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.action_table import ActionTable
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.histories import Histories, Root, TierPath
from automix_cli.pomdp.induction import PlanTask, solve_tasks
from automix_cli.pomdp.length_grid import ValueLine
from automix_cli.pomdp.outlook import StateValues, spending, state_values
from automix_cli.pomdp.reach import Reach, reach


class PlanCase(NamedTuple):
    """What plans are solved for: prompt tokens, and where they begin."""

    tokens: float
    root: Root = Root()


class SolvedPlans(NamedTuple):
    """P plans that were solved in one pass, and what was found out about them.

    Attributes:
        histories: the histories that they tell apart, with the numbers of the first of their models.
        actions: of the same model; all number them alike.
        reaches: by path, what they do where they get to.
        spending: P, dollars that each plan is expected to cost on a question.
        line: P, what each plan is worth, and how that falls with each token of the prompt.
        values: what they bring per state; None where questions of one length have one plan.
    """

    histories: Histories
    actions: ActionTable
    reaches: dict[TierPath, Reach]
    spending: Floats
    line: ValueLine
    values: StateValues | None = None


def solve_cases(tasks: Sequence[PlanTask]) -> SolvedPlans:
    """Solve tasks of one kind in one pass over the histories, which is much quicker.

    Tasks of one model stand together. All of them begin before any call.
    """
    plans = solve_tasks(tasks)
    reaches = reach(plans)
    cost = spending(plans, reaches)
    return SolvedPlans(
        histories=plans.histories,
        actions=plans.actions,
        reaches=reaches,
        spending=cost.dollars,
        line=ValueLine(plans.root_values(), np.concatenate([t.weights for t in tasks]) * cost.per_token),
        values=state_values(plans, reaches) if any(t.histories.root.logits for t in tasks) else None,
    )
