"""Families of policies: one policy per setting, fitted to a table.

`Family` declares what calibration and comparison need of any family. Here are the computed plans
(one per cost_weight) and the threshold rules (one per number of votes and cut).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.settings import CostWeight, DoubleThreshold, Setting, Threshold, narrow
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import Rule, ThresholdPolicy
from automix_cli.pomdp.signals import SIGNAL_FACTS

_LOWEST, _HIGHEST = 0.002, 4.0  # cost_weights, in units of 1/(c_dearest - c_cheapest)
_ALIKE = 4.0  # most ratio of the 95 % to the 5 % quantile of prompt lengths
_SAME_COST = 1e-9  # of the highest planned cost: plans that differ by less cost the same


class Candidate(NamedTuple):
    """A policy and its setting. Candidates with equal keys decide alike; a key None is like no other."""

    setting: Setting
    policy: Policy[Any]
    key: Hashable = None


class Family(Protocol):
    """Policies that are fitted alike and differ by their setting."""

    def with_cost_grid(self, table: TraceTable) -> Family:
        """Return the family with its grid of settings spaced for these rows; itself where it has no grid."""
        ...

    def candidates(self, table: TraceTable) -> list[Candidate]:
        """Fit to the rows, and return a policy per setting, in the same order for every table."""
        ...

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit to the rows, and return the policy of one setting."""
        ...


# ------------------------------------------------------------------ computed plans


@dataclass(frozen=True, slots=True, kw_only=True)
class CostGrid:
    """How finely cost_weights are searched.

    Attributes:
        weights: geometric steps from the lowest to the highest cost_weight.
        spending_steps: even steps of planned cost, of which settings are made; twice as many from
            `many_rows` on.
        many_rows: rows that bear the finer grid.
    """

    weights: int = 80
    spending_steps: int = 20
    many_rows: int = 2_000

    def steps_for(self, rows: int) -> int:
        """Return the steps of planned cost for a table of so many rows."""
        return self.spending_steps if rows < self.many_rows else 2 * self.spending_steps


COST_GRID = CostGrid()


