"""The choice among the signals that rows hold, by what a plan gains with each of them.

    Signals.compare(learn) ─▶ cross-fitted gain areas ─▶ the simplest that no other beats

The gain area is the mean height of a plan's curve above the random mixes of single tiers, in quality
points, on rows that the plan was not fitted on. Of signals that cost the same the one that gains most
is taken, of equals one that is not upside down. These are taken up from the cheapest on; one takes the
place of a cheaper one where it gains more by over one standard error of the difference. Less is a tie;
to ask for more would give up much where rows are few. A fold that reports figures has its signal chosen
on the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.data.recorded_signals import NONE, OWN, signals_in, with_recorded
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import Crossfit, Curve, Singles, crossfit, singles
from automix_cli.evaluation.curves import gain_above_mix, gain_area
from automix_cli.evaluation.families import Family
from automix_cli.evaluation.health import examine
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats

_DRAWS = 200  # of the questions, for standard errors
_PRINTED_DIGITS = 2  # of a gain in points, as it is printed
_COST_RANKS = {NONE: 0, "verdict": 2, "consistency": 3, "votes": 4, OWN: 5}
_TIE = 1.0  # standard errors of a difference: the usual rule (Breiman et al., CART, 1984, section 3.4.3)


class SignalComparison(NamedTuple):
    """What the plan gains with each signal.

    Attributes:
        name: of the signal that was chosen.
        gains: gain area by signal, the cheapest signal first.
        above: by how much the chosen one gains more than each of the others, with the standard error.
    """

    name: str
    gains: Mapping[str, float]
    above: Mapping[str, tuple[float, float]]

    @property
    def best_other(self) -> str:
        """The other signal with the highest gain; "" where there is none."""
        return max(self.above, key=lambda name: self.gains[name], default="")


class Signals(Struct, frozen=True, eq=False):
    """The table as it looks with each of its signals, and how they are compared.

    Attributes:
        tables: by name of the signal, the cheapest first.
        family: of the plans.
        options: of cross-fitting.
        seed: of divisions and resamples.
        pass_score: from this score on an answer is right.
    """

    tables: Mapping[str, TraceTable]
    family: Family
    options: Crossfit
    seed: int = 0
    pass_score: float = 0.5
    _comparisons: dict[bytes, SignalComparison] = field(default_factory=dict)

    @classmethod
    def of(cls, table: TraceTable, settings: Settings, options: Crossfit, seed: int = 0) -> Signals:
        """All signals that the rows hold, compared by plans over all cost_weights."""
        table, family = table.with_vote_limit(), PlanFamily(settings=settings, grid=options.grid)
        tables = {name: with_recorded(table, name) for name in signals_in(table)}
        return cls(tables, family, replace(options, repeats=1), seed, settings.pass_score)

    def compare(self, learn: Bools) -> SignalComparison:
        """Choose on the rows of a mask, once for each mask.

        With too few questions the signal is that which rows are read with by default.
        """
        key = np.packbits(learn).tobytes()
        if key not in self._comparisons:
            self._comparisons[key] = self._compare(learn)
        return self._comparisons[key]

    def table(self, learn: Bools) -> TraceTable:
        """The table with the signal that is chosen on the rows of a mask."""
        return self.tables[self.compare(learn).name]

    def _compare(self, learn: Bools) -> SignalComparison:
        parts = {name: table.subset(learn) for name, table in self.tables.items()}
        first = next(iter(parts.values()))
        if len(parts) == 1 or not self.options.enough(first.n_groups):
            return SignalComparison(list(parts)[-1], {}, {})
        resamples = Resamples.of_table(first, self.seed, draws=_DRAWS)
        alone = singles(first)
        draws: dict[str, Floats] = {}
        gains: dict[str, float] = {}
        for name, part in parts.items():
            curve = crossfit(part, self.family, seed=self.seed, options=self.options)
            gains[name], draws[name] = _gain(curve, alone, resamples)
        best = NONE
        for name in self.best_of_each_cost(parts, gains):
            if gains[name] - gains[best] > _TIE * _error(draws[name] - draws[best]):
                best = name
        above = {
            name: (gains[best] - gains[name], _error(draws[best] - draws[name]))
            for name in parts
            if name != best
        }
        return SignalComparison(best, gains, above)

    def best_of_each_cost(self, parts: Mapping[str, TraceTable], gains: Mapping[str, float]) -> list[str]:
        """The signal that gains most, as printed, of those with each cost, the cheapest first."""
        best: dict[int, str] = {}
        for name in parts:
            other = best.setdefault(cost_rank(name), name)
            lead = round(gains[name] - gains[other], _PRINTED_DIGITS)
            is_mended = self._is_inverted(parts[other]) and not self._is_inverted(parts[name])
            if lead > 0 or (lead == 0 and is_mended):
                best[cost_rank(name)] = name
        return [best[rank] for rank in sorted(best)]

    def _is_inverted(self, table: TraceTable) -> bool:
        """Whether wrong answers of the first tier that shows anything have the higher signal."""
        values = [tier.auroc.value for tier in examine(table, self.pass_score)[:1]]
        return any(value is not None and value < 0.5 for value in values)


def cost_rank(name: str) -> int:
    """The place of a signal by what it costs: none, what comes with the answer, a verdict, samples, votes.

    Example:
        >>> [cost_rank(name) for name in ("none", "confidence", "conf_b", "verdict", "votes")]
        [0, 1, 1, 2, 4]
    """
    return _COST_RANKS.get(name, 1)


def _error(differences: Floats) -> float:
    """The standard error of a difference, from its draws."""
    return float(np.nanstd(differences, ddof=1))


def _gain(curve: Curve, alone: Singles, resamples: Resamples) -> tuple[float, Floats]:
    """The gain area of a curve, and that of each draw of the questions; 0 where there is no area."""
    own, rows = alone.on_rows(curve.rows), resamples.on_rows(curve.rows)
    columns = np.hstack([curve.columns.cost.T, curve.columns.score.T, own.cost, own.score])
    means = columns.mean(axis=0)[None]
    draws = means if rows is None else rows.means(columns)
    every = np.vstack([means, draws])
    settings, tiers = len(curve.settings), own.cost.shape[1]
    costs, scores, tier_costs, tier_scores = np.split(every, np.cumsum([settings, settings, tiers]), axis=1)
    small, large = int(tier_costs[0].argmin()), int(tier_costs[0].argmax())
    ends = np.column_stack(
        [tier_costs[:, small], tier_scores[:, small], tier_costs[:, large], tier_scores[:, large]]
    )
    measure = gain_area if tiers == 2 else gain_above_mix(tier_costs, tier_scores)
    areas = np.nan_to_num(measure.draws(costs, scores, ends))
    return float(areas[0]), areas[1:]
