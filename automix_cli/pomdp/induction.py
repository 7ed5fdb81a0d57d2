"""Exact backward induction, for many plans at once.

The weight of a history is w(h) = Σ_s b₀(s)·Π_i ℓ_i(counts_i | s), where ℓ(c, t) is the
probability of one particular order of c CORRECT among t votes. Values are kept multiplied by
w(h): then one more round is a matrix product with the number of orders that lead from counts
to counts, no belief is ever divided, and P(s | h) = b₀(s)·Πℓ/w(h). Only the charges depend on
the cost_weight and on the prompt, so one pass over the histories solves many plans.

Arrays have the counts of the last tier first, then the earlier counts, and the plans last: C×B×P. So
equally many votes lie side by side in memory. Which action is best is found only where it is asked: a
plan gets to a small part of all histories.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from automix_cli.pomdp.action_table import ActionTable
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.final_values import FinalTables, final_tables
from automix_cli.pomdp.histories import Histories, Root, TierPath
from automix_cli.pomdp.observations import Round
from automix_cli.pomdp.problem import Action, ActionKind


class PlanTask(NamedTuple):
    """Plans that are wanted: for the histories of a model from a root on, and W cost_weights.

    Attributes:
        histories: of the model, whose own cost_weight plays no part.
        actions: of the model.
        tokens: prompt tokens of the question.
        weights: the cost_weights.
    """

    histories: Histories
    actions: ActionTable
    tokens: float
    weights: Floats

    @property
    def kind(self) -> Hashable:
        """What tasks that are solved in one pass have in common: histories, and the order in a tie."""
        return self.actions.outline, self.actions.order(self.tokens).tobytes()


class Columns(NamedTuple):
    """R columns of a path's histories, each of one plan and of equal counts before the last tier's.

    Attributes:
        plan: R, rising.
        before: R, the flattened earlier counts.
    """

    plan: Ints
    before: Ints


class Charges(NamedTuple):
    """What P plans are charged, on the score's scale: of actions, and of a vote and a round per tier."""

    actions: Floats
    votes: Floats
    rounds: Floats

    @classmethod
    def of(cls, tasks: Sequence[PlanTask]) -> Charges:
        """A column per plan."""
        tables = zip(*(task.actions[2:5] for task in tasks), strict=True)
        return cls(*(_charges(costs, tasks) for costs in tables))


def _charges(costs: Sequence[Floats], tasks: Sequence[PlanTask]) -> Floats:
    """Costs of each task, of its cost_weights and prompt; lines×P."""
    each = [
        (own @ (1.0, task.tokens))[:, None] * task.weights for own, task in zip(costs, tasks, strict=True)
    ]
    return np.concatenate(each, axis=1)


