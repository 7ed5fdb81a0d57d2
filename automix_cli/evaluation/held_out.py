"""The whole procedure on rows it has not seen: fit, choose and run, inside each outer fold.

A division puts the questions into folds. The outer fold a is held out: a setting is chosen on
the other folds, each measured by a fit on all folds but a and that one, and is run on a. A
fit on all folds but a and b serves both as an inner fit of a and of b. Divisions are repeated
and averaged row by row, so that luck in one of them decides less.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.charges import RowOutcomes, single_tier
from automix_cli.evaluation.crossfit import (
    CROSSFIT,
    Crossfit,
    Curve,
    CurveSums,
    Singles,
    measured_folds,
    measured_rows,
    singles,
)
from automix_cli.evaluation.families import Family, FittedFamily, SettingRows, settings_at
from automix_cli.evaluation.objective import (
    Candidates,
    Objective,
    best_source,
    best_tier,
    choose_of_each,
)
from automix_cli.evaluation.plays import FitPlay, play_all, prepare_levels
from automix_cli.evaluation.rates import differing_chances
from automix_cli.evaluation.settings import Always, Setting
from automix_cli.evaluation.signal_choice import Signals
from automix_cli.fitting.classes import NO_CLASSES, Classes
from automix_cli.fitting.query_router_kinds import ClassSource
from automix_cli.pomdp.arrays import Floats, Ints


class HeldOutRun(NamedTuple):
    """What came of each row when it was held out, averaged over divisions; rows in the table's order.

    Attributes:
        score, cost: n, expected.
        abstained, escalated: n, chances.
        votes: n, expected number of votes.
        differing: n, chances to report another answer than the baseline's, where scores are beside one.
        reports: n×N, the chance to report each tier's answer.
        best_score: n, of the single tier that was the best one where the setting was chosen.
        single_folds: in how many outer folds a single tier was chosen, by name or as the plan of a
            cost_weight that asks no other.
        folds: how many outer folds there were, over all divisions.
        n_plans: how many different plans the settings of the outer folds came to, a single tier being one.
    """

    score: Floats
    cost: Floats
    abstained: Floats
    escalated: Floats
    votes: Floats
    differing: Floats
    reports: Floats
    best_score: Floats
    single_folds: int
    folds: int
    n_plans: int

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of rows that were escalated and that were left without an answer, and votes per row."""
        return float(self.escalated.mean()), float(self.abstained.mean()), float(self.votes.mean())


class HeldOut(NamedTuple):
    """A run per objective, and the points of every setting on held-out rows, per source of classes."""

    runs: tuple[HeldOutRun, ...]
    paths: dict[ClassSource, Curve]


def held_out(
    table: TraceTable,
    family: Family,
    objectives: Sequence[Objective],
    *,
    seed: int,
    resamples: Resamples,
    options: Crossfit = CROSSFIT,
    classes: Classes = NO_CLASSES,
    whole_tables: Mapping[ClassSource, TraceTable] | None = None,
    signals: Signals | None = None,
    advance: Callable[[], None] = lambda: None,
) -> HeldOut:
    """Choose source of classes and setting inside each outer fold's training rows, and run it on the fold.

    Args:
        table: the rows.
        family: of the policies.
        objectives: each is served by a run of its own.
        seed: of the divisions.
        resamples: of the table's questions, by which settings are chosen.
        options: of cross-fitting; `repeats` counts divisions.
        classes: what may tell questions apart beforehand.
        whole_tables: all rows with what each source says of them, learned from all rows: the settings of
            `paths` are those of a fit on them. Without them there are no paths.
        signals: among which each outer fold chooses on its training rows; `table` then has the one that
            is chosen on all rows, to which the paths belong.
        advance: is called after each source in each outer fold.

    Raises:
        ValueError: of two folds, none is left to fit on when one is held out and one measured.
    """
    if options.folds < 3:
        raise ValueError(f"nested folds need three parts at least, got {options.folds}")
    table = table.with_vote_limit()
    paths = _Paths.of(family, whole_tables or {}, len(table))
    choices = _ObjectiveRuns.of(table, objectives, resamples)
    for r in range(divisions(options, classes, table.n_groups, compares_signals=signals is not None)):
        division = _Division(family, folds_of(table, options.folds, seed + 1000 * r), options)
        for folds in _folds_together(options, classes, compares_signals=signals is not None):
            learn = division.fold != folds[0]
            with_signal = table if signals is None else signals.table(learn).with_vote_limit()
            outer = division.outer_folds(folds, classes, with_signal, advance)
            for_paths = {k: outer[k] for k in folds if k in measured_folds(table.n_groups, options)}
            if for_paths and with_signal.signal_name != table.signal_name:
                for_paths = division.outer_folds([*for_paths], classes, table)
            rows = {k: measured_rows(table, division.fold == k, options) for k in for_paths}
            paths.add([(own, rows[k]) for k, own in for_paths.items()])
            for k, own in outer.items():
                choices.run_all(own, np.flatnonzero(division.fold != k))
    return HeldOut(choices.runs(), paths.curves())


