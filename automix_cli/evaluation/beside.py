"""Figures beside a baseline: where labels are few, each interval is that of the loss by labels, or none.

The bootstrap of rows knows nothing of how few labels stand behind them, so that a loss would have two
intervals, one of them too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from automix_cli.data.relative import RelativeScores
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import NORMAL, ColumnMeans, Resamples
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.loss import (
    LossAgainst,
    LossByLabels,
    Reports,
    estimate_loss,
    loss_by_labels,
    loss_of,
)
from automix_cli.evaluation.rates import differing_chances
from automix_cli.evaluation.verdict import Edge, above_mix, correct_bias, edge_of
from automix_cli.pomdp.arrays import Floats
from automix_cli.texts import TOO_FEW_LABELS

if TYPE_CHECKING:
    from automix_cli.evaluation.calibrate import Figures
    from automix_cli.evaluation.crossfit import Singles
    from automix_cli.evaluation.held_out import HeldOutRun
    from automix_cli.evaluation.replay import Replayed

Gains = Mapping[tuple[str, str], Measure]


def reports_of(table: TraceTable, score: Floats, reports: Floats) -> Reports:
    """What a policy reports, beside the baseline of a table.

    Args:
        table: with scores that say which answers are equal to the baseline's.
        score: n, of the policy.
        reports: n×N, the chance to report each tier's answer.
    """
    return Reports(score, differing_chances(reports, table.score))


def single_reports(table: TraceTable, tier: str) -> Reports:
    """The same of a tier alone."""
    place = table.tiers.index(tier)
    return Reports(table.worth[:, place], 1 - table.score[:, place])


def loss_of_router(
    table: TraceTable, router: Mapping[str, object], run: Reports | HeldOutRun, resamples: Resamples
) -> LossAgainst | None:
    """Measure the loss of a router: a single tier's own where it is one that is not the baseline.

    Args:
        table: the rows.
        router: the block that is written.
        run: of the policy on rows that were held out.
        resamples: of the table's questions.
    """
    tier = router.get("tier")
    if isinstance(tier, str) and tier != table.beside:
        run = single_reports(table, tier)
    return loss_of(table, run, resamples)


def with_label_intervals(
    figures: tuple[Figures, ...],
    gains: Gains,
    table: TraceTable,
    runs: Mapping[str, Reports | HeldOutRun],
    resamples: Resamples,
) -> tuple[tuple[Figures, ...], Gains]:
    """Give figures the intervals of their losses; those of a policy without reports have none.

    Args:
        figures: of all that is compared.
        gains: quality points by (policy, tier).
        table: the rows; where all have a label or none, nothing changes.
        runs: by the policy's name, the single tiers left out.
        resamples: of the table's questions.

    Returns:
        The figures, and the points of each policy above the baseline.
    """
    relative = table.relative
    if relative is None or not relative.has_label.any():
        return figures, gains
    every = {**runs, **{f"always:{tier}": single_reports(table, tier) for tier in table.tiers}}
    losses: dict[str, LossByLabels | None] = {
        name: LossByLabels(0.0, 0.0, 0.0)
        if _is_baseline_alone(run)
        else estimate_loss(run, resamples, float(table.grouping.means(run.differing).mean()), relative)
        for name, run in every.items()
    }
    losses[f"always:{relative.baseline}"] = LossByLabels(0.0, 0.0, 0.0)
    own_gains = {(name, relative.baseline): _gain(loss) for name, loss in losses.items()}
    lacks_tier = any(losses[f"always:{tier}"] is None for tier in table.tiers)
    own_figures = (
        f._replace(
            quality=_quality(f.quality, losses.get(f.name), has_loss=f.name in losses, lacks_tier=lacks_tier)
        )
        for f in figures
        if f.name != "oracle"  # the best of scores that are expected is no answer's
    )
    return tuple(own_figures), own_gains


def _is_baseline_alone(run: Reports | HeldOutRun) -> bool:
    """Whether every answer that is reported is equal to the baseline's, and scores as that does."""
    return not run.differing.any() and bool((run.score == 1).all())


# ---------------------------------------------------------------- draws that are as wide as labels tell


