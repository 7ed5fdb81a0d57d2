"""What a policy can lose against a baseline: the most of it without a label, and an estimate by labels.

A policy that reports the baseline's answer loses nothing, whatever is right. So the share of questions that
are reported with another answer bounds the loss. Labels of such questions tell what it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from automix_cli.data.relative import RelativeScores
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.held_out import HeldOutRun
from automix_cli.evaluation.sequences import mean_bound, share_bounds
from automix_cli.fitting.student import student_quantile
from automix_cli.pomdp.arrays import Floats

CONFIDENCE = 0.95
_Z = 1.96
_FEWEST_LABELS = 5  # of rows that are reported and differ, with equal weights: with fewer the bound says more
_PSEUDO_LABELS = 4  # half of them losses (Agresti and Coull, American Statistician 52, 1998)

MOST_SKIPPED = 0.05
"""Share of the rows drawn to be labelled that may be skipped: with more, those may be the hard ones."""


class Reports(NamedTuple):
    """What a policy reports on each of n rows: what it is worth, and the chance that it differs."""

    score: Floats
    differing: Floats


class LossByLabels(NamedTuple):
    """The mean loss in points of 1 and its 95 % interval, by labels of rows with answers that differ."""

    value: float
    low: float
    high: float


class LossAgainst(NamedTuple):
    """What is known of the loss against a baseline; points are shares of 1.

    Attributes:
        baseline: the tier.
        differing: share of the questions that are reported with another answer than its.
        most: the upper 95 % bound of the loss on new questions, by that share and, where labels show equal
            answers that score otherwise, theirs.
        unlike: the part of `most` that these add.
        labels: rows with a label, and those of them on which some tier's answer differs.
        by_labels: the estimate; None where too few labels were given.
        n_skipped: rows that were drawn to be labelled, and were not.
        look: how many times the number of labels was fixed; the interval of a later look is wider, so that
            all together fail in at most 7.5 %: 5 % at the first, 2.5 % at all later ones.
    """

    baseline: str
    differing: float
    most: float
    labels: tuple[int, int]
    by_labels: LossByLabels | None
    unlike: float = 0.0
    n_skipped: int = 0
    look: int = 1


def loss_of(
    table: TraceTable, run: Reports | HeldOutRun, resamples: Resamples, seed: int = 0
) -> LossAgainst | None:
    """Measure the loss of a run on rows that were held out; None where every row has a label.

    Args:
        table: the rows.
        run: of a policy.
        resamples: of the table's questions.
        seed: of the order in which questions are bet on.
    """
    relative = table.relative
    if relative is None:
        return None
    order = table.grouping.shuffle(seed, "loss")
    differing = table.grouping.means(run.differing)
    differs = (table.score < 1).any(axis=1)
    labels = int(relative.has_label.sum()), int((relative.has_label & differs).sum())
    most, unlike = mean_bound(differing[order], 1 - CONFIDENCE), unlike_share(table)
    return LossAgainst(
        baseline=relative.baseline,
        differing=float(differing.mean()),
        most=min(most + unlike, 1.0),
        labels=labels,
        by_labels=estimate_loss(run, resamples, float(differing.mean()), relative),
        unlike=unlike,
        n_skipped=relative.n_skipped,
        look=relative.look,
    )


def unlike_share(table: TraceTable) -> float:
    """The upper 95 % bound of how often answers are equal and score otherwise; 0 where no label shows it.

    Only labelled rows on which some other tier's answer is equal to the baseline's can show it.
    """
    relative = table.relative
    if relative is None or not relative.is_unlike.any():
        return 0.0
    n = int((relative.has_label & ((table.score == 1).sum(axis=1) > 1)).sum())
    return share_bounds(int(relative.is_unlike.sum()), n, 1 - CONFIDENCE).high


def estimate_loss(
    run: Reports | HeldOutRun, resamples: Resamples, differing: float, relative: RelativeScores
) -> LossByLabels | None:
    """Estimate the loss, where labels of rows that are reported and differ suffice, and few were skipped.

    Labels that are all alike have no spread, and prove little: their share is given that of a few more.
    A row that was skipped counts as lost at the upper end of the interval, and as won at the lower one.

    Args:
        run: of a policy.
        resamples: of the table's questions.
        differing: the share of the questions that are reported with another answer than the baseline's.
        relative: what labels tell.
    """
    spread = float(resamples.means(run.score[:, None]).std())
    return loss_by_labels(1 - float(run.score.mean()), spread, differing, run.differing, relative)


def loss_by_labels(
    value: float, spread: float, differing: float, chances: Floats, relative: RelativeScores
) -> LossByLabels | None:
    """The same of a loss and its standard deviation over resamples.

    Args:
        value: the mean loss, in points of 1.
        spread: its standard deviation over resamples.
        differing: the share of the questions that are reported with another answer than the baseline's.
        chances: n, the chance of that on each row.
        relative: what labels tell.
    """
    labels, n_drawn = effective_labels(chances, relative), int(relative.has_label.sum())
    if labels < _FEWEST_LABELS or relative.n_skipped > MOST_SKIPPED * (n_drawn + relative.n_skipped):
        return None
    share = (abs(value) / max(differing, 1e-12) * labels + _PSEUDO_LABELS / 2) / (labels + _PSEUDO_LABELS)
    share = min(share, 1.0)
    least = differing * math.sqrt(share * (1 - share) / (labels + _PSEUDO_LABELS))
    error = max(spread, least)
    alpha = (1 - CONFIDENCE) / (1 if relative.look == 1 else 2**relative.look)
    width = student_quantile(1 - alpha / 2, labels - 1) * error
    below, above = relative.open_losses(chances)
    return LossByLabels(value, value - width - below, value + width + above)


def effective_labels(differing: Floats, relative: RelativeScores) -> float:
    """How many labels of equal weight tell as much of a policy's loss as those that were given (Kish).

    A label tells as much as its row is likely to be reported with another answer; where it is not at all,
    however many labels there are, it tells nothing.

    Args:
        differing: n, chances to report another answer than the baseline's.
        relative: of the same rows.
    """
    weight = (differing / relative.chance)[relative.has_label]
    return float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300))
