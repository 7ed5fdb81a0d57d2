"""A promise with a bound: E[q·S_best - S_policy] ≤ 0 with probability at least p.

The questions are halved. On the fit half the model is fitted, the best single tier is picked and
the order of tests is fixed: that tier first (certified by definition), then rising
cost_weight. On the certify half each policy is tested in that order, and the first failure
ends it; because the order was fixed beforehand, no correction for the number of tests is
owed. What is certified is the policy as fitted on the fit half: it is not fitted again.
All rows of a question are in one half and make one bet, with their mean: copies prove nothing.

Each test bets against "the promise is broken" (`sequences.capital`). While that is true no
bettor's capital can be expected to grow, so it reaches 1/(1 - p) with probability at most 1 - p.
That holds for any bounded differences and any number of rows; where most rows do not differ it
needs few of them.

Where not every row has a label, answers are compared with a baseline's, and the promise is another one: at
most 100·(1 - q) points are lost against it. Each difference that no label shows counts as lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.families import cost_weights
from automix_cli.evaluation.loss import unlike_share
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.sequences import STAKES, capital, log_capitals
from automix_cli.evaluation.settings import Always, CostWeight
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.histories import TierPath
from automix_cli.pomdp.problem import Action

_LEAST_SPREAD_QUESTIONS = 10  # with fewer no spread can be estimated


class Trial(NamedTuple):
    """One test: `margin` is the mean of S_policy - q·S_best, `capital` the highest that the bets reached.

    Means are over questions. `is_best` tells whether the policy reports what the best
    single tier says, whatever the votes: then it keeps that quality by definition.
    """

    setting: CostWeight
    margin: float
    capital: float
    cost: float
    is_best: bool = False


class Certificate(Struct, frozen=True, kw_only=True):
    """The promise that could be proved.

    Attributes:
        keep: q, the share of the best tier's quality; beside a baseline 1 - q points of 1 may be lost.
        confidence: p, with which it is kept.
        best: the tier that was best on the fit half, or the baseline.
        fitted: learned on the fit half; to be used as it is.
        setting: the last one certified that costs less than the best tier; that tier itself without one.
        trials: all tests, in order, the failed one last.
        questions: in the certify half.
        fit_rows, test_rows: of the two halves.
        labels: how many labelled questions in all would likely do, when there is no such setting.
        beside: whether `best` is a baseline, against which so many points at most are lost.
    """

    keep: float
    confidence: float
    best: str
    fitted: Fitted
    setting: Always | CostWeight
    trials: tuple[Trial, ...]
    questions: int
    fit_rows: int = 0
    test_rows: int = 0
    labels: int | None = None
    beside: bool = False

    @property
    def most_points(self) -> float:
        """The quality points that may be lost, where that is what is promised."""
        return round(100 * (1 - self.keep), 6)

    @property
    def routes(self) -> bool:
        """Whether anything but the best single tier was certified."""
        return self.labels is None

    def promise(self) -> dict[str, Any]:
        """What is promised, as plain values, for the `router:` block."""
        return {
            "keep": self.keep,
            "confidence": self.confidence,
            "best": self.best,
            "questions": self.questions,
            **({"most_points": self.most_points} if self.beside else {}),
        }


class Halves(NamedTuple):
    """The rows of one half of the questions, to fit on, and the rest, to test on."""

    fit: TraceTable
    rest: TraceTable


def certify(
    table: TraceTable, settings: Settings, *, keep: float, confidence: float, seed: int = 0
) -> Certificate:
    """Find the cheapest policy whose promise can be proved.

    Args:
        table: rows that score every tier.
        settings: what the profile decides.
        keep: q, in 0..1.
        confidence: p, in 0..1.
        seed: of the halves, and of the order in which questions are bet on.
    """
    goal = keep + unlike_share(table)
    half, rest = halves(_with_least(table).with_vote_limit(), seed)
    parameters = fit(half, settings)
    best = _reference(half)
    setting: Always | CostWeight = Always(table.tiers[best])
    best_cost = _by_question(rest, singles(rest).cost).mean(axis=0)[best] if len(rest) else 0.0
    trials: list[Trial] = []
    for result in _tests(rest, half, parameters, settings, best, goal, seed):
        trials.append(result)
        if result.capital < 1 / (1 - confidence):
            break
        if result.cost < best_cost:  # all that passed are certified; what saves nothing is no router
            setting = result.setting
    return Certificate(
        keep=keep,
        confidence=confidence,
        best=table.tiers[best],
        fitted=parameters,
        setting=setting,
        trials=tuple(trials),
        questions=rest.n_groups,
        fit_rows=len(half),
        test_rows=len(rest),
        labels=labels_needed(rest, best, keep, confidence) if isinstance(setting, Always) else None,
        beside=table.relative is not None,
    )


def _with_least(table: TraceTable) -> TraceTable:
    """The table with scores beside a baseline's at their least: 0 to 2, and a bet cannot lose more than 1."""
    relative = table.relative
    return table if relative is None else replace(table, relative=replace(relative, worth=relative.least))