class Induction(Struct, eq=False):
    """The plans of some tasks, P in all; build it with `solve_tasks`.

    Attributes:
        tasks: of one kind.
        finals: what it is worth to end.
        group: P, which group of `finals` each plan belongs to.
        charges: of each plan.
        rank: the place of each action, by its number, in the order of preference.
        values: by path, best values less what votes on the last answer have cost so far, C×B×P. At an end
            all plans of a group have the same: C×B×G.
        ahead: by path and action, what is expected once a tier is asked, its charge not yet taken off.
    """

    tasks: Sequence[PlanTask]
    finals: FinalTables
    group: Ints
    charges: Charges
    rank: Mapping[int, int]
    values: dict[TierPath, Floats] = field(default_factory=dict)
    ahead: dict[tuple[TierPath, Action], Floats] = field(default_factory=dict)

    @property
    def histories(self) -> Histories:
        """Those of the first task: the others differ from them in numbers only."""
        return self.tasks[0].histories

    @property
    def actions(self) -> ActionTable:
        """Of the first task: the others differ from it in numbers only."""
        return self.tasks[0].actions

    @property
    def size(self) -> int:
        """How many plans there are."""
        return len(self.group)

    def per_plan(self, values: Floats) -> Floats:
        """Values of groups as those of plans; with one group, once for all plans."""
        return values if values.shape[-1] == 1 else values.take(self.group, axis=-1)

    def of_groups(self, values: NDArray[Any], columns: Columns) -> NDArray[Any]:
        """What groups have in common, C×B×G, in some columns; C×R."""
        return _take(values, columns.before, self.group[columns.plan] if values.shape[-1] > 1 else 0)

    def of_plans(self, values: NDArray[Any], columns: Columns) -> NDArray[Any]:
        """What each plan has, C×B×P, in some columns; C×R."""
        return _take(values, columns.before, columns.plan if values.shape[-1] > 1 else 0)

    def root_values(self) -> Floats:
        """Expected score less weighted cost of each plan."""
        start = self.histories.start
        value, weight = self.values[start][0, 0], self.finals.tables[start].weight[0, 0]
        return np.asarray(np.broadcast_to(value / self.per_plan(weight), self.size))

    # -------------------------------------------------------------- backward induction

    def solve(self) -> None:
        """Find the values, what comes last first."""
        for path in sorted(self.finals.tables, key=len, reverse=True):
            self.values[path] = self._values(path)

    def _values(self, path: TierPath) -> Floats:
        """Best values of one path; what follows it has been solved."""
        final = self.finals.tables[path]
        if self.histories.is_end(path):
            return final.value
        weight = self.per_plan(final.weight)
        values = np.empty((*final.value.shape[:2], self.size))
        values[...] = self.per_plan(final.value)
        for action in self.moves(path):
            ahead = self.ahead[path, action] = self._ahead(path, action, values.shape[:2])
            charges = self.charges.actions[self.actions.codes[action]] * weight
            np.maximum(values, np.subtract(ahead, charges, out=charges), out=values)
        self._add_votes(path, values, weight)
        return values

    def moves(self, path: TierPath) -> list[Action]:
        """The tiers that may be asked next."""
        kind: ActionKind = "escalate" if self.histories.is_later(path) else "start"
        return [Action(kind, tier) for tier in self.histories.next_tiers(path)]

    def _ahead(self, path: TierPath, action: Action, shape: tuple[int, ...]) -> Floats:
        """What is expected once a tier is asked, over all that its answer may show."""
        each = (self._value_of_entry((*path, step)) for step in self.histories.next_steps(path, action.tier))
        return reduce(np.add, each).reshape(*shape, -1)

    def _value_of_entry(self, path: TierPath) -> Floats:
        """The values of the counts that the last answer of a path may show at once, summed; B×P."""
        entry, values = self.histories.table(path[-1]).entry, self.values[path]
        entries = np.flatnonzero(entry)
        total = values[entries[0]] if len(entries) == 1 else np.tensordot(entry, values, 1)
        return self.per_plan(total) if self.histories.is_end(path) else total

    def _add_votes(self, path: TierPath, values: Floats, weight: Floats) -> None:
        """Compare with rounds of votes on the last answer, from most votes bought to fewest.

        What all votes so far have cost is taken off at once. Weights of what a round may lead to add up to
        the weight of the history, so that rounds of any size are then compared as they are.
        """
        levels = self.histories.levels(path)
        if len(levels) == 1:
            return
        of_vote, of_round = self.charges.votes[path[-1].tier], self.charges.rounds[path[-1].tier]
        for level, n_votes in reversed([*zip(levels, self.votes_bought(path), strict=True)]):
            here, own_weight = values[level.rows], weight[level.rows]
            if n_votes:
                here -= n_votes * of_vote * own_weight
            if level.rounds:
                rounds = reduce(np.maximum, (expect(votes, values) for votes in level.rounds))
                if of_round.any():
                    rounds -= of_round * own_weight
                np.maximum(here, rounds, out=here)

    def worth(self, path: TierPath) -> Floats:
        """Best values of one path, from each history on; C×B×P or C×B×G."""
        values = self.values[path]
        if self.histories.is_end(path) or not path:
            return values
        sizes = [v.rows.stop - v.rows.start for v in self.histories.levels(path)]
        n_votes = np.repeat(self.votes_bought(path), sizes)[:, None, None]
        weight = self.per_plan(self.finals.tables[path].weight)
        return np.asarray(values + n_votes * self.charges.votes[path[-1].tier] * weight)

    def votes_bought(self, path: TierPath) -> list[int]:
        """How many votes on the last answer have been bought at each level, since the path begins."""
        if not path:
            return [0]
        table = self.histories.table(path[-1])
        return [table.counts[v.rows.start].n_votes - table.counts[0].n_votes for v in table.levels]


def _take(values: NDArray[Any], before: Ints, last: Ints | int) -> NDArray[Any]:
    """The columns at some places of the axes behind the first."""
    places = before * values.shape[-1] + last
    return np.asarray(values.reshape(len(values), -1).take(places, axis=1))


def expect(votes: Round, values: Floats) -> Floats:
    """What a round of votes leads to, of values whose first axis are the counts."""
    ahead = votes.orders @ values[votes.to].reshape(votes.orders.shape[1], -1)
    return np.asarray(ahead.reshape(-1, *values.shape[1:]))


def solve_tasks(tasks: Sequence[PlanTask]) -> Induction:
    """Solve tasks of one kind in one pass; those of one model stand together."""
    groups: dict[tuple[int, Root], Histories] = {}
    for task in tasks:
        groups.setdefault((id(task.histories.model), task.histories.root), task.histories)
    place = {key: k for k, key in enumerate(groups)}
    own = [place[id(task.histories.model), task.histories.root] for task in tasks]
    finals = final_tables(tuple(groups.values()), tasks[0].actions.actions)
    group = np.repeat(own, [len(task.weights) for task in tasks])
    order = tasks[0].actions.order(tasks[0].tokens)
    rank = {code: k for k, code in enumerate(order.tolist())}
    induction = Induction(tasks, finals, group, Charges.of(tasks), rank)
    induction.solve()
    return induction
