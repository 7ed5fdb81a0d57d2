"""From a table of traces to one setting of the router, and held-out proof of what it is worth.

    fit ─▶ candidates (one per setting) ─▶ cross-fitted points ─▶ objective ─▶ setting
     └───── all of it again inside each outer fold; what is reported was never looked at ─────┘

The choice of a setting costs rows too: therefore the nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.data.groups import why_no_verdict
from automix_cli.data.oracle import oracle
from automix_cli.data.question_classes import NamedClasses
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.beside import edge_beside, loss_of_router, score_draws, with_label_intervals
from automix_cli.evaluation.bootstrap import BootstrapFigure, Resamples, quality_gains, with_interval
from automix_cli.evaluation.charges import single_tier
from automix_cli.evaluation.crossfit import CROSSFIT, NO_CURVE, Crossfit, Curve, singles
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import ROUNDING_ERROR, Point
from automix_cli.evaluation.held_out import HeldOutRun, divisions
from automix_cli.evaluation.held_out_trial import HeldOutTrial, lower_shares
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.objective import (
    Objective,
    SettingChoice,
    best_single,
    best_source,
    best_tier,
    choose_each,
    unmeasured_curve,
)
from automix_cli.evaluation.paired_columns import PairedColumns
from automix_cli.evaluation.rates import DifferingShare, differing_shares, rates_of
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import Always, CostWeight, Setting, is_rule, narrow
from automix_cli.evaluation.signal_choice import SignalComparison, Signals
from automix_cli.evaluation.starts import Start, starts_of
from automix_cli.evaluation.verdict import (
    Alternative,
    Edge,
    RoutingVerdict,
    surely_pays,
    verdict,
    weigh_choices,
)
from automix_cli.fitting.classes import NO_CLASSES, ClassedTable, Classes
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.query_router_kinds import ClassSource, WrittenKind
from automix_cli.fitting.router_block import Settings, policy_from_router
from automix_cli.pomdp.problem import Policy

if TYPE_CHECKING:
    from automix_cli.evaluation.certificate import Certificate
    from automix_cli.fitting.query_router import QueryRouter


class Figures(NamedTuple):
    """One policy on held-out rows: mean cost and score with intervals, and shares."""

    name: str
    cost: Measure
    quality: Measure
    escalated: float = 0.0
    abstained: float = 0.0
    votes: float = 0.0


class Calibration(Struct, frozen=True, kw_only=True):
    """What `automix calibrate` found.

    Attributes:
        tiers: their names.
        settings: what the profile decided.
        fitted: learned from all rows.
        objective: what was asked for.
        choice: the setting, chosen on cross-fitted points of all rows.
        verdict: whether routing pays; None with too few questions to say anything.
        lacks_labels: whether too few labels stand behind scores beside a baseline: then no verdict is given.
        chance_met: bootstrap chance that the objective is met on new rows; None where it cannot be missed.
        single: the tier to use where routing does not pay.
        single_folds: in how many of the outer folds, over all divisions, a single tier was chosen, and
            how many there were.
        n_plans: how many different plans the settings of the outer folds came to.
        alternative: where a single tier was chosen, the strictest lower share to keep at which
            routing pays; None where none was found.
        loss: against the baseline, where rows without a label are compared with its answers; else None.
        certificate: of the router, or that none could be certified; None where none was asked for.
        figures: held-out, by name: the router, each tier (`always:NAME`), `threshold`, `oracle`,
            and `random-mix`, the best mix of single tiers at the router's cost.
        gains: quality points of each of them above each tier alone, by (policy, tier), paired.
        path: held-out points of every setting.
        kind: of the router: plans, or a query-side router alone, where that was asked for or does better.
        query: the query-side router that reads each question; None for none.
        query_point: with a query-side router, cost and score of what is written, by what it says of each row
            without the row's label; else None.
        starts: the tiers at which questions are begun, where there are several or it is not the cheapest; a
            router alone reads the rows itself, plans go by what `query_point` does.
        choices: the setting and point that each source of classes came to, cross-fitted.
        signal: what the plan gains with each signal that the rows hold; None where they were not compared.
        rates: shares to compare later batches with, as (hits, cases): `escalated` of all questions, and
            per tier the first votes that say CORRECT, of the answers on which votes are bought.
        differing: per tier, on how many questions another answer is reported than that tier's.
    """

    tiers: tuple[str, ...]
    settings: Settings
    fitted: Fitted
    objective: Objective
    choice: SettingChoice
    single: str
    verdict: RoutingVerdict | None = None
    lacks_labels: bool = False
    chance_met: float | None = None
    single_folds: tuple[int, int] = (0, 0)
    n_plans: int = 1
    alternative: Alternative | None = None
    loss: LossAgainst | None = None
    certificate: Certificate | None = None
    figures: tuple[Figures, ...] = ()
    gains: Mapping[tuple[str, str], Measure] = field(default_factory=dict)
    path: Curve = NO_CURVE
    rates: tuple[tuple[str, int, int], ...] = ()
    differing: tuple[DifferingShare, ...] = ()
    kind: WrittenKind = "pomdp"
    query: QueryRouter | None = None
    query_point: Point | None = None
    starts: tuple[Start, ...] = ()
    choices: tuple[tuple[ClassSource, SettingChoice], ...] = ()
    signal: SignalComparison | None = None

    @property
    def unproven(self) -> bool:
        """Whether the router is written without proof that it pays."""
        return self.verdict is None or self.verdict.kind in ("not enough rows", "single tier")

    @property
    def written_point(self) -> Point:
        """Cost and score of what is written, where held-out figures are means over folds."""
        return self.query_point or self.choice.point

    @property
    def written_figures(self) -> tuple[float, float | None]:
        """The same to be told; the score is None where too few labels stand behind it."""
        return self.written_point.cost, None if self.lacks_labels else self.written_point.quality

    @property
    def named_classes(self) -> NamedClasses | None:
        """The classes of a column that the written router tells apart; None where it tells none."""
        return None if self.router()["kind"] == "always" else self.fitted.classes

    @property
    def is_certified(self) -> bool:
        """Whether a promise was proved for the router."""
        return self.certificate is not None and self.certificate.routes

    def policy(self) -> Policy[Any]:
        """Return the policy that the written router stands for."""
        return policy_from_router(self.router(), self.settings, self.tiers)

    def router(self) -> dict[str, Any]:
        """Return the profile's `router:` block, without what the command adds (hashes, models, date)."""
        if self._single:
            return {"kind": "always", "tier": self._single, "fitted": self._proof()}
        block = {"cost_weight": narrow(self.choice.setting, CostWeight).value, "fitted": self._proof()}
        if self.query is None:
            return {"kind": "pomdp", **block, **self.fitted.to_dict()}
        block["query"] = self.query.to_dict()
        if self.kind != "pomdp":
            return {"kind": self.kind, **block}
        return {"kind": "pomdp+query", **block, **self.fitted.to_dict()}

    @property
    def _single(self) -> str:
        """The tier that takes every question; "" where what is written routes."""
        if self.verdict is not None and self.verdict.kind == "do not route" and not self.is_certified:
            return self.single
        return self.choice.setting.tier if isinstance(self.choice.setting, Always) else ""

    def _proof(self) -> dict[str, Any]:
        proof: dict[str, Any] = {"rows": self.fitted.rows, "objective": list(self.objective)}
        if self.signal is not None:
            proof["evidence"] = self.signal.name
        if self.unproven:
            proof["unproven"] = True
        if self.certificate is not None and self.is_certified:
            proof["certificate"] = self.certificate.promise()
        if self.verdict is not None:
            points = [100 * share for share in (self.verdict.edge, self.verdict.low, self.verdict.high)]
            proof["verdict"] = {"kind": self.verdict.kind, "edge": points}
        held_out = {f.name: [f.cost.value, f.quality.value] for f in self.figures}
        rates = {name: [hits, cases] for name, hits, cases in self.rates}
        if self.differing:
            proof["differing"] = {name: [hits, cases] for name, hits, cases in self.differing}
        if self.query is not None and self.starts:
            proof["starts"] = {start.tier: round(start.share, 4) for start in self.starts}
        if self.figures and not self._single:
            proof["written"] = list(self.written_figures)
        return {**proof, "held_out": held_out, "rates": rates}


