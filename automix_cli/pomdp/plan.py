"""The exact plan for one cost_weight and one number of prompt tokens.

`Plan` holds the value and the best action at every reachable history; `induction` computes
them. A plan can be followed, looked ahead in, and shown to people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from automix_cli.pomdp.action_table import ActionTable
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.final_values import Codes
from automix_cli.pomdp.histories import Histories, PlanStep, Root, TierPath
from automix_cli.pomdp.induction import Columns, Induction, PlanTask, solve_tasks
from automix_cli.pomdp.model import FREE, Model
from automix_cli.pomdp.observations import Counts, CountTable, lost_votes
from automix_cli.pomdp.outlook import StateValues, chances, state_values
from automix_cli.pomdp.problem import Action, ActionKind, Visit
from automix_cli.pomdp.reach import Reach, choose, reach


class PlanNode(NamedTuple):
    """A history in a plan: the steps since its root, and the row of their flattened counts."""

    path: TierPath
    at: int = 0


class Forecast(NamedTuple):
    """What a policy is expected to do on one question, under its own model.

    `value = quality - cost_weight·cost`; quality counts `abstain_value` where it abstains,
    cost includes the price of waiting. `escalated` and `abstained` are shares, `votes` a mean.
    `per_token` is the part of the cost that grows with each token of the prompt.
    """

    value: float
    quality: float
    cost: float
    per_token: float
    escalated: float
    abstained: float
    votes: float


class PlanRow(NamedTuple):
    """One line of a plan for people: at these counts of this tier, with this chance, do this.

    `probability` is the chance to be there, over all that may have been seen before;
    `confidence` the mean belief there that the tier in hand is right. Where earlier evidence
    changes the action, a count has several rows. `joins` is the first tier with an equal answer, the
    tier itself where its answer is new, and None where there is nothing to compare it with.
    """

    tier: int
    counts: Counts
    action: Action
    probability: float
    confidence: float
    joins: int | None = None


class _PlanLine(NamedTuple):
    """What the histories of one line of a plan have in common."""

    tier: int
    counts: Counts
    action: Action
    joins: int | None

    @property
    def rank(self) -> tuple[int, int, Counts]:
        """The order of lines; those of equal counts go by how likely they are."""
        return (self.tier, self.counts.n_votes, self.counts)


def solve(model: Model, tokens: float, root: Root = Root()) -> Plan:  # noqa: B008
    """Best action and value at every history from `root` on, by exact backward induction.

    Args:
        model: small enough, see `simplify`.
        tokens: prompt tokens of the question.
        root: where to begin.
    """
    histories = Histories(model, root)
    task = PlanTask(histories, ActionTable.of(histories), tokens, np.array([model.cost_weight]))
    return Plan(solve_tasks([task]))


class Block(NamedTuple):
    """All histories of one path: w(h), and the best value times w(h); last counts × earlier counts."""

    weight: Floats
    value: Floats


class Plan(Struct, eq=False):
    """Values and choices by history; build it with `solve`."""

    induction: Induction
    _choices: dict[TierPath, Codes] = field(default_factory=dict)
    _blocks: dict[TierPath, Block] = field(default_factory=dict)
    _reaches: dict[TierPath, Reach] = field(default_factory=dict)
    _forecast: Forecast | None = None
    _state_values: StateValues | None = None

    @property
    def histories(self) -> Histories:
        """The histories that are told apart."""
        return self.induction.histories

    @property
    def model(self) -> Model:
        """The decision problem."""
        return self.histories.model

    @property
    def root(self) -> Root:
        """Where the plan begins."""
        return self.histories.root

    @property
    def tokens(self) -> float:
        """The prompt tokens that it is made for."""
        return self.induction.tasks[0].tokens

    @property
    def cost_weight(self) -> float:
        """Quality given up per dollar."""
        return float(self.induction.tasks[0].weights[0])

    @property
    def actions(self) -> tuple[Action, ...]:
        """Every action that may be chosen somewhere."""
        return self.induction.actions.actions

    @property
    def blocks(self) -> dict[TierPath, Block]:
        """All histories."""
        return {path: self.block(path) for path in self.induction.values}

    @property
    def start(self) -> PlanNode:
        """The node of the root."""
        return PlanNode(self.histories.start)

    @property
    def size(self) -> int:
        """Histories kept."""
        return sum(table.weight.size for table in self.induction.finals.tables.values())

    def block(self, path: TierPath) -> Block:
        """The histories of one path."""
        if path not in self._blocks:
            weight = self.induction.finals.tables[path].weight[..., 0]
            self._blocks[path] = Block(weight, self.induction.worth(path)[..., 0])
        return self._blocks[path]

    def choice(self, path: TierPath) -> Codes:
        """The number of the best action at each history of one path, shape as in `Block`."""
        if path not in self._choices:
            before = np.arange(self.block(path).weight.shape[1])
            self._choices[path] = choose(self.induction, path, Columns(np.zeros_like(before), before))
        return self._choices[path]

    def table(self, tier: int) -> CountTable:
        """The counts that the plan distinguishes at a tier, once it has answered."""
        return self.histories.table(PlanStep(tier, tier))

    def charge(self, action: Action) -> float:
        """What an action costs, on the score's scale."""
        return self.cost_weight * self.histories.charge(action, self.tokens)

    # -------------------------------------------------------------- looking things up

    def action(self, node: PlanNode) -> Action:
        """The best action at a history."""
        return self.actions[self.choice(node.path).flat[node.at]]

    def value(self, node: PlanNode) -> float:
        """Expected score less weighted cost from here on."""
        block = self.block(node.path)
        return float(block.value.flat[node.at] / block.weight.flat[node.at])

    def child(self, node: PlanNode, visit: Visit) -> PlanNode | None:
        """The history once the last visit looks like this; None when the plan did not foresee it."""
        step = self._step(node, visit)
        if (*node.path, step) not in self.induction.values and node.path[-1:] != (step,):
            return None
        table = self.histories.table(step)
        row = 0 if visit.failed else self._row(table, visit)
        if row is None:
            return None
        if node.path[-1:] == (step,):
            size = self._columns(node.path)
            return PlanNode(node.path, row * size + node.at % size)
        return PlanNode((*node.path, step), row * self._columns((*node.path, step)) + node.at)

    def _columns(self, path: TierPath) -> int:
        """How many earlier counts a path has."""
        return int(self.induction.finals.tables[path].weight.shape[1])

    def _step(self, node: PlanNode, visit: Visit) -> PlanStep:
        """The step of a visit: that of the answer in hand, as long as it is the same tier's."""
        if node.path and node.path[-1].tier == visit.tier:
            return node.path[-1]
        return self.histories.step_of(visit)

    def _row(self, table: CountTable, visit: Visit) -> int | None:
        """The row of a visit's counts; None where fewer votes could be read than planned."""
        observation, hand = self.model.observation(visit.tier), self.root.hand
        foreseen = lost_votes(observation, hand) if hand and hand.tier == visit.tier else 0
        row = table.row.get(observation.counts(visit))
        return None if lost_votes(observation, visit) != foreseen else row

    def foresees(self, node: PlanNode) -> bool:
        """Whether a history is possible under the model."""
        return 0 < self._weight(node) < math.inf

    def options(self, node: PlanNode, weight: Floats) -> list[tuple[Action, float]]:
        """What each legal action is worth at a history whose posterior is `weight`, shape (2^N,)."""
        total = weight.sum()
        worth = [
            (Action("report", t), float(weight @ self.model.reward(t) / total))
            for t in self.histories.answers(node.path)
        ]
        if self.model.abstain_value is not None and (node.path or self.root.visits):
            worth.append((Action("abstain"), self.model.abstain_value))
        kind: ActionKind = "escalate" if node.path or self.root.visits else "start"
        for tier in self.histories.next_tiers(node.path):
            ahead = sum(
                float(self.histories.table(step).entry @ self.block((*node.path, step)).value[:, node.at])
                for step in self.histories.next_steps(node.path, tier)
            )
            worth.append(self._worth(Action(kind, tier), ahead / self._weight(node)))
        return worth + self._worth_of_votes(node)

    def _worth_of_votes(self, node: PlanNode) -> list[tuple[Action, float]]:
        """What each legal round of votes is worth at a history."""
        value = self.block(node.path).value
        row, before = divmod(node.at, value.shape[1])
        level = next(v for v in self.histories.levels(node.path) if v.rows.start <= row < v.rows.stop)
        return [
            self._worth(
                Action("vote", node.path[-1].tier, votes),
                float(orders[row - level.rows.start] @ value[to, before] / self._weight(node)),
            )
            for votes, to, orders in level.rounds
        ]

    def _worth(self, action: Action, ahead: float) -> tuple[Action, float]:
        return action, ahead - self.charge(action)

    def _weight(self, node: PlanNode) -> float:
        return float(self.block(node.path).weight.flat[node.at])

    # -------------------------------------------------------------- looking ahead

    def worth_to(self, prior: Floats, tokens: float) -> float:
        """What following the plan from before any call brings to a question of this prior and length."""
        if self._state_values is None:
            self._state_values = state_values(self.induction, self._reach())
        return float(self._state_values.of(prior[None], np.array([tokens]))[0, 0])

    def reach(self) -> dict[TierPath, Floats]:
        """Chance of meeting each history when the plan is followed from its root; shapes as in `Block`."""
        nodes = {}
        for path, own in self._reach().items():
            nodes[path] = np.zeros(self.block(path).weight.shape)
            nodes[path][:, own.columns.before] = chances(self.induction, path, own)
        return nodes

    def _reach(self) -> dict[TierPath, Reach]:
        if not self._reaches:
            self._reaches = reach(self.induction)
        return self._reaches

    def forecast(self, tokens: float | None = None) -> Forecast:
        """What following the plan from its root brings on a question of `tokens` (default: the plan's own).

        Money is counted at the question's own length, even where the plan was made for another.
        """
        if self._forecast is None:
            self._forecast = self._look_ahead()
        own = self._forecast
        cost = own.cost + own.per_token * ((self.tokens if tokens is None else tokens) - self.tokens)
        return own._replace(cost=cost, value=own.quality - self.cost_weight * cost)

    def times(self) -> list[tuple[Action, float]]:
        """How often each action is expected to be taken on one question."""
        totals = np.zeros(1 + len(self.actions))  # the first is of `NO_ACTION`
        for path, own in self._reach().items():
            chance = chances(self.induction, path, own)
            totals += np.bincount(1 + own.choice.ravel(), chance.ravel(), len(totals))
        return [(a, float(n)) for a, n in zip(self.actions, totals[1:], strict=True) if n]

    def _look_ahead(self) -> Forecast:
        times, escalations = self.times(), 0.0
        climbs = np.array([*(a.kind == "escalate" for a in self.actions), False])
        for path, own in self._reach().items():
            if len(path) == 1:
                escalations += float((chances(self.induction, path, own) * climbs[own.choice]).sum())
        total = sum((self.model.charge(action) * n for action, n in times), FREE)
        cost, value = total.at(self.tokens), self.value(self.start)
        return Forecast(
            value=value,
            quality=value + self.cost_weight * cost,
            cost=cost,
            per_token=total.per_token,
            escalated=escalations,
            abstained=sum(n for action, n in times if action.kind == "abstain"),
            votes=sum(n * action.votes for action, n in times),
        )

    def decisions(self) -> frozenset[tuple[TierPath, int, Action]]:
        """The action at each reachable history; plans with equal decisions are the same policy."""
        nodes = []
        for path, own in self._reach().items():
            is_possible = chances(self.induction, path, own) > 0
            for row, column in zip(*np.nonzero(is_possible), strict=True):
                at = int(row) * self._columns(path) + int(own.columns.before[column])
                nodes.append((path, at, self.actions[own.choice[row, column]]))
        return frozenset(nodes)

    def rows(self) -> list[PlanRow]:
        """The plan for people: what is done at which counts, most cheaply asked tier first.

        A tier that gave no answer has no counts, and no line.
        """
        sums: dict[_PlanLine, tuple[float, float]] = {}
        for path, chance in self.reach().items():
            if path and not path[-1].failed:
                for key, own, own_right in self._possible(path, chance):
                    total, right = sums.get(key, (0.0, 0.0))
                    sums[key] = (total + own, right + own_right)
        keys = sorted(sums, key=lambda key: (*key.rank, -sums[key][0]))
        return [PlanRow(*key[:3], sums[key][0], sums[key][1] / sums[key][0], joins=key.joins) for key in keys]

    def _possible(self, path: TierPath, chance: Floats) -> Iterator[tuple[_PlanLine, float, float]]:
        """Each history of a block that can be met: its line, P(history), P(history, right)."""
        tier, counts = path[-1].tier, self.histories.table(path[-1]).counts
        compares = self.model.agreement is not None and bool(self.histories.classes(path[:-1]))
        joins = path[-1].joins if compares else None
        for at in np.flatnonzero(chance > 0):
            weight = self._posterior(path, int(at))
            right = float(weight @ self.model.right(tier) / weight.sum())
            key = _PlanLine(
                tier, counts[at // self._columns(path)], self.action(PlanNode(path, int(at))), joins
            )
            yield key, chance.flat[at], chance.flat[at] * right

    def _posterior(self, path: TierPath, at: int) -> Floats:
        """b₀·Πℓ at a history, from the rows of the tables it is made of."""
        weight = self.histories.weight_before()
        for end in range(len(path), 0, -1):
            row, at = divmod(at, self._columns(path[:end]))
            chance = self.histories.step_chance(path[:end])
            likelihood = self.histories.likelihood(path[:end])[row]
            weight = weight * likelihood * chance[at if len(chance) > 1 else 0]
        return weight
