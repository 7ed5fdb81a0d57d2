"""Differences between two runs on the same questions: an interval, and the power of a gate on it.

Most questions come out alike in both runs, so that an interval rests on few that do not, and the usual
ones are too narrow: of four differing questions all four are lost in one of 16 runs in which nothing
changed. The interval here is the Bayesian bootstrap (Rubin, Ann. Stat. 9, 1981) by question, with one
question more at the far end of the scale: lost for the lower bound, won for the upper one. Where a
question is won or lost this is the exact bound of Clopper and Pearson; for graded scores it is Gaffke's
(see Learned-Miller and Thomas, 2019). Where both policies were trained, the luck of their training
(`choice_luck.py`) is convolved with it: to each draw of the mean change a draw of the luck is added, which
rests on other rows, and which more held-out rows do not narrow. `tests/benchmarks/gate.py` measures how
often it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.bootstrap import Interval
from automix_cli.pomdp.arrays import Floats, Ints

INTERVAL_DRAWS = 20_000
FEWEST_INTERVAL_DRAWS = 2_000
_ALL_WEIGHTS = 1 << 25  # weights drawn for one interval
_WEIGHTS_AT_ONCE = 1 << 20  # weights drawn at a time
_FARTHEST = 1 << 24  # rows beyond which no number of rows is named
NO_LUCK: Floats = np.empty(0)
_LUCK_POINTS = 15  # of the luck of a run, over which its power is averaged


class PairedSums(NamedTuple):
    """What two runs come to on each of G questions, or groups of them.

    Attributes:
        change: G, the sum over its rows of the new value minus the earlier one.
        base: G, what the sum of changes is divided by: the rows, or the sum of earlier values.
        most: the largest change that one question more could bring.
        more: what that question would add to the base.
        luck: equally likely values by which the luck of training moves the mean change; () for none.
        effect: the same for the middle of its interval; () for the same values.
    """

    change: Floats
    base: Floats
    most: float
    more: float
    luck: Floats = NO_LUCK
    effect: Floats = NO_LUCK

    @property
    def value(self) -> float:
        """The mean change, or its share of the earlier value."""
        return float(self.change.sum() / self.base.sum())


def paired_interval(
    sums: PairedSums, level: float = 0.95, *, times: float = 1.0, extra: float = 1.0, seed: int = 0
) -> Interval:
    """The interval of a mean change.

    Args:
        sums: per question.
        level: its two ends are each wrong with probability (1 - level)/2 at most.
        times: as if each question had been seen so often.
        extra: how many questions more there are at each end of the scale.
        seed: of the draws; the order of the questions changes nothing.

    Example:
        >>> sums = PairedSums(np.array([-1.0] * 4 + [0.0] * 96), np.ones(100), 1.0, 1.0)
        >>> [round(bound, 2) for bound in paired_interval(sums)]
        [-0.1, 0.01]
    """
    pairs, counts = np.unique(np.column_stack([sums.change, sums.base]), axis=0, return_counts=True)
    rng, shapes = np.random.default_rng(seed), counts * times
    draws = int(np.clip(_ALL_WEIGHTS // len(pairs), FEWEST_INTERVAL_DRAWS, INTERVAL_DRAWS))
    step = max(1, _WEIGHTS_AT_ONCE // len(pairs))
    sizes = [min(step, draws - start) for start in range(0, draws, step)]
    change, base = np.concatenate([rng.gamma(shapes, size=(n, len(shapes))) @ pairs for n in sizes]).T
    more = rng.gamma(extra, size=draws) if extra else np.zeros(draws)
    luck = rng.choice(sums.luck, draws) if len(sums.luck) else np.zeros(draws)
    ends = [(change + sign * more * sums.most) / (base + more * sums.more) + luck for sign in (-1, 1)]
    tail = (1 - level) / 2
    return Interval(float(np.quantile(ends[0], tail)), float(np.quantile(ends[1], 1 - tail)))


def rows_to_tell(
    sums: PairedSums, groups: int, level: float, is_told: Callable[[Interval], bool]
) -> int | None:
    """How many questions it takes to tell, if more come out as these did; None for more than can be named.

    Args:
        sums: per question.
        groups: how many questions there are now.
        level: of the interval.
        is_told: whether an interval tells.
    """
    low, high = 1.0, 2.0
    while not is_told(paired_interval(sums, level, times=high)):
        low, high = high, 2 * high
        if high * groups > _FARTHEST:
            return None
    for _ in range(5):  # to within 3 %: more would promise too much
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_told(paired_interval(sums, level, times=middle)) else (middle, high)
    return math.ceil(high * groups)


# ------------------------------------------------------------------ power


def chance_to_catch(
    rows: int,
    differing: float,
    loss: float,
    bar: float = 0.0,
    level: float = 0.95,
    draws: int = 1_000,
    *,
    luck: Floats = NO_LUCK,
    effect: Floats = NO_LUCK,
) -> float:
    """The chance that a run with a true loss fails the gate "the change is at least `bar`".

    Args:
        rows: paired questions.
        differing: share of them that are won or lost.
        loss: won minus lost, as a share of all, with the sign turned.
        bar: of the gate.
        level: of its interval.
        draws: for each bound.
        luck: of training, see `PairedSums`: it widens the interval.
        effect: of training, see `PairedSums`: it moves what is lost.

    Example:
        >>> 0.6 < chance_to_catch(1000, 0.06, 0.02) < 0.75, chance_to_catch(1000, 0.06, 0.0) <= 0.025
        (True, True)
    """
    if loss > differing + 1e-12 or differing > 1:
        raise ValueError("a loss is at most the share that differs")
    luck = luck - luck.mean() if len(luck) else np.zeros(1)
    effect = effect - effect.mean() if len(effect) else luck
    points = np.quantile(effect, (np.arange(_LUCK_POINTS) + 0.5) / _LUCK_POINTS) if luck.any() else luck
    shares = [_lost_and_won(differing, loss - own) for own in points.tolist()]
    most_lost, most_won = (_most(rows, max(own)) for own in zip(*shares, strict=True))
    least_losses = _losses_needed(rows, most_won, most_lost, bar, level, draws, luck)
    return float(np.mean([_chance_of(rows, lost, won, least_losses) for lost, won in shares]))


def _lost_and_won(differing: float, loss: float) -> tuple[float, float]:
    """The shares that are lost and won, of those that differ."""
    own = min(max(loss, -differing), differing)
    return (differing + own) / 2, (differing - own) / 2


def _chance_of(rows: int, loss_share: float, win_share: float, least_losses: Sequence[int]) -> float:
    """The chance that so many are lost, beside those won, that the gate fails."""
    win_chances = _binomial(rows, win_share, len(least_losses))
    return float(win_chances @ _upper_tails(rows, loss_share / (1 - win_share), np.array(least_losses)))


def smallest_loss_caught(
    rows: int,
    differing: float,
    bar: float = 0.0,
    level: float = 0.95,
    chance: float = 0.8,
    *,
    luck: Floats = NO_LUCK,
    effect: Floats = NO_LUCK,
) -> float | None:
    """The loss that is caught with this chance; None where not even losing all that differ would be.

    Example:
        >>> round(smallest_loss_caught(400, 0.06), 2), smallest_loss_caught(50, 0.06)
        (0.04, None)
    """

    def is_caught(loss: float) -> bool:
        return chance_to_catch(rows, differing, loss, bar, level, luck=luck, effect=effect) >= chance

    if not is_caught(differing):
        return None
    low, high = 0.0, differing
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (low, middle) if is_caught(middle) else (middle, high)
    return high


def _losses_needed(
    rows: int, most_won: int, most_lost: int, bar: float, level: float, draws: int, luck: Floats
) -> list[int]:
    """For 0, 1, … questions won, how many must be lost so that the upper bound is below the bar.

    Sums of exponential weights are cumulated once, so that every count has its gamma weight.
    """
    rng = np.random.default_rng(0)
    wins = rng.exponential(size=(draws, most_won + 2)).cumsum(axis=1)  # one won question more
    losses = np.hstack([np.zeros((draws, 1)), rng.exponential(size=(draws, most_lost + 1)).cumsum(axis=1)])
    noise = rng.standard_normal(draws)
    bars = bar - (rng.choice(luck, draws) if luck.any() else np.zeros(draws))

    def is_below(w: int, k: int) -> bool:
        same = max(rows - w - k, 0)
        # Wilson and Hilferty's normal form of a gamma variable: `same` is large wherever it matters.
        weight = same * (1 - 1 / (9 * max(same, 1)) + noise / (3 * math.sqrt(max(same, 1)))) ** 3
        top, bottom = wins[:, w] - losses[:, k], wins[:, w] + losses[:, k] + weight
        return bool((top < bars * bottom).mean() >= (1 + level) / 2)

    least, k = list[int](), 0
    for w in range(most_won + 1):
        while k <= most_lost and not is_below(w, k):
            k += 1
        least.append(k)
    return least


def _most(rows: int, share: float) -> int:
    """A count that is exceeded about once in a million."""
    return min(rows, math.ceil(rows * share + 5 * math.sqrt(rows * share) + 5))


def _binomial(rows: int, share: float, counts: int) -> Floats:
    """The probabilities of 0, 1, … of so many rows."""
    probabilities: Floats = _binomials(np.array([rows]), share, counts)[0]
    return probabilities


def _binomials(rows: Ints, share: float, counts: int) -> Floats:
    """The probabilities of 0, 1, …, for several numbers of rows: a line each."""
    k, n = np.arange(counts), rows[:, None]
    if not 0 < share < 1:
        return np.where(k == (n if share >= 1 else 0 * n), 1.0, 0.0)
    logs = np.concatenate([[0.0], np.log(np.arange(1, int(rows.max()) + 1)).cumsum()])
    rest = np.maximum(n - k, 0)
    ways = logs[n] - logs[np.minimum(k, n)] - logs[rest]
    return np.where(k <= n, np.exp(ways + k * math.log(share) + rest * math.log1p(-share)), 0.0)


def _upper_tails(rows: int, share: float, least: Ints) -> Floats:
    """For 0, 1, … rows taken away, the chance of at least so many of those that are left."""
    below = _binomials(rows - np.arange(len(least)), share, int(least.max()) + 1).cumsum(axis=1)
    of_less = below[np.arange(len(least)), np.maximum(least - 1, 0)]
    return np.where(least > 0, np.maximum(0.0, 1.0 - of_less), 1.0)