def calibrate(
    table: TraceTable,
    settings: Settings,
    objective: Objective = Objective(),  # noqa: B008
    *,
    options: Crossfit = CROSSFIT,
    seed: int = 0,
    classes: Classes = NO_CLASSES,
    compare_signals: bool = False,
    kind: WrittenKind = "pomdp",
    advance: Callable[[float], None] = lambda share: None,
) -> Calibration:
    """Fit on all rows, choose a setting, and prove it on rows held out.

    Args:
        table: rows that score every tier.
        settings: what the profile decides.
        objective: how to choose the cost_weight.
        options: folds, outer and inner, and how finely settings are searched.
        seed: of divisions and resamples.
        classes: what may tell questions apart beforehand; with few rows nothing does.
        compare_signals: whether the signal is chosen among those that the rows hold, by what a plan gains
            with each; `Calibration.signal` says which.
        kind: of the router that is wanted; a query-side router alone takes `classes` of this one source.
        advance: is told each share of the work that is done.

    Raises:
        DataError: no rows, or a cost that is not recorded.
        GateError: the objective is ΔIBC, and it is undefined.
    """
    if not len(table):
        raise DataError("there are no rows to calibrate on")
    table.require_costs()
    signals = Signals.of(table, settings, options, seed) if compare_signals else None
    comparison = None if signals is None else signals.compare(np.ones(len(table), dtype=bool))
    if signals is not None and comparison is not None:
        table = signals.tables[comparison.name]
    unproven = replace(_unproven(table, settings, objective, kind), signal=comparison)
    resamples = Resamples.of_table(table, seed)
    if not options.enough(table.n_groups):
        sources = _classes_of_all_rows(table, NO_CLASSES, partial(advance, 1.0))
        curves: dict[ClassSource, Curve] = {"none": unmeasured_curve(objective, len(table))}
        outcome = _with_choice(unproven, table, sources, curves, resamples, with_path=False)
        return _with_rates(*(_with_last_tier(outcome) if objective.kind == "keep" else outcome))
    rounds = divisions(options, classes, table.n_groups, compares_signals=signals is not None)
    step = partial(advance, 1 / (len(classes.sources) * (1 + options.folds * rounds)))
    sources = _classes_of_all_rows(table, classes, step)
    trial = HeldOutTrial(
        table=table,
        settings=settings,
        objective=objective,
        options=options,
        seed=seed,
        resamples=resamples,
        signals=signals,
    )
    heldout = trial.run_router(kind, classes, sources, step)
    fitted, best, run = _with_choice(unproven, table, sources, heldout.paths, resamples, with_path=True)
    thresholds = trial.run_thresholds()
    return _with_rates(_with_figures(fitted, table, heldout.runs, thresholds, resamples), best, run)


