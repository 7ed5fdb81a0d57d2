"""Settings of several fits, played one after the other; their plans are solved together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.families import FittedFamily, SettingRows
from automix_cli.evaluation.plan_family import FittedPlans
from automix_cli.evaluation.plan_lengths import divide
from automix_cli.evaluation.plan_stock import solve_requests
from automix_cli.pomdp.arrays import Ints


class FitPlay(NamedTuple):
    """Settings at some places of a fit, and the rows of a table that they are played on."""

    fitted: FittedFamily
    table: TraceTable
    rows: Ints
    places: Ints


def prepare_levels(fits: Sequence[FittedFamily]) -> None:
    """Solve together the plans by which the settings of fits are told apart."""
    solve_requests(request for own in fits if isinstance(own, FittedPlans) for request in own.mean_plans())


def play_all(plays: Sequence[FitPlay]) -> Iterator[SettingRows]:
    """Yield what each play comes to."""
    plans = [(play.fitted, play[1:]) for play in plays if isinstance(play.fitted, FittedPlans)]
    cells = iter(divide([fitted.planned_rows(*own) for fitted, own in plans]))
    for fitted, table, rows, places in plays:
        if isinstance(fitted, FittedPlans):
            yield fitted.play(table, rows, places, next(cells))
        else:
            yield fitted.play(table, rows, places)
