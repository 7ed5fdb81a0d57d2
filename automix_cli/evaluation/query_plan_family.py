"""The computed plans beside their query-side router's own rule, as one family.

    QueryPlanFamily.fit(rows) ─▶ settings: one per plan, then one per cost_weight of the rule

Where a query-side router reads the questions, a plan that has its probabilities as a prior is one way to
follow it; to ask the tier that it names and report is another, and with routers whose probabilities are
poor the better one. Both are measured on the same rows, so that the choice of a setting weighs them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.families import COST_GRID, CostGrid, FittedFamily, SettingRows
from automix_cli.evaluation.plan_family import FittedPlans, PlanFamily
from automix_cli.evaluation.question_family import FittedQuestionRule, QuestionFamily
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.fitting.fit import tells_questions_apart
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.problem import Policy


class QueryPlanFamily(Struct, frozen=True, kw_only=True):
    """Plans, and where a router reads the questions its own rule, one policy per cost_weight of each.

    Attributes:
        settings: what the profile decides.
        grid: how finely cost_weights are searched.
    """

    settings: Settings
    grid: CostGrid = COST_GRID

    def fit(self, table: TraceTable) -> FittedFamily:
        """Fit the plans, and the rule where there is something that it can follow."""
        plans = self._plans.fit(table)
        if table.question_logits is None:
            return plans
        is_tried = tells_questions_apart(plans.parameters, table, self.settings)
        return FittedQueryPlans.of(plans, self._rule.fit(table), tries_rule=is_tried)

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit, and plan for one cost_weight, or return the rule of it."""
        family = self._rule if narrow(setting, CostWeight).rule else self._plans
        return family.policy(table, setting)

    @property
    def _plans(self) -> PlanFamily:
        return PlanFamily(settings=self.settings, grid=self.grid)

    @property
    def _rule(self) -> QuestionFamily:
        return QuestionFamily(settings=self.settings, grid=self.grid)


class FittedQueryPlans(Struct, frozen=True, eq=False):
    """The plans of one fit, then the rule's policies.

    Levels of plans are 0 or more. Those of the rule are the numbers below: -1 stands for its 0. The rule
    is tried where held-out rows are clearly likelier with what the router says of them; among many
    settings that tell questions apart by chance, some would look good by luck.

    Attributes:
        plans: fitted.
        rule: fitted.
        tries_rule: whether settings of the rule are compared with those of the plans.
        settings: those of the plans, then those of the rule.
    """

    plans: FittedPlans
    rule: FittedQuestionRule
    tries_rule: bool
    settings: tuple[Setting, ...]

    @classmethod
    def of(cls, plans: FittedPlans, rule: FittedQuestionRule, *, tries_rule: bool) -> FittedQueryPlans:
        """Put both side by side."""
        rules = (CostWeight(weight, rule="argmax") for weight in rule.weights)
        return cls(plans, rule, tries_rule, (*plans.settings, *rules))

    def levels(self) -> Floats:
        """Those of the plans, then those of the rule where it is tried."""
        rule_levels = self.rule.levels() if self.tries_rule else np.empty(0)
        return np.concatenate([self.plans.levels(), -1 - rule_levels])

    def places(self, levels: Floats) -> Ints:
        """The place of the setting that each level means in this fit."""
        places, is_plan = np.empty(len(levels), dtype=np.intp), levels >= 0
        places[is_plan] = self.plans.places(levels[is_plan])
        places[~is_plan] = self.rule.places(-1 - levels[~is_plan]) + len(self.plans.weights)
        return places

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        """Replay the settings at some places on some rows."""
        score, cost = np.empty((2, len(places), len(rows)))
        for is_own, family, own_places in self._parts(places):
            score[is_own], cost[is_own] = family.play(table, rows, own_places)
        return SettingRows(score, cost)

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """What each of these settings does on each row."""
        each = [(is_own, family.runs(table, rows, own)) for is_own, family, own in self._parts(places)]
        for k in range(len(places)):
            yield next(run for is_own, runs in each if is_own[k] for run in runs)

    def policy(self, place: int) -> Policy[Any]:
        """The policy of a setting."""
        _, family, (own_place,) = next(self._parts(np.array([place])))
        return family.policy(int(own_place))

    def decisions(self, place: int) -> Hashable:
        """Those of a plan, or the setting of the rule."""
        return self.plans.decisions(place) if place < len(self.plans.weights) else self.settings[place]

    def _parts(self, places: Ints) -> Iterator[tuple[Bools, FittedFamily, Ints]]:
        """Which of the places are of each family, and where they are in it; only families with some."""
        start = len(self.plans.weights)
        is_plan = places < start
        if is_plan.any():
            yield is_plan, self.plans, places[is_plan]
        if not is_plan.all():
            yield ~is_plan, self.rule, places[~is_plan] - start