def _unproven(table: TraceTable, settings: Settings, objective: Objective, kind: WrittenKind) -> Calibration:
    """Return what there is before anything was chosen or measured."""
    return Calibration(
        tiers=table.tiers,
        settings=settings,
        fitted=fit(table, settings),
        objective=objective,
        choice=SettingChoice(Always(table.tiers[0]), Point(0.0, 0.0)),
        single=table.tiers[0],
        kind=kind,
    )


def _classes_of_all_rows(
    table: TraceTable, classes: Classes, advance: Callable[[], None]
) -> dict[ClassSource, ClassedTable]:
    """Learn from all rows what each source says of each question."""
    each: dict[ClassSource, ClassedTable] = {}
    for own_table in classes.of(table, np.ones(len(table), dtype=bool)):
        each[own_table.source] = own_table
        advance()
    return each


def _with_choice(
    calibration: Calibration,
    table: TraceTable,
    sources: Mapping[ClassSource, ClassedTable],
    curves: Mapping[ClassSource, Curve],
    resamples: Resamples,
    *,
    with_path: bool,
) -> _ChoiceRun:
    """Choose the setting, and the tier without a router; fit to all rows, with their classes."""
    alone, objective = singles(table), calibration.objective
    if not any(curve.settings for curve in curves.values()):
        objective = objective.without_weight()
    choices = choose_each(curves, table.tiers, alone, objective, resamples)
    source = best_source(choices, alone.points(), objective)
    best = sources[source]
    fitted = fit(best.table, calibration.settings)
    kind = _kind_of(choices[source].setting, best.router, calibration.kind)
    is_read = fitted.trust > 0 or kind != "pomdp"
    with_choice = replace(
        calibration,
        kind=kind,
        fitted=fitted,
        choice=choices[source],
        single=best_single(table.tiers, alone, calibration.objective, resamples),
        path=curves[source] if with_path else NO_CURVE,
        query=best.router if is_read else None,
        choices=tuple(choices.items()) if with_path else (),
    )
    table = best.as_read()
    run = _replay_written(with_choice, table)
    return _ChoiceRun(_with_tier_named(with_choice, run) if with_path else with_choice, table, run)