def cost_weights(table: TraceTable, grid: CostGrid = COST_GRID) -> tuple[float, ...]:
    """Return weights to plan for: 0, then geometric steps from 0.002 to 4.

    The unit is 1/(c_dearest - c_cheapest). The 80 steps of the default grid are a tenth each: at
    steps of a fifth, half of the useful cuts of a continuous confidence fall between two settings.

    One tier, or tiers that cost the same, leave nothing to weigh but votes; the unit is then
    the dearest tier's cost itself, and with no cost at all only 0 is left.
    """
    costs = table.mean_cost
    span = float(costs.max() - costs.min()) or float(costs.max())
    if span <= 0:
        return (0.0,)
    return (0.0, *(float(w) / span for w in np.geomspace(_LOWEST, _HIGHEST, grid.weights)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PomdpFamily:
    """The fitted model's plans, one per cost_weight.

    Attributes:
        settings: what the profile decides.
        weights: the cost_weights; () for a family whose grid is not spaced yet.
        at_once: all votes of a tier in one round.
        spending: the planned cost of each weight on the rows that the grid was spaced for. A model
            fitted on other rows buys more or less at the same cost_weight: of its plans it takes
            those that spend the same, so that a setting means the same in every fold. () for
            plans at the weights as they are.
        grid: how finely cost_weights are searched.
    """

    settings: Settings
    weights: tuple[float, ...] = ()
    at_once: bool = False
    spending: tuple[float, ...] = ()
    grid: CostGrid = COST_GRID

    def _plan_settings(self) -> Settings:
        return replace(self.settings, batch=()) if self.at_once else self.settings

    def with_cost_grid(self, table: TraceTable) -> PomdpFamily:
        """Return the family with its cost_weight grid spaced by planned cost on these rows.

        The steps of planned cost are even, because among many settings that differ by little the
        luckiest would be chosen. Weights that were given stay as they are.
        """
        if self.weights or not len(table):
            return replace(self, weights=self.weights or (0.0,))
        path = CostPath(self._planner(table), cost_weights(table, self.grid), table)
        steps = self.grid.steps_for(len(table))
        targets = np.linspace(path.spending.min(), path.spending.max(), steps + 1)[::-1]
        places = sorted({path.nearest(float(cost)) for cost in targets})
        return replace(
            self,
            weights=tuple(path.weights[k] for k in places),
            spending=tuple(float(path.spending[k]) for k in places),
        )

    def candidates(self, table: TraceTable) -> list[Candidate]:
        """Fit, and plan for each setting; equal plans share their key."""
        planner = self._planner(table)
        if self.spending:
            path = CostPath(planner, cost_weights(table, self.grid), table)
            policies = [path.policy(path.nearest(cost)) for cost in self.spending]
        else:
            policies = [planner(weight) for weight in self.weights]
        return [
            Candidate(
                CostWeight(weight),
                policy,
                None if policy.counts_tokens else _decisions(policy, table.n_classes),
            )
            for weight, policy in zip(self.weights, policies, strict=True)
        ]

    def _planner(self, table: TraceTable) -> Callable[[float], PomdpPolicy]:
        """Return coarse plans of what is fitted to the rows: enough to choose a setting by."""
        parameters, one_length = fit(table, self.settings), table.n_classes > 1 or _alike_in_length(table)

        def plan(weight: float) -> PomdpPolicy:
            policy = parameters.policy(weight, self._plan_settings(), coarse=True)
            return _at_mean(policy) if one_length else policy

        return plan

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit, and plan for one cost_weight."""
        return fit(table, self.settings).policy(narrow(setting, CostWeight).value, self._plan_settings())


class CostPath:
    """Plans along some cost_weights, made when needed, and what each is expected to spend on a question."""

    def __init__(
        self, plan: Callable[[float], PomdpPolicy], weights: tuple[float, ...], table: TraceTable
    ) -> None:
        classes = np.zeros(1, dtype=np.intp) if table.question_classes is None else table.question_classes
        self._shares = np.bincount(classes, minlength=table.n_classes) / len(classes)
        self._plan, self._policies = plan, dict[int, PomdpPolicy]()
        self.weights = weights
        self.spending = self._spending(len(weights))

    def policy(self, place: int) -> PomdpPolicy:
        """Return the plan for one weight."""
        if place not in self._policies:
            self._policies[place] = self._plan(self.weights[place])
        return self._policies[place]

    def nearest(self, cost: float) -> int:
        """Return the place whose spending is nearest to a cost; of a run of equals the one in the middle."""
        gap = np.abs(self.spending - cost)
        equals = np.flatnonzero(gap <= gap.min() + _SAME_COST * self.spending.max())
        return int(equals[len(equals) // 2])

    def _cost(self, place: int) -> float:
        """Return the cost of a prompt of mean length; classes count as often as they stand in the rows."""
        policy = self.policy(place)
        mean = _at_mean(policy) if policy.counts_tokens else policy
        costs = [mean.forecast(Facts(question_class=c)).cost for c in range(len(self._shares))]
        return float(self._shares @ costs)

    def _spending(self, places: int) -> Floats:
        """Return the planned cost at every place, planning at as few of them as possible."""
        # Planned cost never rises with cost_weight. So where two plans spend the same, all plans
        # between them do, and only intervals whose ends differ need to be halved.
        costs: Floats = np.empty(places)
        costs[0], costs[-1] = self._cost(0), self._cost(places - 1)
        intervals = [(0, places - 1)]
        while intervals:
            low, high = intervals.pop()
            if costs[low] - costs[high] <= _SAME_COST * costs[0]:
                costs[low + 1 : high] = costs[low]
            elif high - low > 1:
                middle = (low + high) // 2
                costs[middle] = self._cost(middle)
                intervals += [(low, middle), (middle, high)]
        return costs


def _at_mean(policy: PomdpPolicy) -> PomdpPolicy:
    """Return one plan for a prompt of mean length, whatever the question."""
    return PomdpPolicy(policy.model.at_mean(), coarse=True)


def _decisions(policy: PomdpPolicy, n_classes: int) -> Hashable:
    """Return what the plans for all classes of questions do."""
    plans = (policy.plan(Facts(question_class=question_class)) for question_class in range(n_classes))
    return tuple(plan.decisions() for plan in plans)


def _alike_in_length(table: TraceTable) -> bool:
    """Tell whether prompts are so alike in length that one plan does for all to choose a setting.

    The policy of the setting that is chosen plans for each question's own length all the same.
    """
    tokens = table.prompt_tokens[~np.isnan(table.prompt_tokens)]
    if not len(tokens):
        return True
    low, high = np.quantile(tokens, (0.05, 0.95))
    return bool(high <= _ALIKE * low)


# ------------------------------------------------------------------ threshold rules


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdFamily:
    """Every number of votes and every cut; for a continuous confidence, cuts at the training rows' quantiles.

    Attributes:
        settings: what the profile decides.
        max_votes: the most votes that a rule buys.
        double: escalate between two cuts instead of below one.
    """

    settings: Settings
    max_votes: int
    double: bool = False

    def with_cost_grid(self, table: TraceTable) -> ThresholdFamily:
        """Return the family itself: its settings are the same on every table."""
        return self

    def candidates(self, table: TraceTable) -> list[Candidate]:
        """Return one policy per setting."""
        return [Candidate(setting, self.policy(table, setting)) for setting in self._rule_settings()]

    def _rule_settings(self) -> list[Setting]:
        if self.max_votes:
            pairs = [(n, c / n) for n in range(1, self.max_votes + 1) for c in range(n + 2)]
        else:
            pairs = [(0, k / 20) for k in range(22)]
        if not self.double:
            return [Threshold(n, cut) for n, cut in pairs]
        return [
            DoubleThreshold(n, low, high) for n, low in pairs for m, high in pairs if m == n and low < high
        ]

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Return the rule at each tier but the last."""
        if isinstance(setting, DoubleThreshold):
            votes, cuts = setting.votes, [setting.low, setting.high]
        else:
            votes, cuts = narrow(setting, Threshold).votes, [narrow(setting, Threshold).cut]
        rules = [self._rule(table, j, votes, cuts) for j in range(len(table.tiers) - 1)]
        return ThresholdPolicy(tuple(rules))

    def _rule(self, table: TraceTable, j: int, max_votes: int, cuts: Sequence[float]) -> Rule:
        if SIGNAL_FACTS[table.signals[j]].continuous:
            cuts = [_quantile(table.confidence[:, j], cut) for cut in cuts]
        votes = votes_to_buy(table, j, max_votes)
        return Rule(votes, tuple(cuts), (False, True, False) if self.double else (True, False))


def votes_to_buy(table: TraceTable, j: int, max_votes: int) -> int:
    """Return how many votes a rule buys on an answer of tier j; a verdict is bought as one vote."""
    return SIGNAL_FACTS[table.signals[j]].max_votes(min(max_votes, table.max_votes[j]))


def _quantile(values: Floats, share: float) -> float:
    """Return the value with this share of values below it; beyond the last for a share above 1."""
    present = values[~np.isnan(values)]
    if not len(present) or share > 1:
        return math.inf
    return float(np.quantile(present, share, method="higher"))
