"""The whole procedure on rows it has not seen: fit, choose and run, inside each outer fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import (
    CROSSFIT,
    Crossfit,
    Curve,
    CurveSums,
    Singles,
    crossfit,
    measured_rows,
    singles,
)
from automix_cli.evaluation.families import Family
from automix_cli.evaluation.objective import Objective, best_source, choose_each
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import Always, Setting
from automix_cli.fitting.classes import NO_CLASSES, Classes
from automix_cli.fitting.query_router_kinds import ClassSource
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import AlwaysPolicy


class HeldOutRun(NamedTuple):
    """What came of each row when it was held out; rows in the table's order.

    `best_score` is the score of the single tier that was the best one where the setting was chosen;
    `paths` the points of every setting, fitted on the outer folds, per source of classes.
    """

    score: Floats
    cost: Floats
    abstained: NDArray[np.bool_]
    escalated: NDArray[np.bool_]
    votes: Ints
    best_score: Floats
    paths: dict[ClassSource, Curve]

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of rows that were escalated and that were left without an answer, and votes per row."""
        return float(self.escalated.mean()), float(self.abstained.mean()), float(self.votes.mean())


def held_out(
    table: TraceTable,
    family: Family,
    objective: Objective,
    *,
    seed: int,
    abstain_value: float,
    options: Crossfit = CROSSFIT,
    classes: Classes = NO_CLASSES,
    whole_tables: Mapping[ClassSource, TraceTable] | None = None,
) -> HeldOutRun:
    """Choose source of classes and setting inside each outer fold's training rows, and run it on the fold.

    `whole_tables` are all rows with the classes of each source, learned from all rows: the grids of
    `paths` are spaced for them. Without them there are no paths.
    """
    alone, fold = singles(table), folds_of(table, options.folds, seed)
    families = {source: family.with_cost_grid(whole) for source, whole in (whole_tables or {}).items()}
    paths = {source: CurveSums() for source in families}
    best_score, runs = np.zeros(len(table)), list[Replayed]()
    for k in range(options.folds):
        learn, rows = fold != k, np.flatnonzero(fold == k)
        points = Singles(alone.score[learn], alone.cost[learn]).points()
        tables, curves = dict[ClassSource, TraceTable](), dict[ClassSource, Curve]()
        for source, own_table, _ in classes.of(table, learn):
            train, tables[source] = own_table.subset(learn), own_table
            curves[source] = crossfit(
                train, family, seed=seed + 1 + k, options=options, abstain_value=abstain_value
            )
            if source in families:
                candidates = families[source].candidates(train)
                paths[source].add(candidates, own_table, measured_rows(fold == k, options), abstain_value)
        choices = choose_each(curves, table.tiers, points, objective)
        source = best_source(choices, points, objective)
        policy = policy_of(family, tables[source].subset(learn), choices[source].setting)
        runs.append(replay(policy, tables[source], rows, abstain_value=abstain_value))
        best_score[rows] = alone.score[rows, int(np.argmax([p.quality for p in points]))]
    return _joined_run(runs, best_score, {source: sums.curve() for source, sums in paths.items()})


def _joined_run(runs: Sequence[Replayed], best_score: Floats, paths: dict[ClassSource, Curve]) -> HeldOutRun:
    """Join the runs of the folds, in the table's order."""
    order = np.argsort(np.concatenate([run.rows for run in runs]), kind="stable")

    def column(values_of: Callable[[Replayed], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([values_of(run) for run in runs])[order]

    return HeldOutRun(
        score=column(lambda run: run.score),
        cost=column(lambda run: run.cost),
        abstained=column(lambda run: run.tier) < 0,
        escalated=column(lambda run: run.asked_tiers).sum(axis=1) > 1,
        votes=column(lambda run: run.votes).sum(axis=1),
        best_score=best_score,
        paths=paths,
    )


def policy_of(family: Family, table: TraceTable, setting: Setting) -> Policy[Any]:
    """Return the policy of a setting, fitted on a table."""
    if isinstance(setting, Always):
        return AlwaysPolicy(len(table.tiers), table.tiers.index(setting.tier))
    return family.policy(table, setting)
