"""What a payer reads: dollars per 1,000 questions, the share saved, and quality. Nothing here prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from automix_cli.cascade.baseline import (
    BaselineCost,
    CalibratedQuality,
    CostTally,
    baseline_cost,
    calibrated_quality,
)
from automix_cli.profile.model import Profile
from automix_cli.texts import TOO_FEW_LABELS, count_of, share_text
from automix_cli.views.lines import money

if TYPE_CHECKING:
    from automix_cli.evaluation.payer import Offer  # a batch of `ask` loads nothing of evaluation

# ---------------------------------------------------------------- what calibrate and bench measured


def offer_lines(offer: Offer) -> list[str]:
    """Write a sentence about cost and quality, and one about when the labelled rows are paid back."""
    sentences = [_offer_sentence(offer)]
    if offer.rows and not offer.is_baseline and offer.saving is not None and offer.saving > 0:
        sentences.append(_payback_sentence(offer))
    return sentences


def _offer_sentence(offer: Offer) -> str:
    """Write cost and quality beside the baseline's."""
    baseline = offer.baseline
    if offer.cost is None:
        return f"{offer.subject}: the cost is unknown, because a price is."
    own, other = money_apart(1000 * offer.cost, 1000 * (baseline.cost or 0.0))
    price = f"{own} per 1,000 questions"
    if offer.is_baseline:
        why = f", {baseline.why}," if baseline.why else ""
        return f"No routing: {baseline.tier} alone{why} costs {price}."
    if baseline.cost is None:
        return f"{offer.subject}: {price}; what {baseline.tier} alone costs is unknown."
    why = f", {baseline.why}" if baseline.why else ""
    saving = compare_costs(offer.cost, baseline.cost)
    bracket = f" ({saving.words})" if saving else ""
    gain = _gain_words(offer)
    comma = "," if why and not bracket and gain.startswith(" ") else ""
    instead = f"instead of {other} with {baseline.tier}{why}{bracket}{comma}"
    return f"{offer.subject}: {price} {instead}{gain}."


def money_apart(cost: float, other: float) -> tuple[str, str]:
    """Two sums, with more digits where they would look the same and are not.

    Example:
        >>> money_apart(1.2, 2.08), money_apart(0.0916, 0.09), money_apart(0.09, 0.09)
        (('$1.20', '$2.08'), ('$0.0916', '$0.0900'), ('$0.09', '$0.09'))
    """
    own, beside = money(cost), money(other)
    if own != beside or cost == other or not cost:
        return own, beside
    digits = max(2, 2 - math.floor(math.log10(abs(cost))))
    return f"${cost:,.{digits}f}", f"${other:,.{digits}f}"


def _payback_sentence(offer: Offer) -> str:
    rows = count_of(offer.rows, "labelled row" if offer.measure == "quality" else "row")
    if offer.payback is None:
        return f"What the {rows} cost is unknown."
    questions = count_of(offer.payback, "question")
    aside = f", {money(offer.set_aside_cost)} of it for rows set aside" if offer.set_aside_cost else ""
    cost = f"{money(offer.rows_cost)} (all answers and votes{aside})"
    return f"The {rows} cost {cost}: paid back after {questions}."


def _gain_words(offer: Offer) -> str:
    gain = offer.gain
    if gain is None or gain.value is None:
        is_withheld = gain is not None and gain.reason == TOO_FEW_LABELS
        return f"; {TOO_FEW_LABELS} at what {offer.measure}" if is_withheld else ""
    if gain.value == gain.low == gain.high == 0:
        return f" at the same {offer.measure} on every row"
    return f" at {signed_points(gain.value)} points of {offer.measure}{gain_bounds(gain.low, gain.high)}"


def signed_points(points: float) -> str:
    """Write quality points; what rounds to nothing is not below zero.

    Example:
        >>> signed_points(-1.26), signed_points(-0.04)
        ('-1.3', '+0.0')
    """
    text = f"{points:+.1f}"
    return "+0.0" if text == "-0.0" else text


def gain_bounds(low: float | None, high: float | None) -> str:
    """Write an interval of quality points in brackets; "" for none."""
    if low is None or high is None:
        return ""
    return f" (95 %: {signed_points(low)} to {signed_points(high)})"


class Comparison(NamedTuple):
    """Two costs compared: the words, and what follows them before the other's name."""

    words: str
    joint: str


