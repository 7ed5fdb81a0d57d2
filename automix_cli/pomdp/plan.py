"""The policy that is computed: beliefs by Bayes' rule, plans by exact backward induction.

`Model`     what is known before a question is seen: the prior over states, what each tier's
            signal shows of right and of wrong answers, rewards, planned costs.
`Plan`      the value and the best action at every history that can be met, for one number
            of prompt tokens.
`PomdpPolicy`   the model's plans as a `Policy`.

A history enters a plan only through the counts seen at each tier asked, because votes on
one answer are exchangeable. Its weight is w(h) = Σ_s b₀(s)·Π_i ℓ_i(counts_i | s), where
ℓ(c, t) is the probability of one particular order of c CORRECT among t votes. Values are
kept multiplied by w(h): then one more round is a matrix product with the number of orders
that lead from counts to counts, no belief is ever divided, and P(s | h) = b₀(s)·Πℓ/w(h).

States are numbered 0 … 2^N - 1; bit i of s (its weight is 2^i) is set where tier i is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automix_cli.errors import AutomixError
from automix_cli.pomdp.observations import (
    MAX_VOTES,
    UNSEEN,
    Array,
    ConfidenceObservations,
    Counts,
    Level,
    ObservationModel,
    Table,
    VoteObservations,
    check_distribution,
    lost,
    one_row,
    reachable_levels,
)
from automix_cli.pomdp.problem import Action, ActionKind, Facts, Observation, Visit

TierPath: TypeAlias = tuple[int, ...]

HISTORIES = 2_000_000  # more than this and the plan is simplified, see `simplified`
ROWS = 9_000  # nor more counts than this at one tier: the orders between them fill matrices
TIE = 1e-12
GRID_LOSS = 5e-4  # in value, between the token grid's plans and a plan of the question's own
_PAID: tuple[ActionKind, ...] = ("start", "vote")


# ------------------------------------------------------------------ the model


class Cost(NamedTuple):
    """Planned dollars of a call: `fixed + per_token · prompt tokens`; completion tokens at their mean.

    Example:
        >>> Cost(0.001, 1e-6).at(2000)
        0.003
    """

    fixed: float = 0.0
    per_token: float = 0.0

    def at(self, tokens: float) -> float:
        """Dollars at a number of prompt tokens."""
        return self.fixed + self.per_token * tokens

    def __mul__(self, times: object) -> Cost:
        """So many of these calls."""
        if not isinstance(times, int | float):
            return NotImplemented
        return Cost(self.fixed * times, self.per_token * times)

    def __add__(self, other: object) -> Cost:
        """Both calls; a plain number is dollars whatever the prompt."""
        if isinstance(other, Cost):
            return Cost(self.fixed + other.fixed, self.per_token + other.per_token)
        return Cost(self.fixed + other, self.per_token) if isinstance(other, int | float) else NotImplemented


FREE = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierModel:
    """What is known of one tier.

    Attributes:
        right, wrong: mean score of its right and of its wrong answers.
        observation: what its signal shows.
        max_votes: the most votes one answer may get.
        answer, vote, round: planned costs of asking it, of one vote, of the prompt of a round of votes.
        answer_s, round_s: mean latency of these round trips, in seconds.
    """

    right: float = 1.0
    wrong: float = 0.0
    observation: ObservationModel = UNSEEN
    max_votes: int = 0
    answer: Cost = FREE
    vote: Cost = FREE
    round: Cost = FREE
    answer_s: float = 0.0
    round_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The decision problem of one question.

    Attributes:
        tiers: cheapest first.
        priors: for each class of questions, the chances of the 2^N states (see the module).
            With one class, every question belongs to it.
        cost_weight: quality given up per dollar.
        batch: how many votes one action may buy; all that remain is always legal.
        abstain_value: worth of "no answer" on the score's scale; None = always answer.
        last_tier: verify the last tier's answers too; so they are where one may abstain.
        value_of_time: USD per hour of waiting.
        mean_tokens: prompt tokens of a question that nobody counted.
    """

    tiers: tuple[TierModel, ...]
    priors: tuple[tuple[float, ...], ...]
    cost_weight: float = 0.0
    batch: tuple[int, ...] = (1, 2, 4)
    abstain_value: float | None = None
    last_tier: bool = False
    value_of_time: float = 0.0
    mean_tokens: float = 0.0

    def __post_init__(self) -> None:
        if not self.tiers or not self.priors:
            raise ValueError("a model needs a tier and a prior")
        for prior in self.priors:
            check_distribution("prior", prior)
            if len(prior) != 2 ** len(self.tiers):
                raise ValueError(
                    f"{len(self.tiers)} tiers have {2 ** len(self.tiers)} states, got {len(prior)}"
                )
        for tier in self.tiers:
            if not 0 <= tier.max_votes <= MAX_VOTES:
                raise ValueError(f"max_votes must lie in 0..{MAX_VOTES}, got {tier.max_votes}")
        charges = [self.charge(Action(k, i, 1)) for i in range(len(self.tiers)) for k in _PAID]
        if not all(math.isfinite(x) and x >= 0 for x in (self.cost_weight, *(y for c in charges for y in c))):
            raise ValueError(
                f"costs and cost_weight must be known and not negative, got {self.cost_weight}, {charges}"
            )

    def observation(self, tier: int) -> ObservationModel:
        """What is looked at: nothing at the last tier, where it could change no decision worth its price."""
        if tier < len(self.tiers) - 1 or self.last_tier or self.abstain_value is not None:
            return self.tiers[tier].observation
        return UNSEEN

    def charge(self, action: Action) -> Cost:
        """Planned cost of an action, the price of waiting included."""
        if action.kind in ("start", "escalate"):
            tier = self.tiers[action.tier]
            return tier.answer + self.value_of_time * tier.answer_s / 3600
        if action.kind == "vote":
            tier = self.tiers[action.tier]
            return tier.round + tier.vote * action.votes + self.value_of_time * tier.round_s / 3600
        return Cost()

    def at_mean(self) -> Model:
        """The model in which every prompt has the mean length: one plan serves all questions."""

        def flat(cost: Cost) -> Cost:
            return Cost(cost.at(self.mean_tokens))

        tiers = tuple(
            replace(t, answer=flat(t.answer), vote=flat(t.vote), round=flat(t.round)) for t in self.tiers
        )
        return replace(self, tiers=tiers)

    def prior(self, question_class: int) -> Array:
        """Chances of the states for a class of questions, shape (2^N,)."""
        return np.array(self.priors[question_class if len(self.priors) > 1 else 0])

    def right(self, tier: int) -> Array:
        """1 in the states where the tier is right, shape (2^N,)."""
        return np.array((np.arange(2 ** len(self.tiers)) >> tier) & 1, dtype=float)

    def reward(self, tier: int) -> Array:
        """Expected score of reporting the tier, per state, shape (2^N,)."""
        known = self.tiers[tier]
        return known.wrong + (known.right - known.wrong) * self.right(tier)

    def spread(self, tier: int, likelihood: Array) -> Array:
        """From cells to states: shape (…, cells) → (…, 2^N)."""
        own, last = self.right(tier).astype(int), self.right(len(self.tiers) - 1).astype(int)
        cells = own if likelihood.shape[-1] == 2 else 2 * own + last
        return np.asarray(likelihood[..., cells])

    def weigh(self, question_class: int, visits: tuple[Visit, ...]) -> Array:
        """b₀(s)·Π_i ℓ_i(seen at i | s), shape (2^N,): the posterior but for its sum.

        Raises:
            AutomixError: the evidence is impossible under the model.
        """
        weight = self.prior(question_class)
        for visit in visits:
            if not visit.failed:
                seen = self.observation(visit.tier)
                weight = weight * self.spread(visit.tier, seen.likelihood(seen.counts(visit)))
        if not (np.isfinite(weight).all() and weight.sum() > 0):
            raise AutomixError(
                f"no belief: prior {self.prior(question_class).tolist()} and {visits} give {weight.tolist()}"
            )
        return weight


