"""Figures beside a baseline: where labels are few, each interval is that of the loss by labels, or none.

The bootstrap of rows knows nothing of how few labels stand behind them, so that a loss would have two
intervals, one of them too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.loss import LossAgainst, LossByLabels, Reports, estimate_loss, loss_of
from automix_cli.evaluation.rates import differing_chances
from automix_cli.pomdp.arrays import Floats
from automix_cli.texts import TOO_FEW_LABELS

if TYPE_CHECKING:
    from automix_cli.evaluation.calibrate import Figures
    from automix_cli.evaluation.held_out import HeldOutRun

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
        name: estimate_loss(run, resamples, float(table.grouping.means(run.differing).mean()), relative)
        for name, run in every.items()
    }
    losses[f"always:{relative.baseline}"] = LossByLabels(0.0, 0.0, 0.0)
    own_gains = {(name, relative.baseline): _gain(loss) for name, loss in losses.items()}
    own_figures = (f._replace(quality=_quality(f.quality, losses.get(f.name))) for f in figures)
    return tuple(own_figures), own_gains


def _gain(loss: LossByLabels | None) -> Measure:
    """Quality points above the baseline."""
    if loss is None:
        return Measure(None, TOO_FEW_LABELS)
    return Measure(-100 * loss.value, "", -100 * loss.high, -100 * loss.low)


def _quality(quality: Measure, loss: LossByLabels | None) -> Measure:
    """A quality beside the baseline's with the interval of the loss; without one where that is withheld."""
    if loss is None:
        return Measure(quality.value, TOO_FEW_LABELS)
    return Measure(quality.value, "", 1 - loss.high, 1 - loss.low)