def _with_last_tier(outcome: _ChoiceRun) -> _ChoiceRun:
    """Take the last tier alone, as without calibration: so few rows prove no other one."""
    calibration, table, _ = outcome
    last = Always(table.tiers[-1])
    calibration = replace(calibration, choice=calibration.choice._replace(setting=last), single=last.tier)
    return _ChoiceRun(calibration, table, _replay_written(calibration, table))


class _ChoiceRun(NamedTuple):
    """A calibration with its setting, the rows as its router reads them, and its run on them."""

    calibration: Calibration
    table: TraceTable
    run: Replayed


def _replay_written(calibration: Calibration, table: TraceTable) -> Replayed:
    """Run what is written on all rows."""
    return replay(calibration.policy(), table, abstain_value=calibration.settings.abstain_value or 0.0)


def _as_written(calibration: Calibration, table: TraceTable, run: Replayed) -> tuple[TraceTable, Replayed]:
    """Return the rows as a router alone reads them itself, and its run; plans, which take long, stay."""
    if calibration.query is None or calibration.kind == "pomdp":
        return table, run
    table = ClassedTable(calibration.kind, table, calibration.query).by_router()
    return table, _replay_written(calibration, table)


def _kind_of(setting: Setting, router: QueryRouter | None, kind: WrittenKind) -> WrittenKind:
    """Return the kind of router that a setting stands for: where its own rule is chosen, that of `router`."""
    return router.kind if router is not None and is_rule(setting) else kind


def _with_tier_named(calibration: Calibration, run: Replayed) -> Calibration:
    """Name the tier where the setting that was chosen does what it does on every row."""
    if isinstance(calibration.choice.setting, Always):
        return calibration
    only = single_tier(run)
    if only is None:
        return calibration
    name = calibration.tiers[only]
    return replace(calibration, choice=calibration.choice._replace(setting=Always(name)))


def _with_rates(calibration: Calibration, table: TraceTable, run: Replayed) -> Calibration:
    """Add what the router comes to as it is written: held-out runs mix the settings of several folds.

    Args:
        calibration: with its verdict, by which a single tier may take the place of the router.
        table: the rows as the router reads them.
        run: of the router on them, which takes long where each question has a plan of its own.
    """
    starts: tuple[Start, ...] = ()
    if calibration.router()["kind"] == "always":
        calibration = replace(calibration, query=None)
        run = _replay_written(calibration, table)
    else:
        starts = starts_of(*_as_written(calibration, table, run))
    point = Point(float(run.cost.mean()), float(run.score.mean()))
    return replace(
        calibration,
        query_point=None if calibration.query is None else point,
        rates=rates_of(table, run),
        starts=starts,
        differing=differing_shares(table, run),
    )


# ------------------------------------------------------------------ figures