def simplified(model: Model) -> tuple[Model, str]:
    """The richest model whose plan is exact within `HISTORIES`, and in words what was left out."""
    if _is_small(model):
        return model, ""
    what = "too many histories to plan exactly: one round of"
    at_once = replace(model, batch=())
    if _is_small(at_once):
        return at_once, f"{what} votes a tier"
    parsed = replace(at_once, tiers=tuple(_all_parsed(t) for t in at_once.tiers))
    if _is_small(parsed):
        return parsed, f"{what} votes a tier, unparsed votes not foreseen"
    votes, fewer = max(t.max_votes for t in model.tiers), parsed
    while not _is_small(fewer) and votes > 1:
        votes -= 1
        fewer = replace(
            parsed, tiers=tuple(replace(t, max_votes=min(t.max_votes, votes)) for t in parsed.tiers)
        )
    return fewer, f"{what} at most {votes} votes a tier"


def _is_small(model: Model) -> bool:
    return max(_table_sizes(model)) <= ROWS and count_histories(model) <= HISTORIES


def _all_parsed(tier: TierModel) -> TierModel:
    if not isinstance(tier.observation, VoteObservations):
        return tier
    return replace(tier, observation=replace(tier.observation, unparsed=0.0))


def count_histories(model: Model) -> int:
    """How many histories a plan of the model tells apart: Π_i (1 + counts at tier i) - 1."""
    return math.prod(1 + size for size in _table_sizes(model)) - 1


