"""Where labels tell most of what a policy loses against a baseline, and what those given so far settle."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.label_draw import LabelDraw, chance_by, draw_labels, label_weights, random_part
from automix_cli.data.traces import TraceTable
from automix_cli.errors import AutomixError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.held_out import HeldOutRun, divisions, held_out
from automix_cli.evaluation.held_out_trial import lower_shares
from automix_cli.evaluation.label_sequence import LossBounds, SequentialDraw
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.fitting.classes import NO_CLASSES
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints

_SQUARE = 0.5  # of a difference in scores where answers differ, before any label
_PSEUDO_SQUARES = 4.0  # labels that this counts for
_AIMED_WIDTH = 0.01  # points of 1: so narrow an interval is enough to decide by
_N_BOUNDS = (20, 200)  # labels that are proposed
_Z = 1.96
_LEAST_REPORTED = 1e-9  # rows: less is the rounding of chances
_WIDTHS = (0.05, 0.03, 0.02, 0.01, 0.005, 0.0025, 0.001)  # that are worth more labels


class NextStep(NamedTuple):
    """So many labels more make the interval about so wide (half of it, in points of 1)."""

    labels: int
    width: float


class LossSoFar(NamedTuple):
    """What labels settle of the loss on the rows of the file, in points of 1.

    Attributes:
        value: the estimate; None without a label of a chosen row, and where too many rows were skipped.
        bounds: hold with 95 % at every look.
        at_end: half the width expected of the interval at the fixed number of labels.
        next_step: how many labels beyond that number narrow it to which width; None where none would.
        n_skipped: rows that somebody came past without a label; above 5 % of them there is no estimate.
    """

    value: float | None
    bounds: LossBounds
    at_end: float
    next_step: NextStep | None
    n_skipped: int = 0


class LabelPlan(Struct, frozen=True, kw_only=True):
    """Rows, what a policy reports on them, and what a label of each can change.

    Attributes:
        table: scores beside the baseline's.
        run: of the policy on rows that were held out; None where none could be fitted.
        why_no_run: why none could, and the option that mends it; "" where one could.
        keep: the lower share to keep, where the policy that was asked for reports nothing that differs; None
            where `run` is that policy, or there is none.
        takes_every_answer: whether no policy reports anything that differs, so that every answer but the
            baseline's counts as reported.
        reports: n×N, the chance to report each answer; without a policy every one but the baseline's alike.
        worth: n, the most that the loss of a row can be; NaN where its label changes nothing.
    """

    table: TraceTable
    run: HeldOutRun | None
    why_no_run: str
    reports: Floats
    worth: Floats
    keep: float | None = None
    takes_every_answer: bool = False

    @classmethod
    def of(
        cls,
        table: TraceTable,
        settings: Settings,
        objective: Objective,
        seed: int,
        advance: Callable[[float], None] = lambda share: None,
    ) -> LabelPlan:
        """Fit a policy to agreement with the baseline, and run it on rows held out.

        Args:
            table: scores beside the baseline's.
            settings: of the policy.
            objective: how its cost_weight is chosen.
            seed: of folds and resamples.
            advance: is told each share of the work that is done.
        """
        runs, why_no_run = _held_out_runs(table, settings, objective, seed, advance)
        candidate = place_to_label_for(table, [run.reports for run in runs])
        run = None if candidate is None else runs[candidate]
        reports = _every_other_report(table) if run is None else run.reports
        relative = table.relative
        assert relative is not None
        differs = (table.score < 1).any(axis=1) & ~relative.has_label
        worth = (reports * (1 - table.score)).sum(axis=1)
        return cls(
            table=table,
            run=run,
            why_no_run=why_no_run,
            reports=reports,
            worth=np.where(differs, worth, np.nan),
            keep=lower_shares(objective)[candidate - 1].value if candidate else None,
            takes_every_answer=bool(runs) and run is None,
        )

    @property
    def baseline(self) -> int:
        """The place of the baseline among the tiers."""
        return self.table.tiers.index(str(self.table.beside))

    @property
    def differing(self) -> tuple[float, float]:
        """Shares of rows on which answers differ from the baseline's, and that are reported and differ."""
        loses = (self.reports * (1 - self.table.score)).sum(axis=1)
        return float((self.table.score < 1).any(axis=1).mean()), float(loses.mean())

    @property
    def most_open(self) -> float:
        """How far labels can change the loss on these rows, in points of 1."""
        return float(np.nansum(self.worth)) / max(len(self.worth), 1)

    def draw(self, n: int, seed: int) -> LabelDraw:
        """Draw n rows to label, a part of them from all rows alike."""
        n_random = random_part(n)
        return self.draw_parts(n - n_random, n_random, seed)

    def draw_parts(self, n_chosen: int, n_random: int, seed: int) -> LabelDraw:
        """Draw rows to label: so many by what they tell, and so many from all rows alike."""
        return draw_labels(self.table.ids.tolist(), label_weights(self.worth), n_chosen, n_random, seed)

    def proposal(self, seed: int) -> int:
        """How many labels an interval of ± 1 point is expected to take."""
        low, high = _N_BOUNDS
        every = self.draw_parts(len(self.worth), 0, seed)
        sizes = np.unique(np.geomspace(low, high, 60).round().astype(int))
        for n in sizes:
            if self._width(every, n - random_part(n), _SQUARE) <= _AIMED_WIDTH:
                return int(n)
        return high

    def _width(self, draw: LabelDraw, n_chosen: int, square: float) -> float:
        """Half the width expected of an interval after so many chosen rows, of the loss on these rows."""
        ranks = np.sort(draw.rank[np.isfinite(draw.rank)])
        if n_chosen >= len(ranks):
            return 0.0
        chance = chance_by(draw.weight, float(ranks[n_chosen]))
        tells = chance > 0
        variance = (np.nan_to_num(self.worth)[tells] ** 2 * square * (1 / chance[tells] - 1)).sum()
        return _Z * math.sqrt(variance) / len(self.worth)

    # ------------------------------------------------------------ what labels settle

    def so_far(self, draw: LabelDraw, scores: Mapping[int, Floats], skips: Collection[int] = ()) -> LossSoFar:
        """What labels settle of the loss on these rows.

        Args:
            draw: the rows to label.
            scores: N per labelled row, by its place.
            skips: places of the rows that were seen and could not be labelled.
        """
        loss = np.full(len(self.worth), np.nan)
        for row, own in scores.items():
            loss[row] = float(self.reports[row] @ (own[self.baseline] - own))
        earlier = self._earlier_losses()
        sequence = SequentialDraw(draw, np.nan_to_num(self.worth), loss, earlier, frozenset(skips))
        bounds = sequence.bounds()
        square = self._mean_square(loss)
        n_chosen = len(draw.by_weight)
        return LossSoFar(
            value=sequence.estimate(bounds),
            bounds=bounds,
            at_end=self._width(draw, n_chosen, square),
            next_step=self._next_step(draw, n_chosen, square),
            n_skipped=sequence.n_skipped,
        )

    def _earlier_losses(self) -> Floats:
        """n, losses of rows that had a label before the draw; 0 on others."""
        relative = self.table.relative
        assert relative is not None
        earlier = (self.reports * (1 - self.table.worth)).sum(axis=1)
        return np.where(relative.has_label, earlier, 0.0)

    def _mean_square(self, loss: Floats) -> float:
        """The mean square of a difference in scores, where the policy reports an answer that differs."""
        has_loss = ~np.isnan(loss) & (np.nan_to_num(self.worth) > 0)
        squares, most = loss[has_loss] ** 2, self.worth[has_loss] ** 2
        weight = most.mean() * _PSEUDO_SQUARES if len(most) else 1.0
        return float((squares.sum() + _SQUARE * weight) / (most.sum() + weight))

    def _next_step(self, draw: LabelDraw, n_chosen: int, square: float) -> NextStep | None:
        now, most = self._width(draw, n_chosen, square), int(np.isfinite(draw.rank).sum())
        aims = [width for width in _WIDTHS if width < 0.8 * now]
        if not aims:
            return None
        sizes: Ints = np.arange(n_chosen + 1, most + 1)
        low, high = 0, len(sizes) - 1
        while low < high:  # widths fall with the number of labels
            middle = (low + high) // 2
            fits = self._width(draw, int(sizes[middle]), square) <= aims[0]
            low, high = (low, middle) if fits else (middle + 1, high)
        return NextStep(int(sizes[low]) - n_chosen, aims[0]) if len(sizes) else None