def divisions(options: Crossfit, classes: Classes, questions: int, *, compares_signals: bool) -> int:
    """Return how many divisions into folds are averaged; where much is fitted in each, one."""
    return 1 if classes.reads_questions or compares_signals else options.repeats_for(questions)


def _folds_together(
    options: Crossfit, classes: Classes, *, compares_signals: bool
) -> Iterator[Sequence[int]]:
    """Yield outer folds whose plans are solved together; where each fold has fits of its own, one by one."""
    if compares_signals or [*classes.sources] != ["none"]:
        yield from ([k] for k in range(options.folds))
    else:
        yield range(options.folds)


# ------------------------------------------------------------------ one division


class _FoldFit(NamedTuple):
    """One source of classes in one outer fold: the rows with their classes, the fit, the inner curve."""

    table: TraceTable
    fitted: FittedFamily
    levels: Floats
    curve: Curve

    def place(self, setting: Setting) -> int:
        """Return the place of a setting of the curve in the fit."""
        level = self.levels[[self.curve.settings.index(setting)]]
        return int(self.fitted.places(level)[0])


class _OuterFold(NamedTuple):
    """An outer fold: its rows, and the fit of each source of classes on the others."""

    rows: Ints
    fits: dict[ClassSource, _FoldFit]


class _NestedFit(NamedTuple):
    """One source of classes in one outer fold: the fit without it, and those without an inner one, too."""

    fold: int
    source: ClassSource
    table: TraceTable
    fitted: FittedFamily
    inner: dict[int, FittedFamily]

    def plays(self, rows: Mapping[int, Ints]) -> Iterator[FitPlay]:
        """The settings on each inner fold."""
        levels = self.fitted.levels()
        for b, own in self.inner.items():
            yield FitPlay(own, self.table, rows[b], own.places(levels))

    def measure(self, plays: Sequence[FitPlay], each: Iterator[SettingRows], size: int) -> _FoldFit:
        """Average what the plays come to, of a table of this size."""
        levels, sums = self.fitted.levels(), CurveSums(size)
        for play in plays:
            sums.add(play.rows, next(each))
        curve = sums.curve(settings_at(self.fitted, levels))
        return _FoldFit(self.table, self.fitted, levels, curve)


