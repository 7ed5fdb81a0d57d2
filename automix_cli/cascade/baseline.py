"""What a batch would have cost, had one tier answered every question alone.

On the rows that the tier did not answer this is an estimate. Questions go to it because they look hard, and
hard ones take longer answers, so its mean cost on the rows that it did answer is too high for the others.
Costs that were fitted on labelled rows, of which every tier answered all, come nearer.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct, field

from automix_cli.fitting.router_block import fitted_answer_cost, held_out_quality, own_quality
from automix_cli.profile.model import Profile
from automix_cli.profile.router import differences
from automix_cli.records import Answer, Step
from automix_cli.usage import Usage, add_money

_FACTOR = 3.0  # times: costs that were fitted in another unit, or on other answers, are further away


class TierAnswers(Struct, frozen=True):
    """How many rows a tier answered, and the list price of these answers."""

    rows: int = 0
    cost_usd: float | None = 0.0

    def plus(self, step: Step) -> TierAnswers:
        """One more answer."""
        return TierAnswers(self.rows + 1, add_money(self.cost_usd, step.answer_cost))


class CostTally(Struct):
    """List prices of the rows that were run to their end, and what tells the cost of one tier on them.

    Attributes:
        baseline: the tier; "" for none.
        rows, cost_usd: of all rows.
        prompt_tokens: of the first answer on every row.
        answers: by tier.
        other_usage: of the answers reported on the rows that the baseline did not answer.
    """

    baseline: str = ""
    rows: int = 0
    cost_usd: float | None = 0.0
    prompt_tokens: int = 0
    answers: dict[str, TierAnswers] = field(default_factory=dict)
    other_usage: Usage = field(default_factory=Usage)

    def add(self, row: Answer) -> None:
        """Count one row, if it has a route."""
        if row.status not in ("ok", "abstained") or not row.route:
            return
        self.rows += 1
        self.cost_usd = add_money(self.cost_usd, row.cost_usd)
        self.prompt_tokens += row.route[0].answer_usage.input_tokens
        for step in row.route:
            self.answers[step.tier] = self.answers.get(step.tier, TierAnswers()).plus(step)
        if all(step.tier != self.baseline for step in row.route):
            self.other_usage = self.other_usage + row.route[-1].answer_usage


class BaselineCost(NamedTuple):
    """What a batch would have cost with one tier alone.

    Attributes:
        tier: its name.
        cost_usd: for all rows; None where its price is unknown.
        other_rows: those that it did not answer.
        source: where its cost on them comes from: `answers` (there are none of them), `fit` (labelled rows),
            `mean` (its other answers), `tokens` (its price and the tokens of the answers given).
    """

    tier: str
    cost_usd: float | None
    other_rows: int
    source: Literal["answers", "fit", "mean", "tokens"]


def baseline_cost(tally: CostTally, profile: Profile) -> BaselineCost:
    """Add up the cost of the baseline's answers, and estimate it where it gave none."""
    own = tally.answers.get(tally.baseline, TierAnswers())
    others = tally.rows - own.rows
    price = profile.tier(tally.baseline).list_price()
    if not others:
        return BaselineCost(tally.baseline, own.cost_usd, 0, "answers")
    if price is None or own.cost_usd is None:
        return BaselineCost(tally.baseline, None, others, "tokens")
    fitted = _fitted_cost(tally, profile)
    if fitted is not None:
        return BaselineCost(tally.baseline, fitted, others, "fit")
    if own.rows:
        return BaselineCost(tally.baseline, own.cost_usd / own.rows * tally.rows, others, "mean")
    return BaselineCost(tally.baseline, price.of(tally.other_usage), others, "tokens")


def _fitted_cost(tally: CostTally, profile: Profile) -> float | None:
    """What the fit expects the baseline to cost on all rows; None where it no longer applies.

    Rows that the baseline did answer count as expected, too: they are the dearer ones, and the fit is a mean
    over dearer and cheaper ones.
    """
    router, first = profile.router, profile.tiers[0].name
    if router is None or differences(profile) or "prices" not in (router.get("fitted") or {}):
        return None
    tokens = tally.prompt_tokens / tally.rows
    cost, expected = (fitted_answer_cost(router, name, tokens) for name in (tally.baseline, first))
    own = tally.answers.get(first)
    if own is not None and own.cost_usd and expected is not None:
        ratio = expected / (own.cost_usd / own.rows)
        if not 1 / _FACTOR <= ratio <= _FACTOR:
            return None
    return cost * tally.rows if cost else None


# ---------------------------------------------------------------- quality


class CalibratedQuality(NamedTuple):
    """What calibration says of the router's quality, as a share of the baseline's.

    Attributes:
        share: of the baseline's quality, measured of the router that is written, or the one that is promised.
        chance: the probability with which a certificate promises it; None without one.
        measure: what was compared: quality, agreement with a tier, or quality points that may be lost
            (`points`), of which 1 - share are promised.
        unproven: whether it was not shown that the router pays.
    """

    share: float
    chance: float | None = None
    measure: str = "quality"
    unproven: bool = False


def calibrated_quality(profile: Profile, baseline: str) -> CalibratedQuality | None:
    """Look up the quality that calibration measured; None where it measured none, or another one.

    Of the baseline alone there is nothing to tell: its quality is its own.
    """
    router = profile.router or {}
    fitted = router.get("fitted") or {}
    if not fitted or differences(profile) or router.get("tier") == baseline:
        return None
    certificate = fitted.get("certificate")
    if certificate:  # says more than the held-out figures do
        best, keep, chance = (certificate.get(key) for key in ("best", "keep", "confidence"))
        measure = "points" if "most_points" in certificate else "quality"
        return CalibratedQuality(keep, chance, measure) if best == baseline else None
    own, alone = own_quality(router), held_out_quality(router, f"always:{baseline}")
    if own is None or not alone:
        return None
    source = fitted.get("labels_from")
    measure = "quality" if source is None else f"agreement with {source}"
    unproven = bool(fitted.get("unproven")) and router.get("kind") != "always"
    return CalibratedQuality(own / alone, measure=measure, unproven=unproven)
