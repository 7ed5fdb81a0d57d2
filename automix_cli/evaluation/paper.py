"""AutoMix's released decision rule, rebuilt for comparison: `paper-pomdp`.

Source: the package automix-llm 1.0.3 on PyPI and the script that made the paper's tables
(arXiv 2310.12963). Its "POMDP" is a union of four families of rules on one number, the share
of votes that say CORRECT, all votes bought at once:

- a table over bins: escalate where a reward, from a grid, outweighs the cost of escalating in
  the mix of categories seen in the bin (NEEDY: large better; GOOD: equal; HOPELESS: both bad);
- greedily more bins, by the smoothed mean gain of escalating in each;
- between two cuts, or up to one cut.

The rule with the steepest rise of training quality over training cost (IBC) wins. Mistakes of that
package are reproduced where they decide something: no state in which escalating hurts, bins fitted by
other edges than they are used with, a choice on the very rows that were fitted. It handles two tiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.evaluation.rule_families import FittedRules, votes_to_buy
from automix_cli.evaluation.settings import LeastCost, Setting, narrow
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import Rule, ThresholdPolicy

_REWARDS = 5000  # of the released grid: 0, 1, … 4999
_SMOOTHING = 2.0  # in bins, reaching four times as far
_LEAST_COSTS = 20  # settings that draw a curve


class PaperFamily(Struct, frozen=True, kw_only=True):
    """The released rule; for a curve, of the rules that cost at least so much the steepest.

    Its setting `cost_from` is that least cost, as a share of the range between the two
    tiers; 0 is the rule as released. An answer of which no vote was parsed counts as "surely
    wrong" in fitting, as it does there.

    Attributes:
        max_votes: how many votes are bought.
        bins: over the confidence; the package's own examples use 8.
    """

    max_votes: int
    bins: int = 8

    def fit(self, table: TraceTable) -> FittedRules:
        """Choose the rule for each least cost.

        Raises:
            UsageError: for other than two tiers.
        """
        _check_tiers(table)
        rises = self._rises(table)
        shares = [step / _LEAST_COSTS for step in range(_LEAST_COSTS)]
        return FittedRules(
            settings=tuple(LeastCost(share) for share in shares),
            rules=tuple((rises.steepest(share),) for share in shares),
        )

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Return the rule chosen for one least cost."""
        _check_tiers(table)
        return ThresholdPolicy((self._rises(table).steepest(narrow(setting, LeastCost).share),))

    def rules(self, table: TraceTable) -> Iterator[Rule]:
        """Yield every rule of the four families that the rows suggest."""
        share, (small, large) = self._confidence(table), table.score.T
        votes = votes_to_buy(table, 0, self.max_votes)
        nearest = tuple((i + 0.5) / self.bins for i in range(self.bins))
        tables = [
            _table_rules(share, small, large, self.bins),
            _greedy_rules(share, large - small, self.bins),
        ]
        for escalates in np.concatenate(tables):
            yield Rule(votes, nearest, tuple(map(bool, escalates)))
        grid = [i / self.bins for i in range(self.bins + 1)]
        above = np.nextafter(grid, np.inf).tolist()  # the released cuts belong to the bin below
        for i in range(self.bins):
            for j in range(i + 1, self.bins):
                yield Rule(votes, (grid[i], above[j]), (False, True, False))
        for cut in above:
            yield Rule(votes, (cut,), (True, False))

    def _confidence(self, table: TraceTable) -> Floats:
        """Return the number that the rules look at, per row."""
        if table.signals[0] != "votes":
            return np.nan_to_num(table.confidence[:, 0])
        correct, incorrect = table.votes[:, 0, :2].T
        share: Floats = correct / np.maximum(correct + incorrect, 1)
        return share

    def _rises(self, table: TraceTable) -> _Rises:
        """Return every rule with its training cost and ΔIBC."""
        rules = list(self.rules(table))
        share, (small, large) = self._confidence(table), table.score.T
        on = np.stack([_escalates(rule, share) for rule in rules])
        cheap, dear = table.mean_cost
        votes = rules[0].votes
        verification = votes * float(np.nanmean(table.vote_cost[:, 0])) if votes else 0.0
        costs = cheap + verification + on.mean(axis=1) * dear
        rise = np.where(on, large, small).mean(axis=1) - small.mean()
        base = (large.mean() - small.mean()) / (dear - cheap) if dear != cheap else np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            lifts = (rise / (costs - cheap) - base) / base
        return _Rises(rules, costs, lifts, float(cheap), float(dear))


class _Rises(NamedTuple):
    """Rules with their mean cost and ΔIBC, and the mean costs of the two tiers."""

    rules: list[Rule]
    costs: Floats
    lifts: Floats
    cheap: float
    dear: float

    def steepest(self, cost_from: float) -> Rule:
        """Return the rule with the highest ΔIBC, the first of equals; rules without one are skipped."""
        least = self.cheap + cost_from * (self.dear - self.cheap)
        usable = np.isfinite(self.lifts) & (self.costs >= least)
        if not usable.any():
            return Rule(self.rules[0].votes, (), (False,))
        return self.rules[int(np.where(usable, self.lifts, -np.inf).argmax())]


def _check_tiers(table: TraceTable) -> None:
    if len(table.tiers) != 2:
        raise UsageError(
            f"paper-pomdp handles two tiers, got {', '.join(table.tiers)}", hint="--tiers small,large"
        )


def _escalates(rule: Rule, share: Floats) -> Any:
    return np.array(rule.escalates)[np.searchsorted(rule.edges, share, side="right")]


def _table_rules(share: Floats, small: Floats, large: Floats, bins: int) -> Any:
    """Bins to escalate, one line per distinct answer to the rewards of the grid.

    Reporting is worth -r in a NEEDY row, 0 in a GOOD one and -r - 1 in a HOPELESS one;
    escalating -100, -100 and -r - 100.
    """
    low = (small <= np.quantile(small, 0.1)) & (large <= np.quantile(large, 0.1))
    needy, equal = small < large, small == large
    good = equal & (small != 0)
    categories = np.stack([needy, good, low & ~needy & ~good]).astype(float)
    away = share - np.arange(bins + 1)[:, None] / bins
    inside = (away < 0.5 / bins) & (away > -0.5 / bins)  # rows on an edge are in no bin
    shares = (inside @ categories.T) / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    reward = np.arange(_REWARDS)[:, None, None]
    stay = -reward * shares[:, 0] - (reward + 1) * shares[:, 2]
    go = -100 * (shares[:, 0] + shares[:, 1]) - (reward + 100) * shares[:, 2]
    return np.unique((go > stay)[:, 0], axis=0)


def _greedy_rules(share: Floats, gain: Floats, bins: int) -> Any:
    """Bins to escalate: the one of highest smoothed mean gain, then the two, and so on to all."""
    place = np.floor(share * bins).astype(int)
    rows = np.bincount(place, minlength=bins + 1)
    means = np.bincount(place, gain, minlength=bins + 1) / np.maximum(rows, 1)
    reach = int(4 * _SMOOTHING)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * _SMOOTHING**2))
    mirror = np.pad(means, reach, mode="symmetric")
    smooth = np.convolve(mirror, kernel / kernel.sum(), mode="valid")
    order = smooth.argsort(kind="stable")[::-1]
    rank = np.empty(bins + 1, dtype=int)
    rank[order] = np.arange(bins + 1)
    return rank <= np.arange(bins + 1)[:, None]