class _Division(Struct):
    """One division of the questions into folds, with the fits that outer folds share."""

    family: Family
    fold: Ints
    options: Crossfit
    _shared_fits: dict[tuple[str, frozenset[int]], FittedFamily] = field(default_factory=dict)

    def outer_folds(
        self,
        folds: Sequence[int],
        classes: Classes,
        table: TraceTable,
        advance: Callable[[], None] = lambda: None,
    ) -> dict[int, _OuterFold]:
        """Fit every source of classes on all folds but each of some, and measure its settings there."""
        outer = {k: _OuterFold(np.flatnonzero(self.fold == k), {}) for k in folds}
        fits = [
            self._nested_fit(k, source, own_table)
            for k in folds
            for source, own_table, _ in classes.of(table, self.fold != k)
        ]
        prepare_levels([own for fit in fits for own in (fit.fitted, *fit.inner.values())])
        rows = {b: measured_rows(table, self.fold == b, self.options) for b in range(self.options.folds)}
        plays = [[*fit.plays(rows)] for fit in fits]
        each = play_all([play for own in plays for play in own])
        for fit, own in zip(fits, plays, strict=True):
            outer[fit.fold].fits[fit.source] = fit.measure(own, each, len(table))
            advance()
        return outer

    def _nested_fit(self, k: int, source: ClassSource, table: TraceTable) -> _NestedFit:
        """The fits of one source in an outer fold."""
        fitted = self._fit(table, frozenset({k}), source)
        inner = {b: self._fit(table, frozenset({k, b}), source) for b in self._inner_folds(k, table)}
        return _NestedFit(k, source, table, fitted, inner)

    def _inner_folds(self, k: int, table: TraceTable) -> list[int]:
        others = [b for b in range(self.options.folds) if b != k]
        return others if table.n_groups <= self.options.many_questions else others[:1]

    def _fit(self, table: TraceTable, without: frozenset[int], source: ClassSource) -> FittedFamily:
        if source != "none":  # its classes were learned for this outer fold
            return self._fit_anew(table, without)
        key = table.signal_name, without
        if key not in self._shared_fits:
            self._shared_fits[key] = self._fit_anew(table, without)
        return self._shared_fits[key]

    def _fit_anew(self, table: TraceTable, without: frozenset[int]) -> FittedFamily:
        return self.family.fit(table.subset(~np.isin(self.fold, list(without))))


class _Chooser:
    """The choice of a setting on the rows that an outer fold leaves, for one objective after the other."""

    def __init__(
        self,
        tiers: tuple[str, ...],
        alone: Singles,
        learn: Ints,
        resamples: Resamples,
        curves: Mapping[ClassSource, Curve],
    ) -> None:
        place_of = np.full(len(alone.score), -1)
        place_of[learn] = np.arange(len(learn))
        own, own_resamples = alone.on_rows(learn), resamples.on_rows(learn)
        self._points = own.points()
        self._candidates = {
            source: Candidates(curve._replace(rows=place_of[curve.rows]), tiers, own, own_resamples)
            for source, curve in curves.items()
        }

    def choose(self, objective: Objective) -> tuple[ClassSource, Setting, int]:
        """Return the source, the setting, and the place of the best single tier."""
        choices = choose_of_each(self._candidates, objective)
        source = best_source(choices, self._points, objective)
        return source, choices[source].setting, best_tier(self._points)


# ------------------------------------------------------------------ averages over divisions


class _Paths(NamedTuple):
    """The settings of the fits to all rows, per source of classes, and what they came to in outer folds."""

    wholes: Mapping[ClassSource, FittedFamily]
    levels: Mapping[ClassSource, Floats]
    sums: Mapping[ClassSource, CurveSums]

    @classmethod
    def of(cls, family: Family, tables: Mapping[ClassSource, TraceTable], rows: int) -> _Paths:
        """Fit to all rows of each source."""
        wholes = {source: family.fit(whole) for source, whole in tables.items()}
        levels = {source: whole.levels() for source, whole in wholes.items()}
        return cls(wholes, levels, {source: CurveSums(rows) for source in wholes})

    def add(self, outer: Sequence[tuple[_OuterFold, Ints]]) -> None:
        """Add what the settings came to on rows of outer folds."""
        plays = [
            (source, FitPlay(own.fitted, own.table, rows, own.fitted.places(self.levels[source])))
            for fold, rows in outer
            for source, own in fold.fits.items()
            if source in self.wholes
        ]
        each = play_all([play for _, play in plays])
        for (source, play), setting_rows in zip(plays, each, strict=True):
            self.sums[source].add(play.rows, setting_rows)

    def curves(self) -> dict[ClassSource, Curve]:
        """Return the means."""
        return {s: self.sums[s].curve(settings_at(own, self.levels[s])) for s, own in self.wholes.items()}


