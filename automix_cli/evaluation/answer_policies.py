"""Policies that look at answers: threshold rules, the released rule of AutoMix, and the computed plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.crossfit import Curve, crossfit
from automix_cli.evaluation.families import Family, FittedFamily
from automix_cli.evaluation.objective import Objective, best_source, choose_each
from automix_cli.evaluation.own_time import clock, decision_seconds
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.policy_entry import (
    Group,
    Need,
    TrainedPolicy,
    question_texts,
    several_tiers,
    some_signal,
    without_settings,
)
from automix_cli.evaluation.query_plan_family import QueryPlanFamily
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.evaluation.split import QuestionReader, Split
from automix_cli.fitting.classes import sources_of
from automix_cli.fitting.query_router_kinds import ClassChoice, ClassSource
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.tilt import logit


class _FamilyPlayer:
    """A fitted family on the held-out rows; the policy that was used last is kept, with its plans."""

    def __init__(self, fitted: FittedFamily, split: Split, test: TraceTable) -> None:
        self.fitted, self.split, self.test = fitted, split, test
        self._last: tuple[int, Policy[object]] | None = None

    def policy(self, setting: Setting) -> Policy[object]:
        """The policy of a setting."""
        place = self._place(setting)
        if self._last is None or self._last[0] != place:
            self._last = place, self.fitted.policy(place)
        return self._last[1]

    def play(self, setting: Setting, rows: Ints | None) -> Replayed:
        """Replay a setting."""
        return replay(self.policy(setting), self.test, rows, abstain_value=self.split.abstain_value)

    def play_all(self, settings: Sequence[Setting]) -> Iterator[RowOutcomes]:
        """Replay settings on all held-out rows, in one array pass."""
        places = np.array([self._place(setting) for setting in settings], dtype=np.intp)
        return self.fitted.runs(self.test, np.arange(len(self.test)), places)

    def seconds(self, setting: Setting, row: int) -> float:
        """Time the decisions on one row."""
        return decision_seconds(self.policy(setting), self.test, row)

    def _place(self, setting: Setting) -> int:
        if isinstance(setting, CostWeight):  # the source of classes is no part of the plan
            setting = CostWeight(setting.value, rule=setting.rule)
        return self.fitted.settings.index(setting)


def _crossfit(split: Split, family: Family, fitted: FittedFamily, table: TraceTable) -> Curve:
    """Cross-fit on the training rows, in the form in which the policy sees them."""
    return crossfit(table, family, seed=split.seed, options=split.options, whole=fitted)


class RuleFamily(Struct, frozen=True):
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
        """Cross-fit the curve; the settings that are played are fitted to all training rows."""
        if not split.can_crossfit:
            return without_settings()
        family = self.family(split)
        fitted = family.fit(split.train)
        player = _FamilyPlayer(fitted, split, split.test)
        curve = _crossfit(split, family, fitted, split.train)
        return TrainedPolicy(curve, player.play, play_all=player.play_all, seconds=player.seconds)


def _plan_family(split: Split, at_once: bool = False) -> PlanFamily:
    return PlanFamily(settings=split.settings, at_once=at_once, grid=split.options.grid)


class Pomdp(Struct, frozen=True):
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
        if not split.can_crossfit:
            return without_settings()
        family = _plan_family(split, self.at_once)
        fitted = family.fit(split.train)
        player = _FamilyPlayer(fitted, split, split.test)

        def plan(setting: Setting) -> PomdpPolicy | None:
            policy = player.policy(setting)
            return policy if isinstance(policy, PomdpPolicy) else None

        return TrainedPolicy(
            _crossfit(split, family, fitted, split.train),
            player.play,
            play_all=player.play_all,
            seconds=player.seconds,
            path=True,
            plan=plan,
        )


class _ClassedRows(NamedTuple):
    """The training rows with their question classes, the router that reads them, the fit and its curve."""

    table: TraceTable
    reader: QuestionReader | None
    fitted: FittedFamily
    curve: Curve


class PomdpQuery(Struct, frozen=True):
    """The union of both papers: what the query-side router says of a question sets its prior.

    `query_router` is a kind of router, or `auto`: the one, or none, that serves the `objective` best on
    the training rows; its name then stands in the setting.
    """

    query_router: ClassChoice
    objective: Objective
    name: str = "pomdp+query"
    group: Group = "pomdp"
    needs: tuple[Need, ...] = (several_tiers, question_texts)

    def train(self, split: Split) -> TrainedPolicy:
        """What the router says of training rows comes from models that never saw their labels."""
        if not split.can_crossfit:
            return without_settings()
        each = {source: self._rows_with_classes(split, source) for source in sources_of(self.query_router)}
        source = self._best({source: rows.curve for source, rows in each.items()}, split)
        _, reader, fitted, curve = each[source]
        player = _FamilyPlayer(fitted, split, _classed_test(split, reader))

        def seconds(setting: Setting, row: int) -> float:
            reading = 0.0 if reader is None else clock(lambda: reader.read(np.array([row])))
            return reading + player.seconds(setting, row)

        if self.query_router == "auto":
            weights = (structs.replace(narrow(s, CostWeight), query_router=source) for s in curve.settings)
            curve = curve._replace(settings=tuple(weights))
        return TrainedPolicy(curve, player.play, play_all=player.play_all, seconds=seconds, path=True)

    def _rows_with_classes(self, split: Split, source: ClassSource) -> _ClassedRows:
        reader, table = None, split.train
        if source != "none" and source != "column":
            reader = split.reader(source)
            table = replace(reader.train, question_logits=logit(reader.fitted.probs))
        family = QueryPlanFamily(settings=split.settings, grid=split.options.grid)
        fitted = family.fit(table)
        return _ClassedRows(table, reader, fitted, _crossfit(split, family, fitted, table))

    def _best(self, curves: Mapping[ClassSource, Curve], split: Split) -> ClassSource:
        choices = choose_each(curves, split.train.tiers, split.alone, self.objective, split.resamples)
        return best_source(choices, split.alone.points(), self.objective)


class PomdpClass(Struct, frozen=True):
    """The computed plans with the classes that a column of the rows names.

    The column, or none, is taken by which serves the `objective` better on the training rows; ties go to
    none. The setting says which.
    """

    column: str
    objective: Objective
    name: str = "pomdp+class"
    group: Group = "pomdp"
    needs: tuple[Need, ...] = (several_tiers,)

    def train(self, split: Split) -> TrainedPolicy:
        """Priors of the classes are fitted inside each fold, as all else."""
        if not split.can_crossfit:
            return without_settings()
        with_classes = split.train.with_named_classes(np.arange(len(split.train)))
        tables: dict[ClassSource, TraceTable] = {"none": split.train, "column": with_classes}
        family = _plan_family(split)
        fits = {source: family.fit(table) for source, table in tables.items()}
        curves = {s: _crossfit(split, family, fits[s], table) for s, table in tables.items()}
        choices = choose_each(curves, split.train.tiers, split.alone, self.objective, split.resamples)
        source = best_source(choices, split.alone.points(), self.objective)
        player = _FamilyPlayer(fits[source], split, _with_classes_of(tables[source], split.test))
        name, curve = self.column if source == "column" else "none", curves[source]
        weights = (
            CostWeight(s.value, class_column=name) for s in curve.settings if isinstance(s, CostWeight)
        )
        curve = curve._replace(settings=tuple(weights))
        return TrainedPolicy(curve, player.play, play_all=player.play_all, seconds=player.seconds, path=True)


def _with_classes_of(train: TraceTable, test: TraceTable) -> TraceTable:
    """Return the held-out rows with the classes that the training rows have, none where they have none."""
    classes, column = train.named_classes, test.class_column
    if classes is None or column is None:
        return test
    places = classes.places(column.values.tolist())
    return replace(test, question_classes=places, n_classes=len(classes), named_classes=classes)


def _classed_test(split: Split, reader: QuestionReader | None) -> TraceTable:
    """Return the held-out rows with what the router reads in each question."""
    if reader is None:
        return split.test
    return replace(reader.test, question_logits=logit(reader.read(None)))
