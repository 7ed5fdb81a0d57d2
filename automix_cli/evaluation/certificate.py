"""A promise with a bound: E[q·S_best - S_policy] ≤ 0 with probability at least p.

The rows are halved. On the fit half the model is fitted, the best single tier is picked and
the order of tests is fixed: that tier first (certified by definition), then rising
cost_weight. On the certify half each policy is tested in that order, and the first failure
ends it; because the order was fixed beforehand, no correction for the number of tests is
owed. What is certified is the policy as fitted on the fit half: it is not fitted again.

Each test bets against "the promise is broken" (Waudby-Smith and Ramdas, JRSS B 86, 2024,
1-27). While that is true no bettor's capital can be expected to grow, so by Ville's
inequality it reaches 1/(1 - p) with probability at most 1 - p. That holds for any bounded
differences and any number of rows; where most rows do not differ it needs few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.families import cost_weights
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always, CostWeight
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats

_LEAST_SPREAD_ROWS = 10  # with fewer no spread can be estimated
_STAKES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)  # of the most that may be staked


class Trial(NamedTuple):
    """One test: `margin` is the mean of S_policy - q·S_best, `capital` the highest that the bets reached."""

    setting: CostWeight
    margin: float
    capital: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The promise that could be proved.

    Attributes:
        keep: q, the share of the best tier's quality.
        confidence: p, with which it is kept.
        best: the tier that was best on the fit half.
        fitted: learned on the fit half; to be used as it is.
        setting: the last one certified; the best tier itself when no policy was.
        trials: all tests, in order, the failed one last.
        rows: rows of the certify half.
        labels: how many labels in all would likely do, when no policy was certified.
    """

    keep: float
    confidence: float
    best: str
    fitted: Fitted
    setting: Always | CostWeight
    trials: tuple[Trial, ...]
    rows: int
    labels: int | None = None

    @property
    def routes(self) -> bool:
        """Whether anything but the best single tier was certified."""
        return self.labels is None


def certify(
    table: TraceTable, settings: Settings, *, keep: float, confidence: float, seed: int = 0
) -> Certificate:
    """Find the cheapest policy whose promise can be proved.

    Args:
        table: rows that score every tier.
        settings: what the profile decides.
        keep: q, in 0..1.
        confidence: p, in 0..1.
        seed: of the halves, and of the order in which rows are bet on.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    half, rest = table.subset(order[: len(order) // 2]), table.subset(order[len(order) // 2 :])
    parameters = fit(half, settings)
    best = int(singles(half).score.mean(axis=0).argmax()) if len(half) else 0
    setting: Always | CostWeight = Always(table.tiers[best])
    trials: list[Trial] = []
    for result in _tests(rest, half, parameters, settings, best, keep):
        trials.append(result)
        if result.capital < 1 / (1 - confidence):
            break
        setting = result.setting
    return Certificate(
        keep=keep,
        confidence=confidence,
        best=table.tiers[best],
        fitted=parameters,
        setting=setting,
        trials=tuple(trials),
        rows=len(rest),
        labels=labels_needed(rest, best, keep, confidence) if isinstance(setting, Always) else None,
    )


def _tests(
    rest: TraceTable, half: TraceTable, parameters: Fitted, settings: Settings, best: int, keep: float
) -> Iterator[Trial]:
    """Test one cost_weight after the other, rising; a plan like the one before is not bet on again."""
    if not (len(half) and len(rest)):
        return
    reference, last_key, last = singles(rest).score[:, best], None, None
    for weight in cost_weights(half):
        policy = parameters.policy(weight, settings)
        key = None if policy.counts_tokens else policy.plan().decisions()
        setting = CostWeight(weight)
        if key is not None and key == last_key and last is not None:
            yield last._replace(setting=setting)
            continue
        run = replay(policy, rest, abstain_value=settings.abstain_value or 0.0)
        gain = run.score - keep * reference
        last = Trial(setting, float(gain.mean()), capital(gain, keep), float(run.cost.mean()))
        last_key = key
        yield last


def capital(gain: Floats, keep: float) -> float:
    """Return the highest capital that bets against "E[gain] ≤ 0" reached, from a capital of 1.

    Args:
        gain: independent differences in [-keep, 1], in an order that says nothing of them.
        keep: their lower bound is -keep.

    Example:
        >>> capital(np.full(200, 0.1), keep=0.9) > 10, capital(np.zeros(200), keep=0.9)
        (True, 1.0)
    """
    if not len(gain):
        return 1.0
    most = 1 / max(keep, 1e-12)  # a stake beyond this could lose more than there is
    before = np.arange(len(gain))
    mean = (np.concatenate([[0.0], np.cumsum(gain)[:-1]])) / (before + 1)
    square = (0.25 + np.concatenate([[0.0], np.cumsum(gain**2)[:-1]])) / (before + 1)
    adaptive = np.clip(mean / np.maximum(square, 1e-12), 0.0, 0.75 * most)
    stakes = np.vstack([adaptive, *(np.full(len(gain), s * most) for s in _STAKES)])
    logs = np.cumsum(np.log1p(stakes * gain), axis=1)
    peak = logs.max(axis=0)
    log_mean = np.log(np.exp(logs - peak).mean(axis=0)) + peak  # the mean of fair bets is a fair bet
    return float(math.exp(min(max(log_mean.max(), 0.0), 700.0)))


def labels_needed(rest: TraceTable, best: int, keep: float, confidence: float) -> int:
    """Estimate the labels that would certify a policy which loses half of what it may.

    The spread is that of these rows. A bet on differences of mean μ and mean square σ² grows like
    exp(n·μ²/2σ²); rows on which the policy and the best tier differ are taken to be as many as those
    on which two tiers do.
    """
    scores = singles(rest).score
    if len(scores) < _LEAST_SPREAD_ROWS:
        return 1000  # too few rows to see a spread in
    allowance = (1 - keep) * float(scores[:, best].mean())
    others = np.delete(scores, best, axis=1) if scores.shape[1] > 1 else scores
    spread = float(((others - scores[:, [best]]) ** 2).mean(axis=0).min()) + allowance**2
    margin = max(allowance / 2, 1e-3)
    labels = 2 * 2 * spread * math.log(1 / (1 - confidence)) / margin**2
    return max(2 * len(rest) + 1, _rounded_up(labels))


def _rounded_up(number: float) -> int:
    """Round up to two digits: the estimate is no better.

    Example:
        >>> _rounded_up(1234.0), _rounded_up(56)
        (1300, 56)
    """
    unit = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return int(math.ceil(number / unit) * unit)