def _table_sizes(model: Model) -> list[int]:
    return [_table_size(model.observation(i), t.max_votes, model.batch) for i, t in enumerate(model.tiers)]


def _table_size(seen: ObservationModel, max_votes: int, batch: tuple[int, ...]) -> int:
    if not isinstance(seen, VoteObservations):
        return len(seen.table(max_votes, batch).counts)
    levels = reachable_levels(0, max_votes, batch)
    return sum((b + 1) * (b + 2) // 2 if seen.unparsed else b + 1 for b in levels)


@lru_cache(maxsize=256)
def _tabulate(seen: ObservationModel, max_votes: int, batch: tuple[int, ...], start: Counts | None) -> Table:
    """A tier's table from asking it or, given `start`, from what is in hand; whatever the cost_weight."""
    if start is None:
        return seen.table(max_votes, batch)
    return one_row(seen, start) if max_votes <= start.bought else seen.table(max_votes, batch, start)


# ------------------------------------------------------------------ the plan


class Root(NamedTuple):
    """Where a plan begins: what was seen, and the tier whose answer may still get votes.

    A plan begins before any call (no visits), or anew where the world left the table: after a
    tier failed, or after votes came back that the first plan had not foreseen.
    """

    question_class: int = 0
    visits: tuple[Visit, ...] = ()

    @property
    def hand(self) -> Visit | None:
        """The answer in hand."""
        return self.visits[-1] if self.visits and not self.visits[-1].failed else None

    @property
    def held(self) -> tuple[int, ...]:
        """Tiers whose answers can be reported, the one in hand excepted."""
        answered = [v.tier for v in self.visits if not v.failed]
        return tuple(answered[:-1] if self.hand else answered)


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

    weight: Array
    value: Array
    choice: NDArray[np.int16]


class _Option(NamedTuple):
    """An action open at some rows: its value there, and how it is preferred in a tie."""

    action: Action
    value: Array
    charge: float

    @property
    def rank(self) -> tuple[float, int, int]:
        """Cheaper first, then report, abstain, escalate, vote."""
        kinds = ("report", "abstain", "start", "escalate", "vote")
        return (self.charge, kinds.index(self.action.kind), self.action.tier)


def solve(model: Model, tokens: float, root: Root = Root()) -> Plan:  # noqa: B008
    """Best action and value at every history from `root` on, by exact backward induction.

    Args:
        model: small enough, see `simplified`.
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

    def table(self, tier: int) -> Table:
        """The counts told apart at a tier."""
        seen, most = self.model.observation(tier), self.model.tiers[tier].max_votes
        hand = self.root.hand
        if hand and hand.tier == tier:
            return _tabulate(seen, most - lost(seen, hand), self.model.batch, seen.counts(hand))
        return _tabulate(seen, most, self.model.batch, None)

    def charge(self, action: Action) -> float:
        """What an action costs, on the score's scale."""
        return self.model.cost_weight * self.model.charge(action).at(self.tokens)

    def next_tiers(self, path: TierPath) -> range:
        """Tiers that may still be asked."""
        last = path[-1] if path else self.root.visits[-1].tier if self.root.visits else -1
        return range(last + 1, len(self.model.tiers))

    # -------------------------------------------------------------- backward induction

    def extend(self, path: TierPath, weight: Array) -> None:
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

    def _likelihood(self, path: TierPath) -> Array:
        """ℓ of the last tier's counts, shape (counts, 2^N)."""
        if not path:
            return np.ones((1, 2 ** len(self.model.tiers)))
        return self.model.spread(path[-1], self.table(path[-1]).likelihood)

    def _levels(self, path: TierPath) -> tuple[Level, ...]:
        return self.table(path[-1]).levels if path else (Level(slice(0, 1), ()),)

    def _options_without_votes(
        self, path: TierPath, weight: Array, likelihood: Array, total: Array
    ) -> list[_Option]:
        """Report, abstain and escalate, at every history of a block."""
        options = [
            _Option(Action("report", tier), (weight * self.model.reward(tier)) @ likelihood.T, 0.0)
            for tier in (*self.root.held, *path)
        ]
        asked = bool(path or self.root.visits)
        if asked and self.model.abstain_value is not None:
            options.append(_Option(Action("abstain"), self.model.abstain_value * total, 0.0))
        for tier in self.next_tiers(path):
            action = Action("escalate" if asked else "start", tier)
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
        chosen = (values >= values.max(axis=0) - TIE * weight).argmax(axis=0)
        block.value[:, level.rows] = np.take_along_axis(values, chosen[None], axis=0)[0]
        block.choice[:, level.rows] = np.array([self._code(option.action) for option in here])[chosen]

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
        seen, hand, table = self.model.observation(visit.tier), self.root.hand, self.table(visit.tier)
        foreseen = lost(seen, hand) if hand and hand.tier == visit.tier else 0
        row = table.row.get(seen.counts(visit))
        if visit.failed or row is None or lost(seen, visit) != foreseen:
            return None
        width = len(table.counts)
        if node.path and node.path[-1] == visit.tier:
            return PlanNode(node.path, node.at // width * width + row)
        return PlanNode((*node.path, visit.tier), node.at * width + row)

    def foresees(self, node: PlanNode) -> bool:
        """Whether a history is possible under the model."""
        return 0 < self._weight(node) < math.inf

    def options(self, node: PlanNode, weight: Array) -> list[tuple[Action, float]]:
        """What each legal action is worth at a history whose posterior is `weight`, shape (2^N,)."""
        total = weight.sum()
        found = [
            (Action("report", t), float(weight @ self.model.reward(t) / total))
            for t in (*self.root.held, *node.path)
        ]
        if self.model.abstain_value is not None and (node.path or self.root.visits):
            found.append((Action("abstain"), self.model.abstain_value))
        kind: ActionKind = "escalate" if node.path or self.root.visits else "start"
        for tier in self.next_tiers(node.path):
            ahead = self.blocks[(*node.path, tier)].value[node.at] @ self.table(tier).entry
            found.append(self._worth(Action(kind, tier), float(ahead / self._weight(node))))
        return found + self._worth_of_votes(node)

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

    def reach(self) -> dict[TierPath, Array]:
        """Chance of meeting each history when the plan is followed from its root; shapes as in `Block`."""
        orders = {path: np.zeros_like(block.weight) for path, block in self.blocks.items()}
        orders[self.start.path].flat[self.start.at] = 1.0
        for path in sorted(orders, key=len):
            block, ways = self.blocks[path], orders[path]
            for level in self._levels(path):
                for votes, to, steps in level.rounds:
                    taken = self._takes(block, level.rows, Action("vote", path[-1], votes))
                    ways[:, to] += (ways[:, level.rows] * taken) @ steps
            for tier in self.next_tiers(path):
                kind: ActionKind = "escalate" if path or self.root.visits else "start"
                taken = self._takes(block, slice(None), Action(kind, tier))
                orders[(*path, tier)] += (ways * taken).reshape(-1, 1) * self.table(tier).entry
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
        often, escalated = np.zeros(len(self.actions)), 0.0
        climbs = np.array([a.kind == "escalate" for a in self.actions])
        for path, chance in self.reach().items():
            taken = np.bincount(self.blocks[path].choice.ravel(), chance.ravel(), len(often))
            often = often + taken
            escalated += float(taken[climbs].sum()) if len(path) == 1 else 0.0
        times = list(zip(self.actions, map(float, often), strict=True))
        spent = sum((self.model.charge(action) * n for action, n in times), FREE)
        cost, value = spent.at(self.tokens), self.value(self.start)
        return Forecast(
            value=value,
            quality=value + self.model.cost_weight * cost,
            cost=cost,
            per_token=spent.per_token,
            escalated=escalated,
            abstained=sum(n for action, n in times if action.kind == "abstain"),
            votes=sum(n * action.votes for action, n in times),
        )

    def decisions(self) -> frozenset[tuple[TierPath, int, Action]]:
        """What is done at each history that can be met: two plans with the same are the same policy."""
        met = ((path, np.flatnonzero(chance > 0)) for path, chance in self.reach().items())
        return frozenset(
            (path, int(at), self.action(PlanNode(path, int(at)))) for path, where in met for at in where
        )

    def rows(self) -> list[PlanRow]:
        """The plan for people: what is done at which counts, most cheaply asked tier first."""
        found: dict[tuple[int, Counts, Action], tuple[float, float]] = {}
        for path, chance in self.reach().items():
            if path:
                for key, *sums in self._met(path, chance):
                    met, right = found.get(key, (0.0, 0.0))
                    found[key] = (met + sums[0], right + sums[1])
        ordered = sorted(found, key=lambda key: (key[0], key[1].bought, key[1], -found[key][0]))
        return [PlanRow(*key, found[key][0], found[key][1] / found[key][0]) for key in ordered]

    def _met(
        self, path: TierPath, chance: Array
    ) -> Iterator[tuple[tuple[int, Counts, Action], float, float]]:
        """Histories of a block that can be met: (tier, counts, action); the chance; the chance and right."""
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

    def _posterior(self, path: TierPath, at: int) -> Array:
        """b₀·Πℓ at a history, from the rows of the tables it is made of."""
        weight = self.model.weigh(
            self.root.question_class, self.root.visits[:-1] if self.root.hand else self.root.visits
        )
        for tier in reversed(path):
            at, row = divmod(at, len(self.table(tier).counts))
            weight = weight * self.model.spread(tier, self.table(tier).likelihood[row])
        return weight


# ------------------------------------------------------------------ the policy


class Belief(NamedTuple):
    """What was seen, and where that is in the plan in use."""

    visits: tuple[Visit, ...]
    plan: Plan
    node: PlanNode


class _Plans:
    """Plans made so far, the oldest forgotten when they hold too many histories."""

    most = 8_000_000

    def __init__(self) -> None:
        self._kept: dict[tuple[float, Root], Plan] = {}
        self._size = 0

    def get(self, model: Model, tokens: float, root: Root) -> Plan:
        """The plan of a root, made now or before."""
        key = (tokens, root)
        if key not in self._kept:
            self._kept[key] = solve(model, tokens, root)
            self._size += self._kept[key].size
            while self._size > self.most and len(self._kept) > 1:
                self._size -= self._kept.pop(next(iter(self._kept))).size
        return self._kept[key]


@dataclass(frozen=True, slots=True)
class PomdpPolicy:
    """The plan that maximises E[score reported] - cost_weight·E[planned cost] under a model.

    `coarse`: of lengths that differ by less than a factor of four, plan for two only. Choosing a
    setting among many needs no more.

    Example:
        >>> votes = VoteObservations(shapes=((1, 3), (3, 1)))
        >>> small = TierModel(observation=votes, max_votes=2, answer=Cost(0.001), vote=Cost(0.0001))
        >>> large = TierModel(answer=Cost(0.02))
        >>> model = Model(tiers=(small, large), priors=((0.05, 0.05, 0.35, 0.55),), cost_weight=10, batch=())
        >>> policy = PomdpPolicy(model)
        >>> belief = policy.begin(Facts())
        >>> for seen in [Observation(), Observation(0, 2, 2)]:
        ...     action = policy.action(belief)
        ...     belief = policy.update(belief, action, seen)
        >>> policy.action(belief), policy.reason(belief)
        (Action(kind='escalate', tier=1, votes=0), '0 of 2 votes: report 0.20 < escalate 0.68')
    """

    model: Model
    coarse: bool = False
    planned: Model = field(init=False, repr=False, compare=False)
    limitation: str = field(init=False, compare=False)
    _plans: _Plans = field(init=False, repr=False, compare=False, default_factory=_Plans)
    _crossings: dict[tuple[int, float, float], float | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        planned, limitation = simplified(self.model)
        object.__setattr__(self, "planned", planned)
        object.__setattr__(self, "limitation", limitation)

    def group(self, facts: Facts) -> tuple[float, int]:
        """What a belief depends on of a question: the length planned for, and the class."""
        plan = self.plan(facts)
        return plan.tokens, plan.root.question_class

    def begin(self, facts: Facts) -> Belief:
        """The prior of the question's class, and the plan for its length."""
        plan = self.plan(facts)
        return Belief((), plan, plan.start)

    def update(self, belief: Belief, action: Action, observation: Observation) -> Belief:
        """Bayes' rule: the node of the new counts, in a new plan where the old one did not foresee them.

        Raises:
            AutomixError: the observation is impossible under the model.
        """
        if action.kind == "vote":
            if observation.bought < 1:  # votes that never came are lost, or they would be asked for for ever
                observation = observation._replace(bought=action.votes)
            visits = (*belief.visits[:-1], belief.visits[-1].seen(observation))
        else:
            visits = (*belief.visits, Visit(action.tier).seen(observation))
        node = belief.plan.child(belief.node, visits[-1])
        if node is not None and belief.plan.foresees(node):
            return Belief(visits, belief.plan, node)
        root = Root(belief.plan.root.question_class, visits)
        self.planned.weigh(*root)
        plan = self._plans.get(self.planned, belief.plan.tokens, root)
        return Belief(visits, plan, plan.start)

    def action(self, belief: Belief) -> Action:
        """A look into the plan."""
        return belief.plan.action(belief.node)

    def confidence(self, belief: Belief, tier: int) -> float | None:
        """Posterior chance that a visited tier is right."""
        if not any(v.tier == tier and not v.failed for v in belief.visits):
            return None
        return float(self.posterior(belief) @ self.planned.right(tier))

    def posterior(self, belief: Belief) -> Array:
        """Chances of the states given all that was seen, shape (2^N,)."""
        weight = self.planned.weigh(belief.plan.root.question_class, belief.visits)
        return np.asarray(weight / weight.sum())

    def reason(self, belief: Belief) -> str:
        """What was seen, and what the kinds of action are worth, the chosen one last.

        Worth is expected score less weighted cost, from here on.
        """
        chosen = self.action(belief)
        best: dict[str, float] = {}
        for action, worth in belief.plan.options(belief.node, self.posterior(belief)):
            best[action.kind] = max(worth, best.get(action.kind, -math.inf))
        others = sorted((worth, kind) for kind, worth in best.items() if kind != chosen.kind)
        shown = [f"{kind} {worth:.2f}" for worth, kind in others]
        return f"{_seen(belief)}: {_chain([*shown, f'{chosen.kind} {best.get(chosen.kind, 0.0):.2f}'])}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The edges of the fitted bins of a continuous confidence."""
        seen = self.planned.observation(tier)
        return seen.cuts if isinstance(seen, ConfidenceObservations) else ()

    def forecast(self, facts: Facts = Facts()) -> Forecast:  # noqa: B008
        """What this policy is expected to do on a question, under its own model."""
        return self.plan(facts).forecast(self._tokens(facts))

    def value(self, belief: Belief) -> float:
        """Expected score less weighted cost from here on."""
        return belief.plan.value(belief.node)

    def plan(self, facts: Facts = Facts()) -> Plan:  # noqa: B008
        """The plan for a question: one made for its length, or for a length near enough.

        The best value is convex in the number of tokens (a maximum of straight lines, one per
        policy), and each plan is a tangent to it. Between two grid lengths it lies above both
        tangents and below the chord; where these are further apart than `GRID_LOSS` the grid is
        halved. So the loss is bounded, and few lengths are ever planned for.
        """
        tokens, question_class = (
            self._tokens(facts),
            facts.question_class if len(self.planned.priors) > 1 else 0,
        )
        if not self.counts_tokens:
            return self._plans.get(self.planned, 0.0, Root(question_class))
        steps = 0.5 if self.coarse else 4
        step = math.floor(steps * math.log2(tokens))
        low, high = 2 ** (step / steps), 2 ** ((step + 1) / steps)
        while (crossing := self._crossing(question_class, low, high)) is None:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if tokens < middle else (middle, high)
        return self._plans.get(self.planned, low if tokens <= crossing else high, Root(question_class))

    def _crossing(self, question_class: int, low: float, high: float) -> float | None:
        """Up to which length the plan for `low` is the better of two; None where two are not enough."""
        key = (question_class, low, high)
        if key not in self._crossings:
            ends = [self._plans.get(self.planned, t, Root(question_class)).forecast() for t in (low, high)]
            falls = [self.planned.cost_weight * end.per_token for end in ends]  # of value, per token
            rise = ends[1].value + falls[1] * (high - low) - ends[0].value  # of the second tangent at low
            crossing = low + rise / (falls[1] - falls[0]) if falls[0] != falls[1] else high
            crossing = min(max(crossing, low), high)
            tangent = max(
                ends[0].value - falls[0] * (crossing - low), ends[1].value + falls[1] * (high - crossing)
            )
            share = (crossing - low) / (high - low)
            gap = (1 - share) * ends[0].value + share * ends[1].value - tangent
            enough = self.coarse or gap <= GRID_LOSS or high / low < 1 + 1e-6
            self._crossings[key] = crossing if enough else None
        return self._crossings[key]

    @property
    def counts_tokens(self) -> bool:
        """Whether any planned cost grows with the prompt, so that questions get plans of their own."""
        tiers = range(len(self.planned.tiers))
        return any(self.planned.charge(Action(kind, i, 1)).per_token for i in tiers for kind in _PAID)

    def _tokens(self, facts: Facts) -> float:
        counted = self.planned.mean_tokens if facts.prompt_tokens is None else facts.prompt_tokens
        return max(float(counted), 1.0)


def _seen(belief: Belief) -> str:
    """The evidence on the answer in hand, in words."""
    if not belief.visits:
        return "before any call"
    visit = belief.visits[-1]
    if visit.failed:
        return "no usable answer from this tier"
    if visit.signal is not None:
        return f"confidence {visit.signal:.2f}"
    if visit.parsed:
        return f"{visit.correct} of {visit.parsed} votes"
    return f"none of {visit.bought} votes could be read" if visit.bought else "not verified"


def _chain(terms: list[str]) -> str:
    """Terms like "report 0.31" with < or = between them, as their printed numbers compare."""
    text = terms[0]
    for left, right in pairwise(terms):
        text += f" {'=' if left.split()[1] == right.split()[1] else '<'} {right}"
    return text