class _ObjectiveRuns(NamedTuple):
    """What each objective came to in the outer folds, by the settings chosen for it there."""

    table: TraceTable
    alone: Singles
    objectives: Sequence[Objective]
    resamples: Resamples
    sums: Sequence[_RunSums]

    @classmethod
    def of(cls, table: TraceTable, objectives: Sequence[Objective], resamples: Resamples) -> _ObjectiveRuns:
        """Begin with nothing."""
        sums = [_RunSums(*table.score.shape) for _ in objectives]
        return cls(table, singles(table), objectives, resamples, sums)

    def run_all(self, outer: _OuterFold, learn: Ints) -> None:
        """Choose on the training rows of an outer fold, for each objective, and run on its own rows."""
        curves = {source: own.curve for source, own in outer.fits.items()}
        chooser = _Chooser(self.table.tiers, self.alone, learn, self.resamples, curves)
        choices = [chooser.choose(objective) for objective in self.objectives]
        runs: dict[tuple[ClassSource, Setting], _SettingRun] = {}
        for source, own in outer.fits.items():
            different = dict.fromkeys(setting for one, setting, _ in choices if one == source)
            each = _runs_of(own, [*different], outer.rows, self.alone)
            runs |= {(source, setting): run for setting, run in zip(different, each, strict=True)}
        for total, (source, setting, best) in zip(self.sums, choices, strict=True):
            total.add(runs[source, setting], outer.rows, self.alone.score[outer.rows, best])

    def runs(self) -> tuple[HeldOutRun, ...]:
        """Return the means."""
        return tuple(total.run(self.table.score) for total in self.sums)


class _SettingRun(NamedTuple):
    """What a setting came to on m rows of an outer fold.

    Attributes:
        figures: 5×m: score, cost, abstained, escalated, number of votes.
        reports: m×N.
        is_single: whether it is a single tier, by name or by what it does.
        plan: what tells it from others; see `FittedFamily.decisions`.
    """

    figures: Floats
    reports: Floats
    is_single: bool
    plan: Hashable

    @classmethod
    def of_tier(cls, own: _FoldFit, setting: Always, rows: Ints, alone: Singles) -> _SettingRun:
        """Ask one tier on all rows."""
        tier = own.table.tiers.index(setting.tier)
        figures, reports = np.zeros((5, len(rows))), np.zeros((len(rows), len(own.table.tiers)))
        figures[:2], reports[:, tier] = (alone.score[rows, tier], alone.cost[rows, tier]), 1.0
        return cls(figures, reports, True, tier)

    @classmethod
    def of_run(cls, own: _FoldFit, place: int, run: RowOutcomes) -> _SettingRun:
        """What the setting at a place of the fit did."""
        only = single_tier(run)
        plan = own.fitted.decisions(place) if only is None else only
        figures = np.stack([run.score, run.cost, run.abstained, run.escalated, run.votes.sum(axis=1)])
        return cls(figures, run.reports, only is not None, plan)


def _runs_of(own: _FoldFit, settings: Sequence[Setting], rows: Ints, alone: Singles) -> Iterator[_SettingRun]:
    """Run settings of one fit on the rows."""
    places = [own.place(setting) for setting in settings if not isinstance(setting, Always)]
    each = (
        iter(zip(places, own.fitted.runs(own.table, rows, np.array(places)), strict=True)) if places else None
    )
    for setting in settings:
        if isinstance(setting, Always):
            yield _SettingRun.of_tier(own, setting, rows, alone)
        elif each is not None:
            yield _SettingRun.of_run(own, *next(each))


class _RunSums:
    """Sums over divisions of what came of each row."""

    def __init__(self, rows: int, tiers: int) -> None:
        self._sums = np.zeros((6, rows))
        self._reports = np.zeros((rows, tiers))
        self._times = np.zeros(rows)
        self._folds = self._single_folds = 0
        self._plans: set[Hashable] = set()

    def add(self, own: _SettingRun, rows: Ints, best_score: Floats) -> None:
        """Add what a setting came to on rows of an outer fold, and what the best single tier scores there."""
        self._folds += 1
        self._single_folds += own.is_single
        self._plans.add(own.plan)
        self._times[rows] += 1
        self._sums[:5, rows] += own.figures
        self._sums[5, rows] += best_score
        self._reports[rows] += own.reports

    def run(self, is_equal: Floats) -> HeldOutRun:
        """Return the means; `is_equal` says which answers are equal to the baseline's (n×N)."""
        means = self._sums / np.maximum(self._times, 1)
        score, cost, abstained, escalated, votes, best = means
        reports = self._reports / np.maximum(self._times, 1)[:, None]
        differing = differing_chances(reports, is_equal)
        counts = self._single_folds, self._folds, len(self._plans)
        return HeldOutRun(score, cost, abstained, escalated, votes, differing, reports, best, *counts)
