"""What a policy saves a payer against the baseline, and when the labelled rows are paid back.

Plain numbers, no arrays: costs are mean USD per question, qualities mean scores (0..1). None is a cost that
is unknown, and never taken for 0. `views/payer_lines.py` has the sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from automix_cli.evaluation.curves import Measure


class CostAndQuality(NamedTuple):
    """Mean USD per question and mean score of a policy."""

    cost: float | None
    quality: float | None = None


class Baseline(NamedTuple):
    """The tier that a payer would use without routing; `why` it was chosen, "" where that needs no word."""

    tier: str
    cost: float | None
    why: str = ""


def choose_baseline(tiers: Mapping[str, CostAndQuality], name: str | None = None) -> Baseline:
    """Take the tier of that name; without one the dearest, unless another tier is better.

    Args:
        tiers: cheapest first; where a cost is unknown the last one counts as the dearest.
        name: of the tier that was asked for.

    Example:
        >>> choose_baseline({"small": CostAndQuality(1.0, 0.6), "large": CostAndQuality(20.0, 0.9)})
        Baseline(tier='large', cost=20.0, why='')
        >>> choose_baseline({"small": CostAndQuality(1.0, 0.9), "large": CostAndQuality(20.0, 0.6)})
        Baseline(tier='small', cost=1.0, why='the best single tier')
    """
    if name is not None:
        return Baseline(name, tiers[name].cost)
    names = list(tiers)[::-1]
    is_priced = all(tier.cost is not None for tier in tiers.values())
    dearest = max(names, key=lambda name: tiers[name].cost or 0.0) if is_priced else names[0]
    best = max(tiers, key=lambda name: _quality(tiers[name]))
    if _quality(tiers[best]) > _quality(tiers[dearest]):
        return Baseline(best, tiers[best].cost, "the best single tier")
    return Baseline(dearest, tiers[dearest].cost)


def _quality(tier: CostAndQuality) -> float:
    return -math.inf if tier.quality is None else tier.quality


class Offer(Struct, frozen=True, kw_only=True):
    """A policy as a payer weighs it.

    Attributes:
        subject: what the policy is called.
        tier: the single tier that it comes to; None where it routes.
        cost: its USD per question.
        baseline: what it is compared with.
        gain: quality points above the baseline; None where they are not known.
        measure: what a score is called.
        rows, rows_cost: the labelled rows, and the USD that all answers and votes cost altogether.
        set_aside_cost: the USD in it that went to rows which were set aside.
    """

    subject: str
    cost: float | None
    baseline: Baseline
    tier: str | None = None
    gain: Measure | None = None
    measure: str = "quality"
    rows: int = 0
    rows_cost: float | None = None
    set_aside_cost: float = 0.0

    @property
    def is_baseline(self) -> bool:
        """Whether the policy is the baseline itself."""
        return self.tier == self.baseline.tier

    @property
    def saving(self) -> float | None:
        """USD per question below the baseline; None where a cost is unknown."""
        if self.cost is None or self.baseline.cost is None:
            return None
        return self.baseline.cost - self.cost

    @property
    def payback(self) -> int | None:
        """Questions that pay back the labelled rows; None for never, or where a cost is unknown."""
        if self.saving is None or self.saving <= 0 or self.rows_cost is None:
            return None
        return math.ceil(self.rows_cost / self.saving)


def make_offer(
    policy: str,
    policies: Mapping[str, CostAndQuality],
    tiers: Sequence[str],
    gains: Mapping[tuple[str, str], Measure],
    *,
    subject: str = "Routing",
    baseline: str | None = None,
    measure: str = "quality",
    rows: int = 0,
    rows_cost: float | None = None,
    set_aside_cost: float = 0.0,
) -> Offer:
    """Set a policy beside the baseline.

    Args:
        policy: its name; `always:NAME` is a single tier.
        policies: by name, the single tiers among them.
        tiers: their names, cheapest first.
        gains: quality points by (policy, tier).
        subject: what a policy that routes is called.
        baseline: the tier to compare with; None chooses one.
        measure: what a score is called.
        rows: how many rows were labelled.
        rows_cost: the USD of all answers and votes.
        set_aside_cost: the USD in it that went to rows which were set aside.
    """
    beside = choose_baseline({name: policies[f"always:{name}"] for name in tiers}, baseline)
    tier = policy.removeprefix("always:") if policy.startswith("always:") else None
    return Offer(
        subject=subject if tier is None else f"{tier} alone",
        tier=tier,
        cost=policies[policy].cost,
        baseline=beside,
        gain=gains.get((policy, beside.tier)),
        measure=measure,
        rows=rows,
        rows_cost=rows_cost,
        set_aside_cost=set_aside_cost,
    )
