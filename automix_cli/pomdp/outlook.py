"""What plans are expected to cost and to bring, from the histories that they get to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.histories import TierPath
from automix_cli.pomdp.induction import Columns, Induction, PlanTask
from automix_cli.pomdp.reach import Reach


class Spending(NamedTuple):
    """What W plans are expected to cost on a question: dollars, and of these for each prompt token."""

    dollars: Floats
    per_token: Floats


class StateValues(NamedTuple):
    """What W plans bring per state of a question, W×2^N: linear in its prior and in its prompt tokens.

    Attributes:
        tokens: W, the prompt tokens that `value` is for.
        value: expected score less weighted cost.
        fall: how much each further token takes off it.
    """

    tokens: Floats
    value: Floats
    fall: Floats

    def take(self, places: Ints) -> StateValues:
        """The same of some plans."""
        return StateValues(*(own[places] for own in self))

    def of(self, priors: Floats, tokens: Floats) -> Floats:
        """The worth of each plan to n questions, W×n, by their priors (n×2^N) and prompt tokens (n)."""
        worth: Floats = self.value @ priors.T
        if self.fall.any():
            worth = worth - (self.fall @ priors.T) * (tokens - self.tokens[:, None])
        return worth


def chances(plans: Induction, path: TierPath, own: Reach) -> Floats:
    """The chance to meet each history of a path under the model; C×R."""
    tables, columns = plans.finals.tables, own.columns
    root = plans.of_groups(
        tables[plans.histories.start].weight[:1, :1], Columns(columns.plan, 0 * columns.plan)
    )
    return np.asarray(own.ways * (plans.of_groups(tables[path].weight, columns) / root))


def spending(plans: Induction, reaches: Mapping[TierPath, Reach]) -> Spending:
    """What each plan is expected to cost on a question, under the model."""
    costs = np.array([[*task.actions.costs, (0.0, 0.0)] for task in plans.tasks])  # at last, of `NO_ACTION`
    sizes = [len(task.weights) for task in plans.tasks]
    task, lengths = (np.repeat(own, sizes) for own in (range(len(sizes)), [t.tokens for t in plans.tasks]))
    fixed, per_token = np.zeros((2, plans.size))
    for path, own in reaches.items():
        if plans.histories.is_end(path):
            continue  # nothing has a charge there
        plan, chance = own.columns.plan, chances(plans, path, own)
        each = costs[task[plan], own.choice]
        for total, cost in ((fixed, each[..., 0]), (per_token, each[..., 1])):
            total += np.bincount(plan, (chance * cost).sum(axis=0), plans.size)
    return Spending(fixed + per_token * lengths, per_token)


def state_values(plans: Induction, reaches: Mapping[TierPath, Reach]) -> StateValues:
    """What each plan brings in each state, where they begin before any call."""
    each, first = list[StateValues](), 0
    for _, tasks in groupby(plans.tasks, lambda task: id(task.histories.model)):
        own = [*tasks]
        last = first + sum(len(task.weights) for task in own)
        each.append(_state_values(own, {path: one.of_plans(first, last) for path, one in reaches.items()}))
        first = last
    return StateValues(*map(np.concatenate, zip(*each, strict=True)))


def _state_values(tasks: Sequence[PlanTask], reaches: Mapping[TierPath, Reach]) -> StateValues:
    """The same of tasks of one model."""
    histories, sizes = tasks[0].histories, [len(task.weights) for task in tasks]
    weights, tokens = np.concatenate([t.weights for t in tasks]), np.repeat([t.tokens for t in tasks], sizes)
    value, fall = np.zeros((2, len(weights), 2 ** len(histories.model.tiers)))
    payoffs = _payoffs(tasks[0])
    costs = np.array([*tasks[0].actions.costs, (0.0, 0.0)])  # at last, of `NO_ACTION`
    for path, own in reaches.items():
        plan, before = own.columns
        fixed, per_token = costs[own.choice].transpose(2, 0, 1) * weights[plan]
        charge, chance = fixed + per_token * tokens[plan], histories.likelihood(path)
        chance_before = histories.chances_before(path)[before]
        for state in range(value.shape[1]):
            times = own.ways * chance[:, state, None] * chance_before[:, state]
            gain = (times * (payoffs[state][own.choice] - charge)).sum(axis=0)
            value[:, state] += np.bincount(plan, gain, len(weights))
            fall[:, state] += np.bincount(plan, (times * per_token).sum(axis=0), len(weights))
    return StateValues(tokens, value, fall)


def _payoffs(task: PlanTask) -> Floats:
    """What each action brings, and at last what `NO_ACTION` does: nothing; 2^N×actions."""
    each = [task.histories.model.payoff(action) for action in task.actions.actions]
    return np.array([*each, np.zeros(len(each[0]))]).T