def place_to_label_for(table: TraceTable, reports: Sequence[Floats]) -> int | None:
    """The place of the run to label for: the first; where that is the baseline alone, the cheapest other.

    Args:
        table: scores beside the baseline's.
        reports: n×N per run, the chance to report each answer, dearer runs first.

    Returns:
        None where no run reports an answer that differs from the baseline's.
    """
    differs = [k for k, own in enumerate(reports) if (own * (1 - table.score)).sum() > _LEAST_REPORTED]
    return (0 if differs[0] == 0 else differs[-1]) if differs else None


def _held_out_runs(
    table: TraceTable,
    settings: Settings,
    objective: Objective,
    seed: int,
    advance: Callable[[float], None],
) -> tuple[tuple[HeldOutRun, ...], str]:
    """The policy on rows held out, and those that keep lower shares of the baseline's quality.

    Where costs are missing, or too few questions to fit on, there are none, and the reason.
    """
    options = Crossfit()
    if not options.enough(table.n_groups):
        return (), f"{table.n_groups} questions are too few"
    try:
        table.require_costs()
        family = PlanFamily(settings=settings, grid=options.grid)
        resamples = Resamples.of_table(table, seed)
        step = 1 / (options.folds * divisions(options, NO_CLASSES, table.n_groups, compares_signals=False))
        runs = held_out(
            table,
            family,
            [objective, *lower_shares(objective)],
            seed=seed,
            resamples=resamples,
            options=options,
            advance=lambda: advance(step),
        ).runs
    except AutomixError as exc:
        return (), f"{exc.message}; {exc.hint}" if exc.hint else exc.message
    return runs, ""


def _every_other_report(table: TraceTable) -> Floats:
    """n×N, each answer but the baseline's reported alike."""
    others = np.array([float(tier != table.beside) for tier in table.tiers])
    return np.tile(others / max(others.sum(), 1.0), (len(table), 1))