def _reference(half: TraceTable) -> int:
    """The place of the tier that policies are compared with: the baseline, else the best one by question."""
    if half.beside is not None:
        return half.tiers.index(half.beside)
    return int(_by_question(half, singles(half).score).mean(axis=0).argmax()) if len(half) else 0


def halves(table: TraceTable, seed: int) -> Halves:
    """Halve the questions by their content."""
    is_fitted_on = np.zeros(table.n_groups, dtype=np.bool_)
    is_fitted_on[table.grouping.shuffle(seed, "halves")[: table.n_groups // 2]] = True
    rows = is_fitted_on[table.groups]
    return Halves(table.subset(rows), table.subset(~rows))


def _by_question(table: TraceTable, columns: Floats) -> Floats:
    """Means over the rows of each question, G×K of n×K."""
    return np.stack([table.grouping.means(column) for column in columns.T], axis=1)


def _tests(
    rest: TraceTable,
    half: TraceTable,
    parameters: Fitted,
    settings: Settings,
    best: int,
    keep: float,
    seed: int,
) -> Iterator[Trial]:
    """Test one cost_weight after the other, rising; a plan like the one before is not bet on again."""
    if not (len(half) and len(rest)):
        return
    reference, last_key, last = singles(rest).score[:, best], None, None
    order = rest.grouping.shuffle(seed, "bets")
    for weight in cost_weights(half):
        policy = parameters.policy(weight, settings)
        key = None if policy.plan_model.counts_tokens else policy.plan().decisions()
        setting = CostWeight(weight)
        if key is not None and key == last_key and last is not None:
            yield last._replace(setting=setting)
            continue
        run = replay(policy, rest, abstain_value=settings.abstain_value or 0.0)
        gain, cost = _by_question(rest, np.stack([run.score - keep * reference, run.cost], axis=1))[order].T
        is_best = key is not None and _reports_only(key, best)
        highest = math.inf if is_best and keep <= 1 else capital(gain, keep)
        last = Trial(setting, float(gain.mean()), highest, float(cost.mean()), is_best)
        last_key = key
        yield last


def _reports_only(decisions: Iterable[tuple[TierPath, int, Action]], tier: int) -> bool:
    """Tell whether every question that a plan may meet ends with the answer of one tier."""
    return all(action.tier == tier for *_, action in decisions if action.final)


def questions_needed(keep: float, confidence: float) -> int:
    """Return the fewest questions with which anything could be certified, both halves together.

    Even a policy that loses no answer of a tier that is always right gains 1 - keep on each
    question, and so many bets does its proof take. Recorded rows need more than that wherever
    an answer is lost.

    Args:
        keep: q, below 1.
        confidence: p, in 0..1.

    Example:
        >>> [questions_needed(keep, 0.9) for keep in (0.9, 0.95, 0.98)]
        [85, 177, 451]
    """
    goal, gain = -math.log(1 - confidence), 1 - keep
    growth = math.log1p(max(STAKES) * gain / max(keep, 1e-12))  # of the bettor that stakes most
    surely = math.ceil((goal + math.log(len(STAKES) + 1)) / growth)
    bets = int((log_capitals(np.full(surely, gain), keep) < goal).sum()) + 1
    return 2 * bets - 1


def labels_needed(rest: TraceTable, best: int, keep: float, confidence: float) -> int:
    """Estimate the labelled questions that would certify a policy which loses half of what it may.

    The spread is that of these questions. A bet on differences of mean μ and mean square σ² grows like
    exp(n·μ²/2σ²); questions on which the policy and the best tier differ are taken to be as many as
    those on which two tiers do.
    """
    if rest.n_groups < _LEAST_SPREAD_QUESTIONS:
        return 1000  # too few questions to see a spread in
    scores = _by_question(rest, singles(rest).score)
    allowance = (1 - keep) * float(scores[:, best].mean())
    others = np.delete(scores, best, axis=1) if scores.shape[1] > 1 else scores
    spread = float(((others - scores[:, [best]]) ** 2).mean(axis=0).min()) + allowance**2
    margin = max(allowance / 2, 1e-3)
    labels = 2 * 2 * spread * math.log(1 / (1 - confidence)) / margin**2
    least = questions_needed(keep, confidence) if keep < 1 else 0
    return max(2 * rest.n_groups + 1, least, _rounded_up(labels))


def _rounded_up(number: float) -> int:
    """Round up to two digits: the estimate is no better.

    Example:
        >>> _rounded_up(1234.0), _rounded_up(56)
        (1300, 56)
    """
    unit = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return int(math.ceil(number / unit) * unit)
