"""Refuse to write a router where by the task's scorer hardly anything is right at all."""

from __future__ import annotations

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.errors import GateError
from automix_cli.scoring.comparison import OtherScorer

_FORCE = "--force writes a router all the same"


def check_scorer(table: TraceTable, pass_score: float, other: OtherScorer | None) -> None:
    """Refuse rows on which no tier is ever right, or the last one never by this scorer alone.

    A router that follows from such a scorer would drop the tier whose answers it does not read.

    Raises:
        GateError: there are such rows; nothing is written.
    """
    if table.relative is not None:
        return
    is_right = np.asarray(((table.score >= pass_score) & ~table.failed).any(axis=0))
    last = table.tiers[-1]
    if not is_right.any():
        words = "no tier is right on any row"
    elif not is_right[-1] and other is not None and other.other_right.get(last):
        words = f"{last} is right on no row by scorer {other.own}, and {other.other} finds it right on some"
    else:
        return
    hint = (
        'look at "expected" and at some answers'
        if other is None
        else (f"task: {{scorer: {other.other}}} in the profile judges by {other.other}")
    )
    raise GateError(f"nothing written: {words}", hint=f"{hint}\n{_FORCE}")
