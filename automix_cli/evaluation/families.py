"""Families of policies: fitted to a table, then one policy per setting.

    Family.fit(training rows) ─▶ FittedFamily ─▶ play(rows, places): every setting in one array pass

`Family` declares what calibration and comparison need of any family. The computed plans are in
`plan_family`, the fixed rules in `rule_families`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from msgspec import Struct

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.settings import Setting
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.problem import Policy

_LOWEST, _HIGHEST = 0.002, 4.0  # cost_weights, in units of 1/(c_dearest - c_cheapest)


class SettingRows(NamedTuple):
    """What each of K settings is expected to score and to cost on each of n rows, K×n."""

    score: Floats
    cost: Floats


class FittedFamily(Protocol):
    """The policies that a family makes of some rows, one per setting."""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every setting."""
        ...

    def levels(self) -> Floats:
        """Return what makes a setting the same in fits on other rows; a subset may be worth trying."""
        ...

    def places(self, levels: Floats) -> Ints:
        """Return the place of the setting that each level means in this fit."""
        ...

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        """Replay the settings at some places on some rows, in exact expectation over vote orders."""
        ...

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """Yield what each of these settings does on each row, one setting after the other."""
        ...

    def policy(self, place: int) -> Policy[Any]:
        """Return the policy of a setting."""
        ...

    def decisions(self, place: int) -> Hashable:
        """Return what tells the policy of a setting from others."""
        ...


class Family(Protocol):
    """Policies that are fitted alike and differ by their setting."""

    def fit(self, table: TraceTable) -> FittedFamily:
        """Fit to some rows."""
        ...

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit to some rows, and return the policy of one setting."""
        ...


class CostGrid(Struct, frozen=True, kw_only=True):
    """How finely cost_weights are searched.

    Attributes:
        fixed: cost_weights that are taken as they are, instead of a search; () for none.
        weights: geometric steps from the lowest to the highest cost_weight.
        spending_steps: even steps of planned cost, of which settings are made; twice as many from
            `many_questions` on.
        many_questions: questions that bear the finer grid.
    """

    fixed: tuple[float, ...] = ()
    weights: int = 80
    spending_steps: int = 20
    many_questions: int = 2_000

    def steps_for(self, questions: int) -> int | None:
        """Return the steps of planned cost for so many questions; None where the weights are fixed."""
        if self.fixed:
            return None
        return self.spending_steps if questions < self.many_questions else 2 * self.spending_steps


COST_GRID = CostGrid()


def cost_weights(table: TraceTable, grid: CostGrid = COST_GRID) -> tuple[float, ...]:
    """Return weights to plan for: those that are fixed, else 0, then geometric steps from 0.002 to 4.

    The unit is 1/(c_dearest - c_cheapest). The 80 steps of the default grid are a tenth each: at
    steps of a fifth, half of the useful cuts of a continuous confidence fall between two settings.

    One tier, or tiers that cost the same, leave nothing to weigh but votes; the unit is then
    the dearest tier's cost itself, and with no cost at all only 0 is left.
    """
    if grid.fixed:
        return grid.fixed
    costs = table.mean_cost
    span = float(costs.max() - costs.min()) or float(costs.max())
    if span <= 0:
        return (0.0,)
    return (0.0, *(float(w) / span for w in np.geomspace(_LOWEST, _HIGHEST, grid.weights)))


def settings_at(fitted: FittedFamily, levels: Floats) -> tuple[Setting, ...]:
    """Return the settings that levels mean in a fit."""
    settings = fitted.settings
    return tuple(settings[place] for place in fitted.places(levels))
