"""The exact plan: values and best actions by backward induction, for one number of prompt tokens.

`Plan` holds the value and the best action at every reachable history.

A history enters a plan only through the counts seen at each tier asked, because votes on
one answer are exchangeable. Its weight is w(h) = Σ_s b₀(s)·Π_i ℓ_i(counts_i | s), where
ℓ(c, t) is the probability of one particular order of c CORRECT among t votes. Values are
kept multiplied by w(h): then one more round is a matrix product with the number of orders
that lead from counts to counts, no belief is ever divided, and P(s | h) = b₀(s)·Πℓ/w(h).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.model import FREE, Model
from automix_cli.pomdp.observations import Counts, CountTable, Level, ObservationModel, lost_votes, one_row
from automix_cli.pomdp.problem import Action, ActionKind, Visit

TierPath: TypeAlias = tuple[int, ...]
VALUE_TIE = 1e-12  # values nearer than this count as equal


class Root(NamedTuple):
    """The history at which a plan begins.

    A plan begins before any call (no visits), or at a history that an earlier plan does not
    hold: after a tier failed, or after a round brought fewer parsed votes than planned.
    """

    question_class: int = 0
    visits: tuple[Visit, ...] = ()

    @property
    def hand(self) -> Visit | None:
        """The answer in hand."""
        return self.visits[-1] if self.visits and not self.visits[-1].failed else None

    @property
    def earlier_tiers(self) -> tuple[int, ...]:
        """Tiers whose answers can be reported, the one in hand excepted."""
        tiers = [v.tier for v in self.visits if not v.failed]
        return tuple(tiers[:-1] if self.hand else tiers)


class PlanNode(NamedTuple):
    """A history in a plan: tiers asked since its root, and the row of their flattened counts."""

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
    changes the action, a count has several rows.
    """

    tier: int
    counts: Counts
    action: Action
    probability: float
    confidence: float


class Block(NamedTuple):
    """All histories with the same tiers asked, shape (earlier counts, counts of the last tier).

    `weight` is w(h), `value` the best value times w(h), `choice` indexes `Plan.actions`.
    """

    weight: Floats
    value: Floats
    choice: NDArray[np.int16]


class _Option(NamedTuple):
    """An action open at some rows: its value there, and how it is preferred in a tie."""

    action: Action
    value: Floats
    charge: float

    @property
    def rank(self) -> tuple[float, int, int]:
        """Cheaper first, then report, abstain, escalate, vote."""
        kinds = ("report", "abstain", "start", "escalate", "vote")
        return (self.charge, kinds.index(self.action.kind), self.action.tier)


def solve(model: Model, tokens: float, root: Root = Root()) -> Plan:  # noqa: B008
    """Best action and value at every history from `root` on, by exact backward induction.

    Args:
        model: small enough, see `simplify`.
        tokens: prompt tokens of the question.
        root: where to begin.
    """
    plan = Plan(model, tokens, root)
    hand = root.hand
    plan.extend(
        (hand.tier,) if hand else (),
        model.weigh(root.question_class, root.visits[:-1] if hand else root.visits)[None],
    )
    return plan


@lru_cache(maxsize=256)
def tabulate(
    observation: ObservationModel, max_votes: int, batch: tuple[int, ...], start: Counts | None
) -> CountTable:
    """A tier's table from asking it on or, given `start`, from these counts on."""
    if start is None:
        return observation.table(max_votes, batch)
    if max_votes <= start.bought:
        return one_row(observation, start)
    return observation.table(max_votes, batch, start)


