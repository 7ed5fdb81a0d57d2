"""Policies that look at answers: threshold rules, the released rule of AutoMix, and the computed plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import NO_CURVE, Curve, crossfit
from automix_cli.evaluation.families import Family
from automix_cli.evaluation.objective import Objective, best_source, choose_each
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.policy_entry import (
    Group,
    Need,
    TrainedPolicy,
    question_texts,
    rows_or_all,
    several_tiers,
    some_signal,
    weight_of,
    without_settings,
)
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import CostWeight, Setting
from automix_cli.evaluation.split import QuestionReader, Split
from automix_cli.fitting.classes import sources_of
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.query_router_kinds import ClassChoice, ClassSource
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.problem import Policy


@dataclass(frozen=True, slots=True)
class RuleFamily:
    """A family of rules: cross-fitted curve, one policy per setting.

    Attributes:
        name: as the results call it.
        family: the family for a split.
        needs: what it needs of the rows.
    """

    name: str
    family: Callable[[Split], Family]
    needs: tuple[Need, ...] = (several_tiers, some_signal)
    group: Group = "rule"

    def train(self, split: Split) -> TrainedPolicy:
        """Cross-fit the curve; each setting that is played is fitted on all training rows."""
        family = self.family(split)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            policy = family.policy(split.train, setting)
            return replay(policy, split.test, rows, abstain_value=split.abstain_value)

        return TrainedPolicy(_curve(split, family), play)


def _curve(split: Split, family: Family, table: TraceTable | None = None) -> Curve:
    """Cross-fit on the training rows, in the form in which the policy sees them."""
    if not split.can_crossfit:
        return NO_CURVE
    rows = split.train if table is None else table
    return crossfit(rows, family, seed=split.seed, options=split.options)


def _plan_family(split: Split, at_once: bool = False) -> PlanFamily:
    return PlanFamily(settings=split.settings, at_once=at_once, grid=split.options.grid)


@dataclass(frozen=True, slots=True)
class Pomdp:
    """The fitted model's exact plans; `at_once`: all votes of a tier in one round."""

    at_once: bool = False
    group: Group = "pomdp"

    @property
    def name(self) -> str:
        """As the results call it."""
        return "pomdp:all-at-once" if self.at_once else "pomdp"

    @property
    def needs(self) -> tuple[Need, ...]:
        """A choice of tiers; without any signal all votes at once are the same as `pomdp`."""
        return (several_tiers, some_signal) if self.at_once else (several_tiers,)

    def train(self, split: Split) -> TrainedPolicy:
        """Fit once; a plan per setting."""
        settings = replace(split.settings, batch=()) if self.at_once else split.settings
        plans = _LastPlan(fit(split.train, split.settings), settings)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            return replay(plans.policy(setting), split.test, rows, abstain_value=split.abstain_value)

        curve = _curve(split, _plan_family(split, self.at_once))
        return TrainedPolicy(curve, play, path=True, policy=plans.policy)


class _LastPlan:
    """The policy of the setting that was played last: its plans serve again where it is played again."""

    def __init__(self, parameters: Fitted, settings: Settings) -> None:
        self._parameters, self._settings = parameters, settings
        self._last: tuple[Setting, Policy[Any]] | None = None

    def policy(self, setting: Setting) -> Policy[Any]:
        if self._last is None or self._last[0] != setting:
            self._last = setting, self._parameters.policy(weight_of(setting), self._settings)
        return self._last[1]


class _ClassedRows(NamedTuple):
    """The training rows with their question classes, the router that reads them, and the curve they give."""

    table: TraceTable
    reader: QuestionReader | None
    curve: Curve


@dataclass(frozen=True, slots=True)
class PomdpQuery:
    """The union of both papers: the query-side router's class of a question supplies the prior.

    `query_router` is a kind of router, or `auto`: the one, or none, that serves the `objective` best on
    the training rows; its name then stands in the setting.
    """

    query_router: ClassChoice
    objective: Objective
    name: str = "pomdp+query"
    group: Group = "pomdp"
    needs: tuple[Need, ...] = (several_tiers, question_texts)

    def train(self, split: Split) -> TrainedPolicy:
        """Classes of training rows come from models that never saw their labels."""
        if not split.can_crossfit:
            return without_settings()
        each = {source: self._rows_with_classes(split, source) for source in sources_of(self.query_router)}
        source = self._best({source: rows.curve for source, rows in each.items()}, split)
        table, reader, curve = each[source]
        plans = _LastPlan(fit(table, split.settings), split.settings)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            test, classes = split.test, np.zeros(len(split.test), dtype=np.intp)
            if reader is not None:
                test, classes[rows_or_all(test, rows)] = reader.test, reader.read(rows)[1]
            policy = plans.policy(setting)
            return replay(policy, test, rows, question_classes=classes, abstain_value=split.abstain_value)

        if self.query_router == "auto":
            settings = tuple(CostWeight(weight_of(setting), source) for setting in curve.settings)
            curve = curve._replace(settings=settings)
        return TrainedPolicy(curve, play, path=True)

    def _rows_with_classes(self, split: Split, source: ClassSource) -> _ClassedRows:
        reader, table = None, split.train
        if source != "none":
            reader = split.reader(source)
            table = replace(
                reader.train, question_classes=reader.fitted.classes, n_classes=reader.router.n_classes
            )
        return _ClassedRows(table, reader, _curve(split, _plan_family(split), table))

    def _best(self, curves: Mapping[ClassSource, Curve], split: Split) -> ClassSource:
        choices = choose_each(curves, split.train.tiers, split.alone, self.objective, split.resamples)
        return best_source(choices, split.alone.points(), self.objective)
