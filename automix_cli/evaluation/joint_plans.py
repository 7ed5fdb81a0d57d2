"""Plans of several cases side by side, to be played in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.plan_stock import PlanStock
from automix_cli.pomdp.action_table import NO_ACTION
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.histories import TierPath
from automix_cli.pomdp.induction import Columns
from automix_cli.pomdp.plan_cases import PlanCase, SolvedPlans
from automix_cli.pomdp.problem import Action
from automix_cli.pomdp.reach import Reach


class JointPlans(NamedTuple):
    """Plans in a common numbering, and what they do where they get to.

    Attributes:
        size: how many they are.
        actions: with their numbers as places.
        reaches: by path, the shorter ones first; columns are in no order.
    """

    size: int
    actions: tuple[Action, ...]
    reaches: dict[TierPath, Reach]

    def decisions(self) -> frozenset[tuple[TierPath, int, int, Action]]:
        """The action at each history that the first plan gets to."""
        return frozenset(
            (path, int(row), int(own.columns.before[column]), self.actions[own.choice[row, column]])
            for path, own in self.reaches.items()
            for row, column in zip(*np.nonzero(own.choice != NO_ACTION), strict=True)
            if own.columns.plan[column] == 0
        )


def join(stock: PlanStock, cases: Sequence[PlanCase], plans: Sequence[Ints]) -> JointPlans:
    """Lay some plans of each of several cases side by side, case by case."""
    lines: dict[int, tuple[SolvedPlans, Ints]] = {}
    size = 0
    for case, which in zip(cases, plans, strict=True):
        own, numbers = stock[case], size + np.arange(len(which))
        for k in sorted(set(own.number[which].tolist())):
            one = own.passes[k]
            _, places = lines.setdefault(id(one), (one, np.full(len(one.spending), -1)))
            is_own = own.number[which] == k
            places[own.place[which][is_own]] = numbers[is_own]
        size += len(which)
    parts: dict[TierPath, list[Reach]] = {}
    for one, places in lines.values():
        sizes = {path: sum(len(part.row) for part in parts[path]) for path in parts}
        for path, part in _select(one.reaches, places):
            moved_part = part._replace(column=part.column + sizes.get(path[:-1], 0))
            parts.setdefault(path, []).append(moved_part)
    actions = next(iter(lines.values()))[0].actions.actions
    return JointPlans(size, actions, {path: _beside(parts[path]) for path in sorted(parts, key=len)})


def _select(reaches: Mapping[TierPath, Reach], numbers: Ints) -> Iterator[tuple[TierPath, Reach]]:
    """The columns of plans with a number, of the shorter paths first; -1 stands for none."""
    places: dict[TierPath, Ints] = {}
    for path, own in reaches.items():
        number = numbers[own.columns.plan]
        which = np.flatnonzero(number >= 0)
        if not len(which):
            continue
        places[path] = np.zeros(len(number), dtype=np.intp)
        places[path][which] = np.arange(len(which))
        column = places[path[:-1]][own.column[which]] if path else own.column[which]
        columns = Columns(number[which], own.columns.before[which])
        yield (
            path,
            Reach(columns, own.row[which], column, own.ways[:, which], own.choice[:, which]),
        )


def _beside(parts: Sequence[Reach]) -> Reach:
    """The columns of several parts of one path."""
    if len(parts) == 1:
        return parts[0]
    columns, *others = zip(*parts, strict=True)
    row, column, ways, choice = (np.concatenate(each, axis=-1) for each in others)
    return Reach(Columns(*map(np.concatenate, zip(*columns, strict=True))), row, column, ways, choice)