@dataclass(slots=True, eq=False, repr=False)
class Plan:
    """Values and choices by history; build it with `solve`.

    `blocks[path]` holds the histories that asked the tiers of `path` since the root; the path
    () stands for the root itself, when no answer is in hand.
    """

    model: Model
    tokens: float
    root: Root
    blocks: dict[TierPath, Block] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    _codes: dict[Action, int] = field(default_factory=dict)
    _forecast: Forecast | None = None

    @property
    def start(self) -> PlanNode:
        """The node of the root."""
        return PlanNode((self.root.hand.tier,) if self.root.hand else ())

    @property
    def size(self) -> int:
        """Histories kept."""
        return sum(block.weight.size for block in self.blocks.values())

    def table(self, tier: int) -> CountTable:
        """The counts that the plan distinguishes at a tier."""
        observation, max_votes = self.model.observation(tier), self.model.tiers[tier].max_votes
        hand = self.root.hand
        if hand and hand.tier == tier:
            max_votes -= lost_votes(observation, hand)
            return tabulate(observation, max_votes, self.model.batch, observation.counts(hand))
        return tabulate(observation, max_votes, self.model.batch, None)

    def charge(self, action: Action) -> float:
        """What an action costs, on the score's scale."""
        return self.model.cost_weight * self.model.charge(action).at(self.tokens)

    def next_tiers(self, path: TierPath) -> range:
        """Tiers that may still be asked."""
        last = path[-1] if path else self.root.visits[-1].tier if self.root.visits else -1
        return range(last + 1, len(self.model.tiers))

    # -------------------------------------------------------------- backward induction

    def extend(self, path: TierPath, weight: Floats) -> None:
        """Solve everything from `path` on; `weight` is b₀·Πℓ of earlier tiers, shape (histories, 2^N)."""
        likelihood = self._likelihood(path)
        if self.next_tiers(path):
            deeper = (weight[:, None, :] * likelihood).reshape(-1, weight.shape[1])
            for tier in self.next_tiers(path):
                self.extend((*path, tier), deeper)
        total = weight @ likelihood.T
        options = self._options_without_votes(path, weight, likelihood, total)
        block = Block(total, np.empty_like(total), np.empty(total.shape, dtype=np.int16))
        for level in reversed(self._levels(path)):
            self._choose(block, level, options, path)
        self.blocks[path] = block

    def _likelihood(self, path: TierPath) -> Floats:
        """ℓ of the last tier's counts, shape (counts, 2^N)."""
        if not path:
            return np.ones((1, 2 ** len(self.model.tiers)))
        return self.model.spread(path[-1], self.table(path[-1]).likelihood)

    def _levels(self, path: TierPath) -> tuple[Level, ...]:
        return self.table(path[-1]).levels if path else (Level(slice(0, 1), ()),)

    def _options_without_votes(
        self, path: TierPath, weight: Floats, likelihood: Floats, total: Floats
    ) -> list[_Option]:
        """Report, abstain and escalate, at every history of a block."""
        options = [
            _Option(Action("report", tier), (weight * self.model.reward(tier)) @ likelihood.T, 0.0)
            for tier in (*self.root.earlier_tiers, *path)
        ]
        is_later = bool(path or self.root.visits)  # some tier has been asked
        if is_later and self.model.abstain_value is not None:
            options.append(_Option(Action("abstain"), self.model.abstain_value * total, 0.0))
        for tier in self.next_tiers(path):
            action = Action("escalate" if is_later else "start", tier)
            ahead = self.blocks[(*path, tier)].value @ self.table(tier).entry
            charge = self.charge(action)
            options.append(_Option(action, ahead.reshape(total.shape) - charge * total, charge))
        if not options:  # every tier has failed: there is nothing to report
            options.append(_Option(Action("abstain"), 0.0 * total, 0.0))
        return options

    def _choose(self, block: Block, level: Level, options: list[_Option], path: TierPath) -> None:
        """The best action at each history of one level; what follows it has been solved."""
        here = [_Option(o.action, o.value[:, level.rows], o.charge) for o in options]
        weight = block.weight[:, level.rows]
        for votes, to, orders in level.rounds:
            action = Action("vote", path[-1], votes)
            charge = self.charge(action)
            here.append(_Option(action, block.value[:, to] @ orders.T - charge * weight, charge))
        here.sort(key=lambda option: option.rank)
        values = np.stack([option.value for option in here])
        best = (values >= values.max(axis=0) - VALUE_TIE * weight).argmax(axis=0)
        block.value[:, level.rows] = np.take_along_axis(values, best[None], axis=0)[0]
        block.choice[:, level.rows] = np.array([self._code(option.action) for option in here])[best]

    def _code(self, action: Action) -> int:
        if action not in self._codes:
            self._codes[action] = len(self.actions)
            self.actions.append(action)
        return self._codes[action]

    # -------------------------------------------------------------- looking things up

    def action(self, node: PlanNode) -> Action:
        """The best action at a history."""
        return self.actions[self.blocks[node.path].choice.flat[node.at]]

    def value(self, node: PlanNode) -> float:
        """Expected score less weighted cost from here on."""
        block = self.blocks[node.path]
        return float(block.value.flat[node.at] / block.weight.flat[node.at])

    def child(self, node: PlanNode, visit: Visit) -> PlanNode | None:
        """The history once the last visit looks like this; None when the plan did not foresee it."""
        observation, hand, table = self.model.observation(visit.tier), self.root.hand, self.table(visit.tier)
        foreseen = lost_votes(observation, hand) if hand and hand.tier == visit.tier else 0
        row = table.row.get(observation.counts(visit))
        if visit.failed or row is None or lost_votes(observation, visit) != foreseen:
            return None
        width = len(table.counts)
        if node.path and node.path[-1] == visit.tier:
            return PlanNode(node.path, node.at // width * width + row)
        return PlanNode((*node.path, visit.tier), node.at * width + row)

    def foresees(self, node: PlanNode) -> bool:
        """Whether a history is possible under the model."""
        return 0 < self._weight(node) < math.inf

    def options(self, node: PlanNode, weight: Floats) -> list[tuple[Action, float]]:
        """What each legal action is worth at a history whose posterior is `weight`, shape (2^N,)."""
        total = weight.sum()
        worth = [
            (Action("report", t), float(weight @ self.model.reward(t) / total))
            for t in (*self.root.earlier_tiers, *node.path)
        ]
        if self.model.abstain_value is not None and (node.path or self.root.visits):
            worth.append((Action("abstain"), self.model.abstain_value))
        kind: ActionKind = "escalate" if node.path or self.root.visits else "start"
        for tier in self.next_tiers(node.path):
            ahead = self.blocks[(*node.path, tier)].value[node.at] @ self.table(tier).entry
            worth.append(self._worth(Action(kind, tier), float(ahead / self._weight(node))))
        return worth + self._worth_of_votes(node)

    def _worth_of_votes(self, node: PlanNode) -> list[tuple[Action, float]]:
        """What each legal round of votes is worth at a history."""
        value = self.blocks[node.path].value
        before, row = divmod(node.at, value.shape[1])
        level = next(v for v in self._levels(node.path) if v.rows.start <= row < v.rows.stop)
        return [
            self._worth(
                Action("vote", node.path[-1], votes),
                float(value[before, to] @ orders[row - level.rows.start] / self._weight(node)),
            )
            for votes, to, orders in level.rounds
        ]

    def _worth(self, action: Action, ahead: float) -> tuple[Action, float]:
        return action, ahead - self.charge(action)

    def _weight(self, node: PlanNode) -> float:
        return float(self.blocks[node.path].weight.flat[node.at])

    # -------------------------------------------------------------- looking ahead

    def reach(self) -> dict[TierPath, Floats]:
        """Chance of meeting each history when the plan is followed from its root; shapes as in `Block`."""
        orders = {path: np.zeros_like(block.weight) for path, block in self.blocks.items()}
        orders[self.start.path].flat[self.start.at] = 1.0
        for path in sorted(orders, key=len):
            block, ways = self.blocks[path], orders[path]
            for level in self._levels(path):
                for votes, to, steps in level.rounds:
                    follows = self._takes(block, level.rows, Action("vote", path[-1], votes))
                    ways[:, to] += (ways[:, level.rows] * follows) @ steps
            for tier in self.next_tiers(path):
                kind: ActionKind = "escalate" if path or self.root.visits else "start"
                follows = self._takes(block, slice(None), Action(kind, tier))
                orders[(*path, tier)] += (ways * follows).reshape(-1, 1) * self.table(tier).entry
        return {
            path: ways * self.blocks[path].weight / self._weight(self.start) for path, ways in orders.items()
        }

    def _takes(self, block: Block, rows: slice, action: Action) -> NDArray[np.bool_]:
        return np.asarray(block.choice[:, rows] == self._codes.get(action, -1))

    def forecast(self, tokens: float | None = None) -> Forecast:
        """What following the plan from its root brings on a question of `tokens` (default: the plan's own).

        Money is counted at the question's own length, even where the plan was made for another.
        """
        if self._forecast is None:
            self._forecast = self._look_ahead()
        own = self._forecast
        cost = own.cost + own.per_token * ((self.tokens if tokens is None else tokens) - self.tokens)
        return own._replace(cost=cost, value=own.quality - self.model.cost_weight * cost)

    def _look_ahead(self) -> Forecast:
        chances, escalations = np.zeros(len(self.actions)), 0.0
        climbs = np.array([a.kind == "escalate" for a in self.actions])
        for path, chance in self.reach().items():
            of_path = np.bincount(self.blocks[path].choice.ravel(), chance.ravel(), len(chances))
            chances = chances + of_path
            escalations += float(of_path[climbs].sum()) if len(path) == 1 else 0.0
        times = list(zip(self.actions, map(float, chances), strict=True))
        total = sum((self.model.charge(action) * n for action, n in times), FREE)
        cost, value = total.at(self.tokens), self.value(self.start)
        return Forecast(
            value=value,
            quality=value + self.model.cost_weight * cost,
            cost=cost,
            per_token=total.per_token,
            escalated=escalations,
            abstained=sum(n for action, n in times if action.kind == "abstain"),
            votes=sum(n * action.votes for action, n in times),
        )

    def decisions(self) -> frozenset[tuple[TierPath, int, Action]]:
        """The action at each reachable history; plans with equal decisions are the same policy."""
        possible = ((path, np.flatnonzero(chance > 0)) for path, chance in self.reach().items())
        return frozenset(
            (path, int(at), self.action(PlanNode(path, int(at))))
            for path, places in possible
            for at in places
        )

    def rows(self) -> list[PlanRow]:
        """The plan for people: what is done at which counts, most cheaply asked tier first."""
        sums: dict[tuple[int, Counts, Action], tuple[float, float]] = {}
        for path, chance in self.reach().items():
            if path:
                for key, own, own_right in self._possible(path, chance):
                    total, right = sums.get(key, (0.0, 0.0))
                    sums[key] = (total + own, right + own_right)
        keys = sorted(sums, key=lambda key: (key[0], key[1].bought, key[1], -sums[key][0]))
        return [PlanRow(*key, sums[key][0], sums[key][1] / sums[key][0]) for key in keys]

    def _possible(
        self, path: TierPath, chance: Floats
    ) -> Iterator[tuple[tuple[int, Counts, Action], float, float]]:
        """Each history of a block that can be met: (tier, counts, action), P(history), P(history, right)."""
        tier, table = path[-1], self.table(path[-1])
        for at in np.flatnonzero(chance > 0):
            weight = self._posterior(path, int(at))
            right = float(weight @ self.model.right(tier) / weight.sum())
            action = self.action(PlanNode(path, int(at)))
            yield (
                (tier, table.counts[at % len(table.counts)], action),
                chance.flat[at],
                chance.flat[at] * right,
            )

    def _posterior(self, path: TierPath, at: int) -> Floats:
        """b₀·Πℓ at a history, from the rows of the tables it is made of."""
        weight = self.model.weigh(
            self.root.question_class, self.root.visits[:-1] if self.root.hand else self.root.visits
        )
        for tier in reversed(path):
            at, row = divmod(at, len(self.table(tier).counts))
            weight = weight * self.model.spread(tier, self.table(tier).likelihood[row])
        return weight