def _with_figures(
    calibration: Calibration,
    table: TraceTable,
    runs: Sequence[HeldOutRun],
    threshold_run: HeldOutRun,
    resamples: Resamples,
) -> Calibration:
    """Add the figures of the held-out rows, their intervals and the verdict."""
    router_run = runs[0]
    matrix = _columns(table, router_run, threshold_run).matrix()
    # One matrix is resampled for everything: all policies meet the same draws of the questions, so that
    # what rows have in common cancels in their differences, and the interval of an edge is a paired one.
    draws = PairedColumns.of_matrix(resamples.means(matrix))
    means = PairedColumns.of_matrix(matrix.mean(axis=0))
    shares = {"pomdp": router_run.shares, "threshold": threshold_run.shares}
    figures, qualities = [], {}
    for (name, cost, score), (_, costs, scores) in zip(
        means.policies(table.tiers), draws.policies(table.tiers), strict=True
    ):
        qualities[name] = BootstrapFigure(float(score), "", scores)
        quality = with_interval(score, scores, 0 if name == f"always:{table.beside}" else table.n_groups)
        figures.append(Figures(name, with_interval(cost, costs), quality, *shares.get(name, ())))
    figures.append(
        Figures("random-mix", figures[0].cost, with_interval(float(means.mix()), draws.mix(), table.n_groups))
    )
    gains: Mapping[tuple[str, str], Measure] = quality_gains(qualities, table.tiers, table.n_groups)
    reporting = {"pomdp": router_run, "threshold": threshold_run}
    beside = with_label_intervals(tuple(figures), gains, table, reporting, resamples)
    edge = edge_beside(table, router_run, singles(table), resamples)
    draws = draws._replace(router_score=score_draws(router_run, draws.router_score, table.relative))
    outcome = replace(
        calibration,
        verdict=None if edge is None else _verdict(table, router_run, calibration, edge),
        lacks_labels=edge is None,
        chance_met=_chance_met(calibration.objective, draws, lacks_labels=edge is None),
        single_folds=(router_run.single_folds, router_run.folds),
        n_plans=router_run.n_plans,
        alternative=_alternative(table, runs[1:], lower_shares(calibration.objective), resamples),
        figures=beside[0],
        gains=beside[1],
    )
    return replace(outcome, loss=loss_of_router(table, outcome.router(), router_run, resamples))


def _verdict(
    table: TraceTable, run: HeldOutRun, calibration: Calibration, edge: Edge
) -> RoutingVerdict | None:
    """Judge the held-out run; None where the questions are too few, or one of them decides."""
    if why_no_verdict(table.grouping):
        return None
    own = verdict(edge, table.n_groups)
    is_single = isinstance(calibration.choice.setting, Always)
    return weigh_choices(own, run.single_folds, run.folds, table.n_groups, is_single=is_single)


def _alternative(
    table: TraceTable, runs: Sequence[HeldOutRun], objectives: Sequence[Objective], resamples: Resamples
) -> Alternative | None:
    """Find the strictest lower share to keep at which routing pays."""
    alone = singles(table)
    best = alone.cost[:, best_tier(alone.points())].mean()
    for run, objective in zip(runs, objectives, strict=False):
        edge = edge_beside(table, run, alone, resamples)
        if edge is not None and surely_pays(edge) and 2 * run.single_folds < run.folds:
            return Alternative(objective.value, float(1 - run.cost.mean() / best), edge)
    return None


def _columns(table: TraceTable, router_run: HeldOutRun, threshold_run: HeldOutRun) -> PairedColumns:
    """Return the scores and costs of every row."""
    alone = singles(table)
    ideal = oracle(alone.score, alone.cost)
    return PairedColumns(
        router_score=router_run.score,
        router_cost=router_run.cost,
        best_score=router_run.best_score,
        threshold_score=threshold_run.score,
        threshold_cost=threshold_run.cost,
        oracle_score=ideal.score,
        oracle_cost=ideal.cost,
        tier_scores=alone.score,
        tier_costs=alone.cost,
    )


def _chance_met(objective: Objective, draws: PairedColumns, *, lacks_labels: bool) -> float | None:
    """Return the share of resamples in which the objective is met; None where that cannot be told."""
    if objective.kind == "keep":
        is_met = draws.router_score >= objective.value * draws.best_score - ROUNDING_ERROR
        return None if lacks_labels else float(is_met.mean())
    if objective.kind == "budget":
        return float((draws.router_cost <= objective.value * (1 + ROUNDING_ERROR)).mean())
    return None
