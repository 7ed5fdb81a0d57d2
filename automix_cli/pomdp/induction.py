"""Exact backward induction, for all cost_weights of a path at once.

The weight of a history is w(h) = Σ_s b₀(s)·Π_i ℓ_i(counts_i | s), where ℓ(c, t) is the
probability of one particular order of c CORRECT among t votes. Values are kept multiplied by
w(h): then one more round is a matrix product with the number of orders that lead from counts
to counts, no belief is ever divided, and P(s | h) = b₀(s)·Πℓ/w(h). Only the charges depend on
the cost_weight, so one pass over the histories solves the problem for many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.cost import Cost
from automix_cli.pomdp.histories import Histories, Root, TierPath
from automix_cli.pomdp.length_grid import ValueLine
from automix_cli.pomdp.model import Model
from automix_cli.pomdp.observations import Level
from automix_cli.pomdp.problem import Action, ActionKind
from automix_cli.pomdp.tilt import sigmoid, tilt

VALUE_TIE = 1e-12  # values nearer than this count as equal


class Block(NamedTuple):
    """All histories of one path, for W cost_weights.

    `weight` is w(h), shape (earlier counts, counts of the last tier); `value` the best value
    times w(h), `choice` indexes the actions, both with an axis of plans before. Where the plans have
    priors of their own, `weight` has this axis, too.
    """

    weight: Floats
    value: Floats
    choice: NDArray[np.int16]


class ActionCodes(NamedTuple):
    """Every action that some plan takes, with its number; plans that are played together share them.

    `costs` are those of the actions that were looked at, for the one model that the plans are of.
    """

    actions: list[Action]
    codes: dict[Action, int]
    costs: dict[Action, Cost]


class _Option(NamedTuple):
    """An action open at some rows: its rank in a tie, and its value there (-inf where it is not legal)."""

    rank: _Rank
    action: Action
    value: Floats


_Rank: TypeAlias = tuple[float, int, int]
_TIE_ORDER = ("report", "abstain", "start", "escalate", "vote")


def _rank_of(action: Action, charge: float) -> _Rank:
    """In a tie the cheaper action wins, then report, abstain, escalate, vote."""
    return (charge, _TIE_ORDER.index(action.kind), action.tier)


def solve_path(
    model: Model,
    weights: Sequence[float],
    tokens: float,
    root: Root = Root(),  # noqa: B008
) -> PlanPath:
    """Best action and value at every history from `root` on, for each cost_weight.

    Args:
        model: small enough, see `simplify`; its own cost_weight plays no part.
        weights: the cost_weights.
        tokens: prompt tokens of the question.
        root: where to begin.
    """
    histories = Histories(model, root)
    path = PlanPath(histories, tokens, np.asarray(weights, dtype=float))
    path.extend(histories.start, histories.weight_before()[None])
    return path


class PlanCase(NamedTuple):
    """What a path of plans is solved for: prompt tokens, and where it begins."""

    tokens: float
    root: Root = Root()


class SolvedPlans(NamedTuple):
    """W plans for one case, and what was found out about them.

    Attributes:
        choices: the number of the action at each history, as in `Block`.
        orders: in how many orders each history is met.
        spending: W, dollars that each plan is expected to cost on a question.
        line: what each plan is worth, and how that falls with each token of the prompt.
        values: what they bring per state; None where questions of one length have one plan.
    """

    choices: dict[TierPath, NDArray[np.int16]]
    orders: dict[TierPath, Floats]
    spending: Floats
    line: ValueLine
    values: StateValues | None = None


class PlanTask(NamedTuple):
    """A case, and the W cost_weights that it is solved for."""

    case: PlanCase
    weights: Floats


def solve_cases(model: Model, tasks: Sequence[PlanTask], numbers: ActionCodes) -> list[SolvedPlans]:
    """Solve several cases in one pass over the histories, which is much quicker.

    Actions that are equally good are ranked by their charges at the mean length. All cases begin before
    any call.
    """
    cases, sizes = [task.case for task in tasks], [len(task.weights) for task in tasks]
    whole = PlanPath(
        Histories(model, cases[0].root),
        float(np.mean([case.tokens for case in cases])),
        np.concatenate([task.weights for task in tasks]),
        actions=numbers.actions,
        codes=numbers.codes,
        costs=numbers.costs,
        lengths=np.repeat([case.tokens for case in cases], sizes),
    )
    priors = prior_table(model, [case.root for case in cases])
    whole.extend((), priors[:1] if len(priors) == 1 else np.repeat(priors, sizes, axis=0)[:, None])
    orders = whole.orders()
    ends = np.cumsum(sizes).tolist()
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    is_tilted = any(case.root.logits for case in cases)
    values, cost = whole.state_values(orders) if is_tilted else None, whole.spending(orders)
    line = ValueLine(whole.root_values(), whole.weights * cost.per_token)
    return [
        SolvedPlans(
            {path: block.choice[own] for path, block in whole.blocks.items()},
            {path: ways[own] for path, ways in orders.items()},
            cost.dollars[own],
            line.take(own),
            None if values is None else values.take(own)._replace(tokens=case.tokens),
        )
        for own, case in zip(parts, cases, strict=True)
    ]


def _free(action: Action, value: Floats) -> _Option:
    """An action without a charge."""
    return _Option(_rank_of(action, 0.0), action, value)


def _once(values: Floats) -> Floats:
    """The values of all plans, once where they are the same for all of them."""
    return values[:1] if values.strides[0] == 0 else values


def prior_table(model: Model, roots: Sequence[Root]) -> Floats:
    """The priors of roots before any call, a line each; one line where all have the same."""
    if len({(root.question_class, root.logits) for root in roots}) == 1:
        return model.prior(roots[0].question_class, roots[0].logits)[None]
    priors = np.array([model.class_prior(root.question_class) for root in roots])
    has_logits = np.array([bool(root.logits) for root in roots])
    if has_logits.any():
        targets = sigmoid(np.array([root.logits for root in roots if root.logits]))
        priors[has_logits] = tilt(priors[has_logits], targets)
    return priors


class Spending(NamedTuple):
    """What W plans are expected to cost on a question: dollars, and of these for each prompt token."""

    dollars: Floats
    per_token: Floats


class StateValues(NamedTuple):
    """What W plans bring per state of a question, W×2^N: linear in its prior and in its prompt tokens.

    Attributes:
        tokens: the prompt tokens that `value` is for.
        value: expected score less weighted cost.
        fall: how much each further token takes off it.
    """

    tokens: float
    value: Floats
    fall: Floats

    def take(self, places: Ints | slice) -> StateValues:
        """The same of some plans."""
        return StateValues(self.tokens, self.value[places], self.fall[places])

    def of(self, priors: Floats, tokens: Floats) -> Floats:
        """The worth of each plan to n questions, W×n, by their priors (n×2^N) and prompt tokens (n)."""
        worth: Floats = self.value @ priors.T
        if self.fall.any():
            worth = worth - (self.fall @ priors.T) * (tokens - self.tokens)
        return worth


@dataclass(slots=True, eq=False, repr=False)
class PlanPath:
    """Values and choices by history, for each of W cost_weights; build it with `solve_path`.

    `blocks[path]` holds the histories that took the steps of `path` since the root; the path
    () stands for the root itself, when no answer is in hand. `lengths` are the prompt tokens of each
    plan where they are not `tokens` for all.
    """

    histories: Histories
    tokens: float
    weights: Floats
    blocks: dict[TierPath, Block] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    codes: dict[Action, int] = field(default_factory=dict)
    lengths: Floats | None = None
    costs: dict[Action, Cost] = field(default_factory=dict)
    _charges: dict[Action, tuple[Floats, _Rank]] = field(default_factory=dict)

    @property
    def _lengths(self) -> Floats | float:
        return self.tokens if self.lengths is None else self.lengths

    @property
    def size(self) -> int:
        """Histories kept, of each cost_weight."""
        return sum(block.weight.size for block in self.blocks.values())

    # -------------------------------------------------------------- backward induction

    def extend(self, path: TierPath, weight: Floats) -> None:
        """Solve everything from `path` on.

        Args:
            path: the steps since the root.
            weight: b₀·Πℓ of all that came before its last step, shape (histories, 2^N); with an axis
                of plans before where these have priors of their own.
        """
        likelihood = self.histories.likelihood(path)
        weight = weight * self.histories.step_chance(path)
        if self.histories.next_tiers(path):
            deeper = (weight[..., :, None, :] * likelihood).reshape(*weight.shape[:-2], -1, weight.shape[-1])
            for tier in self.histories.next_tiers(path):
                for step in self.histories.next_steps(path, tier):
                    self.extend((*path, step), deeper)
        total = weight @ likelihood.T
        options = list(self._options_without_votes(path, weight, likelihood, total))
        shape = (len(self.weights), *total.shape[-2:])
        # At the end nothing has a charge: what is best there is the same for every cost_weight.
        plans = shape[:1] if not self.histories.is_end(path) else total.shape[:-2] or (1,)
        own_shape = (*plans, *total.shape[-2:])
        block = Block(total, np.empty(own_shape), np.empty(own_shape, dtype=np.int16))
        for level in reversed(self.histories.levels(path)):
            self._choose(block, level, options, path)
        self.blocks[path] = Block(
            total, np.broadcast_to(block.value, shape), np.broadcast_to(block.choice, shape)
        )

    def _options_without_votes(
        self, path: TierPath, weight: Floats, likelihood: Floats, total: Floats
    ) -> Iterator[_Option]:
        """Yield report, abstain and escalate, at every history of a block."""
        model, histories = self.histories.model, self.histories
        answers = histories.answers(path)
        for tier in answers:
            value = (weight * model.reward(tier)) @ likelihood.T
            yield _free(Action("report", tier), value)
        if histories.is_later(path) and model.abstain_value is not None:
            yield _free(Action("abstain"), model.abstain_value * total)
        elif not (histories.next_tiers(path) or answers):  # every tier has failed
            yield _free(Action("abstain"), np.zeros_like(total))
        for tier in histories.next_tiers(path):
            action = Action("escalate" if histories.is_later(path) else "start", tier)
            ahead = sum(
                _once(self.blocks[(*path, step)].value) @ histories.table(step).entry
                for step in histories.next_steps(path, tier)
            )
            yield self._with_charge(action, np.reshape(ahead, (-1, *total.shape[-2:])), total)

    def _with_charge(self, action: Action, ahead: Floats, weight: Floats) -> _Option:
        if action not in self._charges:
            cost = self._cost(action)
            charges = self.weights * (cost.fixed + cost.per_token * self._lengths)
            self._charges[action] = charges[:, None, None], _rank_of(action, cost.at(self.tokens))
        charge, rank = self._charges[action]
        charges = charge * weight
        return _Option(rank, action, np.subtract(ahead, charges, out=charges))

    def _cost(self, action: Action) -> Cost:
        if action not in self.costs:
            self.costs[action] = self.histories.model.charge(action)
        return self.costs[action]

    def _choose(self, block: Block, level: Level, options: list[_Option], path: TierPath) -> None:
        """Find the best action at each history of one level; what follows it has been solved."""
        # Lines of one level are short: side by side in memory they are compared much faster.
        here = [_Option(o.rank, o.action, np.ascontiguousarray(o.value[..., level.rows])) for o in options]
        weight = np.ascontiguousarray(block.weight[..., level.rows])
        values, shape = block.value.reshape(-1, block.value.shape[-1]), block.value[..., level.rows].shape
        for votes, to, orders in level.rounds:
            ahead = (values[:, to] @ orders.T).reshape(shape)
            here.append(self._with_charge(Action("vote", path[-1].tier, votes), ahead, weight))
        here.sort(key=itemgetter(0))
        # What has no charge has one value for all plans, and is compared before what has more.
        best = reduce(np.maximum, sorted((option.value for option in here), key=attrgetter("size")))
        *others, last = here
        good_enough, choice = best - VALUE_TIE * weight, np.full(shape, self._code(last.action), np.int16)
        for option in reversed(others):  # the first of equals is written last, and stays
            np.copyto(choice, self._code(option.action), where=option.value >= good_enough)
        block.value[..., level.rows], block.choice[..., level.rows] = best, choice

    def _code(self, action: Action) -> int:
        if action not in self.codes:
            self.codes[action] = len(self.actions)
            self.actions.append(action)
        return self.codes[action]

    # -------------------------------------------------------------- looking ahead

    def takes(self, block: Block, rows: slice, action: Action) -> Bools:
        """Where an action is chosen."""
        return np.asarray(block.choice[..., rows] == self.codes.get(action, -1))

    def orders(self) -> dict[TierPath, Floats]:
        """In how many orders each history is met when the plan is followed, shapes as `Block.value`.

        Times the probability of one order this is the chance to meet the history: times
        w(h)/w(root) under the model, times that of drawing it from a row's recorded votes in
        `replay`.
        """
        orders = {path: np.zeros(block.choice.shape) for path, block in self.blocks.items()}
        orders[self.histories.start][:, 0, 0] = 1.0
        for path in sorted(orders, key=len):
            block, ways = self.blocks[path], orders[path]
            for level in self.histories.levels(path):
                for votes, to, steps in level.rounds:
                    follows = self.takes(block, level.rows, Action("vote", path[-1].tier, votes))
                    if np.count_nonzero(follows):  # much quicker than `any` where there are few
                        ways[..., to] += (ways[..., level.rows] * follows) @ steps
            for tier in self.histories.next_tiers(path):
                kind: ActionKind = "escalate" if self.histories.is_later(path) else "start"
                follows = self.takes(block, slice(None), Action(kind, tier))
                if np.count_nonzero(follows):
                    asked_orders = (ways * follows).reshape(len(self.weights), -1, 1)
                    for step in self.histories.next_steps(path, tier):
                        orders[(*path, step)] += asked_orders * self.histories.table(step).entry
        return orders

    def action_chances(self, orders: Mapping[TierPath, Floats]) -> Floats:
        """How often each plan is expected to take each action on a question, under the model; W×actions.

        Args:
            orders: those of `orders()`.
        """
        plans, actions = len(self.weights), len(self.actions)
        chances = np.zeros(plans * actions)
        root = self.blocks[self.histories.start].weight[..., :1, :1]
        first_place = actions * np.arange(plans)[:, None, None]
        for path, ways in orders.items():
            block = self.blocks[path]
            places = (first_place + block.choice).ravel()
            chance = ways * (block.weight / root)
            chances += np.bincount(places, weights=chance.ravel(), minlength=len(chances))
        return chances.reshape(plans, actions)

    def spending(self, orders: Mapping[TierPath, Floats]) -> Spending:
        """What each plan is expected to cost on a question, under the model."""
        costs = np.array([self._cost(action) for action in self.actions]).reshape(-1, 2)
        with_charges = {path: ways for path, ways in orders.items() if not self.histories.is_end(path)}
        fixed, per_token = (self.action_chances(with_charges) @ costs).T
        return Spending(np.asarray(fixed + per_token * self._lengths), per_token)

    def root_values(self) -> Floats:
        """Expected score less weighted cost of each plan; W."""
        block = self.blocks[self.histories.start]
        return np.asarray(block.value[:, 0, 0] / block.weight[..., 0, 0])

    def state_values(self, orders: Mapping[TierPath, Floats]) -> StateValues:
        """What each plan brings in each state, where the plans begin before any call.

        Args:
            orders: those of `orders()`.
        """
        model, shape = self.histories.model, (len(self.weights), 2 ** len(self.histories.model.tiers))
        value, fall = np.zeros(shape), np.zeros(shape)
        for path, ways in orders.items():
            chance, choice = self.histories.order_chances(path), self.blocks[path].choice
            for code in np.unique(choice[ways > 0]):
                action, own = self.actions[code], np.where(choice == code, ways, 0.0)
                times = own.reshape(len(own), -1) @ chance
                cost = self._cost(action)
                charge = self.weights * (cost.fixed + cost.per_token * self._lengths)
                value += times * (model.payoff(action) - charge[:, None])
                fall += times * (self.weights * cost.per_token)[:, None]
        return StateValues(self.tokens, value, fall)
