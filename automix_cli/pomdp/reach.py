"""Which histories plans get to, and what they do there.

A plan escalates, and so gets on to a later tier, from few of all histories. So an action is chosen
only in those columns (equal counts before the last tier's) that some plan gets to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.action_table import NO_ACTION
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.final_values import VALUE_TIE, Codes
from automix_cli.pomdp.histories import TierPath
from automix_cli.pomdp.induction import Columns, Induction, expect
from automix_cli.pomdp.observations import Level
from automix_cli.pomdp.problem import Action


class Reach(NamedTuple):
    """The columns of one path that plans get to, and what they do there.

    Attributes:
        columns: R.
        row, column: R, the history that each column follows: its last counts, its column in the path before.
        ways: C×R, in how many orders each history is met. Times the probability of one order this is the
            chance to meet the history: times w(h)/w(root) under the model, times that of drawing it from a
            row's recorded votes in `replay`.
        choice: C×R, the numbers of the actions; `NO_ACTION` where the plan does not get to.
    """

    columns: Columns
    row: Ints
    column: Ints
    ways: Floats
    choice: Codes

    def of_plans(self, first: int, last: int) -> Reach:
        """The part of plans that are numbered one after the other; columns before are not renumbered."""
        own = slice(*np.searchsorted(self.columns.plan, (first, last)))
        columns = Columns(self.columns.plan[own] - first, self.columns.before[own])
        return Reach(columns, self.row[own], self.column[own], self.ways[:, own], self.choice[:, own])


class ColumnChoices:
    """The best actions in some columns of a path.

    Args:
        plans: solved.
        path: of the histories.
        columns: which of them.
    """

    def __init__(self, plans: Induction, path: TierPath, columns: Columns) -> None:
        self._plans, self._path, self._columns = plans, path, columns
        final = plans.finals.tables[path]
        self.weight, self._final_code = (
            plans.of_groups(final.weight, columns),
            plans.of_groups(final.code, columns),
        )
        self._final_value = plans.of_groups(final.value, columns)
        self._moves = [(plans.actions.codes[action], self._after(action)) for action in plans.moves(path)]
        has_votes = len(plans.histories.levels(path)) > 1
        self._values = plans.of_plans(plans.values[path], columns) if has_votes else None

    def at(self, level: Level, n_votes: int) -> Codes:
        """The best actions at the histories of a level, where so many votes have been bought."""
        weight, code = self.weight[level.rows], self._final_code[level.rows].copy()
        options = [(code, value[level.rows]) for code, value in self._moves]
        options += self._rounds(level, n_votes, weight)
        if not options:
            return code
        options.sort(key=lambda option: self._plans.rank[option[0]])
        final = self._final_value[level.rows]
        good_enough = reduce(np.maximum, (value for _, value in options), final) - VALUE_TIE * weight
        is_open = final < good_enough  # to end is free: it comes first
        for other, value in reversed(options):
            np.copyto(code, other, where=is_open & (value >= good_enough))
        return code

    def _rounds(self, level: Level, n_votes: int, weight: Floats) -> Iterator[tuple[int, Floats]]:
        """The rounds of votes on the last answer, with their values."""
        if self._values is None:
            return
        plans, tier = self._plans, self._path[-1].tier
        charges = plans.charges.rounds[tier] - n_votes * plans.charges.votes[tier]
        own = charges[self._columns.plan] * weight if charges.any() else 0.0
        for votes in level.rounds:
            code = plans.actions.codes[Action("vote", tier, votes.votes)]
            yield code, expect(votes, self._values) - own

    def _after(self, action: Action) -> Floats:
        """The value of asking a tier."""
        charges = self._plans.charges.actions[self._plans.actions.codes[action]]
        value = self._plans.of_plans(self._plans.ahead[self._path, action], self._columns)
        return np.asarray(value - charges[self._columns.plan] * self.weight)


def choose(plans: Induction, path: TierPath, columns: Columns) -> Codes:
    """The best action at every history of some columns of a path; C×R."""
    choices = ColumnChoices(plans, path, columns)
    each = zip(plans.histories.levels(path), plans.votes_bought(path), strict=True)
    return np.concatenate([choices.at(level, n_votes) for level, n_votes in each])


def reach(plans: Induction) -> dict[TierPath, Reach]:
    """What plans do where they get to, path by path; paths that no plan takes are left out."""
    histories, every = plans.histories, np.arange(plans.size)
    nowhere = np.zeros(plans.size, dtype=np.intp)
    start = np.zeros((len(plans.values[histories.start]), plans.size))
    start[0] = 1.0
    reaches: dict[TierPath, Reach] = {}
    waiting = {histories.start: Reach(Columns(every, nowhere), nowhere, every, start, _NO_CHOICE)}
    for path in sorted(plans.values, key=len):
        if path in waiting:
            own = reaches[path] = _walk(plans, path, waiting.pop(path))
            waiting.update(_following(plans, path, own))
    return reaches


_NO_CHOICE = np.empty((0, 0), dtype=np.int16)


def _walk(plans: Induction, path: TierPath, arrival: Reach) -> Reach:
    """Choose at the histories that plans get to, and follow rounds of votes from there."""
    choices, ways = ColumnChoices(plans, path, arrival.columns), arrival.ways
    choice = np.full(ways.shape, NO_ACTION, dtype=np.int16)
    for level, n_votes in zip(plans.histories.levels(path), plans.votes_bought(path), strict=True):
        own_ways = ways[level.rows]
        is_met = own_ways > 0
        if not np.count_nonzero(is_met):
            continue
        own = choice[level.rows]
        np.copyto(own, choices.at(level, n_votes), where=is_met)
        for votes, to, orders in level.rounds:
            follows = own == plans.actions.codes[Action("vote", path[-1].tier, votes)]
            if np.count_nonzero(follows):
                ways[to] += orders.T @ (own_ways * follows)
    return arrival._replace(choice=choice)


def _following(plans: Induction, path: TierPath, own: Reach) -> Iterator[tuple[TierPath, Reach]]:
    """The columns of the next paths, one for each history of a path from which some tier is asked."""
    size = plans.finals.tables[path].weight.shape[1]
    for action in plans.moves(path):
        column, row = np.nonzero((own.choice == plans.actions.codes[action]).T)
        if not len(row):
            continue
        columns = Columns(own.columns.plan[column], row * size + own.columns.before[column])
        for step in plans.histories.next_steps(path, action.tier):
            ways = plans.histories.table(step).entry[:, None] * own.ways[row, column]
            yield (*path, step), Reach(columns, row, column, ways, _NO_CHOICE)