class LabelMeans(NamedTuple):
    """Means of scores with their draws, and of each column whether too few labels give it an interval."""

    means: ColumnMeans
    lacks_labels: tuple[bool, ...]


def with_label_spread(means: ColumnMeans, differing: Floats, relative: RelativeScores | None) -> LabelMeans:
    """Widen the draws of mean scores to what the labels behind them tell.

    Scores of rows with chosen labels carry the chance of each label. A bootstrap of few of them is still too
    narrow, so that its draws are stretched until they are as wide as the interval of the loss by labels.

    Args:
        means: of K columns of scores beside a baseline's.
        differing: n×K, chances to report another answer than the baseline's.
        relative: of the same rows; where all rows have a label or none, nothing changes.
    """
    columns = differing.shape[1]
    if relative is None or not relative.has_label.any() or not len(means.draws):
        return LabelMeans(means, (False,) * columns)
    draws, lacks_labels = means.draws.copy(), []
    for k, chances in enumerate(differing.T):
        loss, spread = _loss_of_column(float(means.mean[k]), draws[:, k], chances, relative)
        lacks_labels.append(loss is None)
        if loss is not None and spread > 0:
            factor = max(loss.high - loss.value, loss.value - loss.low) / (NORMAL * spread)
            draws[:, k] = means.mean[k] + factor * (draws[:, k] - means.mean[k])
    return LabelMeans(ColumnMeans(means.mean, draws), tuple(lacks_labels))


def edge_beside(
    table: TraceTable, run: HeldOutRun | Replayed, alone: Singles, resamples: Resamples
) -> Edge | None:
    """Compute d with draws as wide as labels tell; None where too few labels stand behind it.

    Args:
        table: the rows.
        run: of a policy, with its cost and what it reports.
        alone: the single tiers on the same rows.
        resamples: of the table's questions.
    """
    if table.relative is None:
        return edge_of(run.score, run.cost, *alone, resamples)
    scores = ColumnMeans.of(np.column_stack([run.score, alone.score]), resamples)
    costs = ColumnMeans.of(np.column_stack([run.cost, alone.cost]), resamples)
    differing = np.column_stack([differing_chances(run.reports, table.score), 1 - table.score])
    (means, draws), lacks_labels = with_label_spread(scores, differing, table.relative)
    if any(lacks_labels):
        return None
    tiers = len(table.tiers)
    order = [0, tiers + 1, *range(1, tiers + 1), *range(tiers + 2, 2 * tiers + 2)]
    value = above_mix(np.concatenate([means, costs.mean])[order], tiers)
    return correct_bias(float(value), above_mix(np.hstack([draws, costs.draws])[:, order], tiers))


def score_draws(run: HeldOutRun, draws: Floats, relative: RelativeScores | None) -> Floats:
    """The draws of a run's mean score, as wide as labels tell."""
    means = ColumnMeans(np.array([run.score.mean()]), draws[:, None])
    return with_label_spread(means, run.differing[:, None], relative).means.draws[:, 0]


def _loss_of_column(
    mean: float, draws: Floats, chances: Floats, relative: RelativeScores
) -> tuple[LossByLabels | None, float]:
    """The loss by labels of a column, and the standard deviation of its draws."""
    differing, spread = float(chances.mean()), float(np.std(draws))
    if differing == 0:  # it is the baseline
        return LossByLabels(0.0, 0.0, 0.0), 0.0
    loss = loss_by_labels(1 - mean, spread, differing, chances, relative)
    return (None, spread) if spread == 0 else (loss, spread)  # labels that are all alike show no spread


def _gain(loss: LossByLabels | None) -> Measure:
    """Quality points above the baseline."""
    if loss is None:
        return Measure(None, TOO_FEW_LABELS)
    return Measure(-100 * loss.value, "", -100 * loss.high, -100 * loss.low)


def _quality(quality: Measure, loss: LossByLabels | None, *, has_loss: bool, lacks_tier: bool) -> Measure:
    """A quality beside the baseline's with the interval of the loss; withheld where that is.

    A mix of single tiers has no loss of its own: it has a value where each of them has one.
    """
    if loss is None:
        return Measure(None if has_loss or lacks_tier else quality.value, TOO_FEW_LABELS)
    return Measure(quality.value, "", 1 - loss.high, 1 - loss.low)
