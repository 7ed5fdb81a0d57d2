"""At which tiers questions start, and what is saved where that is not the cheapest one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.replay import Replayed
from automix_cli.pomdp.arrays import Ints, different_codes
from automix_cli.pomdp.problem import Facts


class Start(NamedTuple):
    """A tier at which some questions begin.

    Attributes:
        tier: its name.
        share: of the questions.
        saving: USD per question, over all, that the cheapest tier's answers to these would have cost.
        typical: what is known of the question in their middle.
    """

    tier: str
    share: float
    saving: float
    typical: Facts


def starts_of(table: TraceTable, run: Replayed) -> tuple[Start, ...]:
    """Count the questions that begin at each tier; () where all begin at the cheapest one."""
    first = (run.asks > 0).argmax(axis=1)
    if not first.any():
        return ()
    alone = singles(table).cost[:, 0]
    starts = []
    for tier in different_codes(first).values.tolist():
        own = np.flatnonzero(first == tier)
        saving = float(alone[own].sum()) / len(table) if tier else 0.0
        starts.append(Start(table.tiers[tier], len(own) / len(table), saving, _typical(table, own)))
    return tuple(starts)


def _typical(table: TraceTable, rows: Ints) -> Facts:
    """The facts of the row whose logits are nearest to the mean of some rows."""
    classes, logits = table.question_classes, table.question_logits
    if logits is None:
        return Facts(question_class=0 if classes is None else int(classes[rows[0]]))
    own = logits[rows]
    middle = rows[int(((own - own.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    return Facts(question_class=0 if classes is None else int(classes[middle]), logits=tuple(logits[middle]))
