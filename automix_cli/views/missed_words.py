"""Whether a policy reached on held-out rows what was asked for, and the sentence where it did not."""

from __future__ import annotations

import math
from typing import NamedTuple

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import ROUNDING_ERROR
from automix_cli.evaluation.objective import Objective
from automix_cli.views.lines import money


class Attainment(NamedTuple):
    """What a policy reached of an objective on held-out rows.

    Attributes:
        share: of the best tier's quality there; None where that is 0 or nothing was to be kept.
        cost: USD per question.
        is_met: whether the objective is met there.
        within_chance: whether it was missed by less than the 95 % interval of what was reached.
    """

    share: float | None
    cost: float
    is_met: bool
    within_chance: bool = False


def compare_with_objective(
    objective: Objective, cost: Measure, quality: Measure, best: float, gain: Measure | None
) -> Attainment | None:
    """Compare held-out figures of a policy with an objective; None where it has no bar, or no figure.

    Args:
        objective: what was asked for.
        cost: USD per question, of the policy.
        quality: of the policy.
        best: quality of the best single tier on the same rows.
        gain: quality points of the policy above that tier, with their interval.

    Example:
        >>> compare_with_objective(Objective("keep", 0.98), Measure(0.001), Measure(0.9), 0.9, None)
        Attainment(share=1.0, cost=0.001, is_met=True, within_chance=False)
    """
    if cost.value is None or quality.value is None:
        return None
    if objective.kind == "budget":
        within_chance = cost.low is not None and cost.low <= objective.value
        is_met = cost.value <= objective.value * (1 + ROUNDING_ERROR)
        return Attainment(None, cost.value, is_met, not is_met and within_chance)
    if objective.kind != "keep" or best <= 0:
        return None
    is_met = quality.value >= (objective.value - ROUNDING_ERROR) * best
    least_gain = 100 * (objective.value - 1) * best
    within_chance = gain is not None and gain.high is not None and gain.high >= least_gain
    return Attainment(quality.value / best, cost.value, is_met, not is_met and within_chance)


def missed_words(own: Attainment | None, objective: Objective, beside: str | None = None) -> str:
    """Say that an objective was missed, and by how much; "" where it was not.

    `beside` is the baseline that answers are compared with; None for labels.

    Example:
        >>> missed_words(Attainment(0.962, 0.001, False), Objective("keep", 0.98))
        " But --keep 0.98 was missed: on these rows it keeps 96.2 % of the best tier's quality."
    """
    if own is None or own.is_met:
        return ""
    chance = ", which chance alone may do" if own.within_chance else ""
    if own.share is None:
        price = f"{money(1000 * own.cost)} per 1,000 questions"
        return f" But --budget {1000 * objective.value:g} was missed: on these rows it costs {price}{chance}."
    share = float(f"{100 * own.share:.3g}")
    if share >= 100 * objective.value:  # it must not look as if it was met
        share = math.floor(1000 * own.share) / 10
    what = f"keeps {share:g} % of the best tier's quality"
    if beside is not None:
        what = f"loses {100 - share:.3g} points against {beside}"
    return f" But --keep {objective.value:g} was missed: on these rows it {what}{chance}."