def compare_costs(cost: float, other: float) -> Comparison | None:
    """Say how much cheaper or dearer one cost is than another; None where the other is nothing.

    Example:
        >>> compare_costs(3.1, 9.4), compare_costs(9.4, 3.1)
        (Comparison(words='67 % cheaper', joint='than'), Comparison(words='3.0 times as dear', joint='as'))
    """
    if other <= 0:
        return None
    share = 100 * (1 - cost / other)
    if abs(share) < 0.5:
        return Comparison("as dear", "as")
    if share > 0:
        # what costs something is never 100 % cheaper
        percent = f"{min(share, 99.9):.1f}" if 99 < share < 100 else f"{share:.0f}"
        return Comparison(f"{percent} % cheaper", "than")
    if cost >= 2 * other:
        ratio = cost / other
        return Comparison(f"{ratio:,.{1 if ratio < 10 else 0}f} times as dear", "as")
    return Comparison(f"{-share:.0f} % dearer", "than")


# ---------------------------------------------------------------- a batch of ask


def batch_line(costs: CostTally, profile: Profile, *, whole: bool = True) -> str:
    """Write what a batch cost per 1,000 questions, beside the dearest tier alone; "" without answers.

    Rows that failed, were skipped or not asked are mostly those that escalate: a saving without them would
    be too large, and calibration told nothing of the others alone.
    """
    if not costs.rows:
        return ""
    if costs.cost_usd is None:
        names = ", ".join(tier.name for tier in profile.tiers if tier.list_price() is None)
        return f"cost per 1,000 questions unknown: no price of {names or 'the embedding model'}"
    line = f"{money(1000 * costs.cost_usd / costs.rows)} per 1,000 questions at list price"
    if len(profile.tiers) == 1:
        return line
    if not whole:
        rows = count_of(costs.rows, "answered row")
        return f"{line}, of the {rows} alone: the others may cost more, so that no saving is claimed"
    line += _beside_baseline(costs.cost_usd, costs.rows, baseline_cost(costs, profile))
    quality = calibrated_quality(profile, costs.baseline)
    return line if quality is None else f"{line}; {_quality_words(quality, costs.baseline)}"


def _beside_baseline(cost: float, rows: int, baseline: BaselineCost) -> str:
    if baseline.cost_usd is None:
        return f"; what {baseline.tier} alone costs is unknown: no price of {baseline.tier}"
    comparison = compare_costs(cost, baseline.cost_usd)
    if comparison is None:
        return ""
    about = "about " if baseline.other_rows else ""
    words = f", {about}{comparison.words} {comparison.joint} {baseline.tier} alone"
    return words + _estimate_words(rows, baseline)


_SOURCES = {
    "mean": ", and counts there at its mean on the others, which are often harder",
    "tokens": ", and counts there at the tokens of the answers given, too few if it reasons at length",
}


def _estimate_words(rows: int, baseline: BaselineCost) -> str:
    """Where the cost of the baseline comes from, where it did not answer every question."""
    if not baseline.other_rows:
        return ""
    source = _SOURCES.get(baseline.source, "")
    others = f"{baseline.other_rows:,} of {count_of(rows, 'question')}"
    return f" (estimate: {baseline.tier} was not asked on {others}{source})"


def _quality_words(quality: CalibratedQuality, tier: str) -> str:
    """The quality that calibration measured or promised.

    Example:
        >>> _quality_words(CalibratedQuality(0.989), "large")
        "calibrated at 98.9 % of large's quality"
        >>> _quality_words(CalibratedQuality(0.98, 0.999), "large")
        "certified to keep 98 % of large's quality with probability 99.9 %"
    """
    share = share_text(quality.share, ".1%").removesuffix("%").removesuffix(".0")
    if quality.chance is not None:
        promise = f"keep {share} % of {tier}'s quality"
        if quality.measure == "points":
            promise = f"lose at most {100 * (1 - quality.share):.4g} points against {tier}"
        return f"certified to {promise} with probability {100 * quality.chance:.4g} %"
    unproven = " (that it pays is unproven)" if quality.unproven else ""
    if quality.measure != "quality":
        return f"calibrated at {share} % {quality.measure}{unproven}"
    return f"calibrated at {share} % of {tier}'s quality{unproven}"
