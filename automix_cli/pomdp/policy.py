"""The policy that is computed: beliefs by Bayes' rule, decisions from exact plans."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.final_values import VALUE_TIE
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.length_grid import LengthSpan, ValueLine, compare_plans, span_of
from automix_cli.pomdp.model import MAX_HISTORIES, Model, first_equal, simplify
from automix_cli.pomdp.observations import ConfidenceObservations
from automix_cli.pomdp.plan import Forecast, Plan, PlanNode, solve
from automix_cli.pomdp.problem import Action, Facts, Observation, Visit
from automix_cli.pomdp.tilt import Logits, grid_corners
from automix_cli.texts import share_text

CACHED_HISTORIES = 8_000_000  # of all plans that a policy keeps


class Belief(NamedTuple):
    """The visits so far, and their node in the plan in use.

    `logits` are those of the question's own marginals, near to which the plan was made.
    """

    visits: tuple[Visit, ...]
    plan: Plan
    node: PlanNode
    logits: Logits = ()


class PlanCache:
    """Plans of one model; the oldest are dropped while all together hold too many histories."""

    def __init__(self, model: Model, max_histories: int) -> None:
        self.model, self.max_histories = model, max_histories
        self.plans: dict[tuple[float, Root], Plan] = {}
        self._histories = 0

    def get(self, tokens: float, root: Root) -> Plan:
        """The plan of a root, solved on first use."""
        key = (tokens, root)
        if key not in self.plans:
            self.plans[key] = solve(self.model, tokens, root)
            self._histories += self.plans[key].size
            while self._histories > self.max_histories and len(self.plans) > 1:
                self._histories -= self.plans.pop(next(iter(self.plans))).size
        return self.plans[key]


@dataclass(frozen=True, slots=True)
class PomdpPolicy:
    """The plan that maximises E[score reported] - cost_weight·E[planned cost] under a model.

    Attributes:
        model: the decision problem.
        names: of the tiers, for the reasons; by default their numbers.
        max_histories: the most histories a plan may hold, see `simplify`.
        cached_histories: how many histories all plans together may hold.
        plan_model: the model that is planned, simpler than `model` where that is too large.
        plans: the plans solved so far.
        limitation: what it leaves out, in words; "" for nothing.

    Example:
        >>> from automix_cli.pomdp.model import Cost, TierModel
        >>> from automix_cli.pomdp.observations import VoteObservations
        >>> votes = VoteObservations(shapes=((1, 3), (3, 1)))
        >>> small = TierModel(observation=votes, max_votes=2, answer=Cost(0.001), vote=Cost(0.0001))
        >>> large = TierModel(answer=Cost(0.02))
        >>> model = Model(tiers=(small, large), priors=((0.05, 0.05, 0.35, 0.55),), cost_weight=10, batch=())
        >>> policy = PomdpPolicy(model)
        >>> belief = policy.begin(Facts())
        >>> for observation in [Observation(), Observation(0, 2, 2)]:
        ...     action = policy.action(belief)
        ...     belief = policy.update(belief, action, observation)
        >>> policy.action(belief)
        Action(kind='escalate', tier=1, votes=0)
        >>> policy.reason(belief)
        '0 of 2 votes; expected score less cost ($0.1 counts as 1): report 0.20 < escalate 0.68'
    """

    model: Model
    names: tuple[str, ...] = field(default=(), repr=False, compare=False)
    max_histories: int = field(default=MAX_HISTORIES, repr=False)
    cached_histories: int = field(default=CACHED_HISTORIES, repr=False, compare=False)
    plan_model: Model = field(init=False, repr=False, compare=False)
    plans: PlanCache = field(init=False, repr=False, compare=False)
    limitation: str = field(init=False, compare=False)
    _crossings: dict[tuple[Root, LengthSpan], float | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        plan_model, limitation = simplify(self.model, self.max_histories)
        object.__setattr__(self, "plan_model", plan_model)
        object.__setattr__(self, "limitation", limitation)
        object.__setattr__(self, "plans", PlanCache(plan_model, self.cached_histories))

    def relevant(self, facts: Facts) -> Facts:
        """The prompt length that is planned for, the class, and the marginals."""
        plan = self.plan(facts)
        return Facts(plan.tokens, plan.root.question_class, plan.root.logits)

    def begin(self, facts: Facts) -> Belief:
        """The prior of the question, and the plan for one like it."""
        plan = self.plan(facts)
        return Belief((), plan, plan.start, self.plan_model.target_logits(facts))

    def update(self, belief: Belief, action: Action, observation: Observation) -> Belief:
        """Bayes' rule: the node of the new counts, in a new plan where the old one did not foresee them.

        Raises:
            AutomixError: the observation is impossible under the model.
        """
        if action.kind == "vote":
            if (
                observation.n_votes < 1
            ):  # votes that never came count as bought, or they would be asked for again
                observation = observation._replace(n_votes=action.votes)
            visits = (*belief.visits[:-1], belief.visits[-1].after(observation))
        else:
            visits = (*belief.visits, Visit(action.tier).after(observation))
        node = belief.plan.child(belief.node, visits[-1])
        if node is not None and belief.plan.foresees(node):
            return belief._replace(visits=visits, node=node)
        root = belief.plan.root._replace(visits=visits)
        self.plan_model.weigh(*root)
        plan = self.plans.get(belief.plan.tokens, root)
        return belief._replace(visits=visits, plan=plan, node=plan.start)

    def action(self, belief: Belief) -> Action:
        """A look into the plan."""
        return belief.plan.action(belief.node)

    def confidence(self, belief: Belief, tier: int) -> float | None:
        """Posterior chance that a visited tier is right."""
        if not any(v.tier == tier and not v.failed for v in belief.visits):
            return None
        return float(self.posterior(belief) @ self.plan_model.right(tier))

    def posterior(self, belief: Belief) -> Floats:
        """Chances of the states given all observations, shape (2^N,)."""
        question_class = belief.plan.root.question_class
        weight = self.plan_model.weigh(question_class, belief.visits, belief.logits)
        return np.asarray(weight / weight.sum())

    def reason(self, belief: Belief) -> str:
        """The evidence, and what each kind of action is worth, the chosen one last.

        Worth is expected score less weighted cost, from here on, to the question that was planned for. Where
        only a report is left there is nothing to weigh.
        """
        choice = self.action(belief)
        best: dict[str, float] = {}
        of_plan = belief._replace(logits=belief.plan.root.logits)
        for action, worth in belief.plan.options(belief.node, self.posterior(of_plan)):
            best[action.kind] = max(worth, best.get(action.kind, -math.inf))
        others = sorted((worth, kind) for kind, worth in best.items() if kind != choice.kind)
        evidence = "; ".join(filter(None, (_evidence(belief), self._comparison(belief))))
        if choice.kind == "report" and not others:
            return f"{evidence}; report is the only step left"
        every = [*others, (best.get(choice.kind, 0.0), choice.kind)]
        terms = [f"{kind} {share_text(worth, '.2f')}" for worth, kind in every]
        weight = self.plan_model.cost_weight
        cost = f" less cost (${1 / weight:.2g} counts as 1)" if weight else ""
        return f"{evidence}; expected score{cost}: {_chain(terms)}"

    def _comparison(self, belief: Belief) -> str:
        """The earlier answers that the one in hand is equal to, and what this says of it, in words."""
        earlier = [v for v in belief.visits[:-1] if not v.failed]
        if not self.compares or not earlier or belief.visits[-1].failed:
            return ""
        last = belief.visits[-1]
        posterior, right = self.posterior(belief), self.plan_model.right(last.tier)
        alone = posterior / self.plan_model.joins(belief.visits[:-1], last)
        equal = [self._name(v) for v in earlier if first_equal(v) == first_equal(last)]
        words = f"agrees with {' and '.join(equal)}"
        if not equal:
            words = f"differs from {' and '.join(map(self._name, earlier))}"
        chances = [share_text(float(p), ".2f") for p in (posterior @ right, alone @ right / alone.sum())]
        return f"{words}, so that it is right with chance {chances[0]} instead of {chances[1]}"

    def _name(self, visit: Visit) -> str:
        return self.names[visit.tier] if self.names else f"tier {visit.tier + 1}"

    def cuts(self, tier: int) -> tuple[float, ...]:
        """The edges of the fitted bins of a continuous confidence."""
        observation = self.plan_model.observation(tier)
        return observation.cuts if isinstance(observation, ConfidenceObservations) else ()

    @property
    def compares(self) -> bool:
        """Whether the model looks at which answers are equal."""
        return self.plan_model.agreement is not None

    def forecast(self, facts: Facts = Facts()) -> Forecast:  # noqa: B008
        """What this policy is expected to do on a question, under its own model."""
        return self.plan(facts).forecast(self._tokens(facts))

    def value(self, belief: Belief) -> float:
        """Expected score less weighted cost from here on."""
        return belief.plan.value(belief.node)

    def plan(self, facts: Facts = Facts()) -> Plan:  # noqa: B008
        """The plan for a question: one for its length and prior, or of those nearby the one worth most."""
        tokens = self._tokens(facts)
        root = Root(facts.question_class if len(self.plan_model.priors) > 1 else 0)
        logits = self.plan_model.target_logits(facts)
        if not logits:
            return self._plan_from(tokens, root)
        corners = grid_corners(np.array([logits]))
        plans = [
            self._plan_from(tokens, root._replace(logits=tuple(corner.tolist())))
            for corner, share in zip(corners.logits[0], corners.shares[0], strict=True)
            if share > 0
        ]
        prior = self.plan_model.prior(root.question_class, logits)
        worth = [plan.worth_to(prior, tokens) for plan in plans]
        return next(p for p, own in zip(plans, worth, strict=True) if own >= max(worth) - VALUE_TIE)

    def _plan_from(self, tokens: float, root: Root) -> Plan:
        """The plan of a root for a length, or for a length on the grid that is near enough."""
        if not self.plan_model.counts_tokens:
            return self.plans.get(0.0, root)
        span = span_of(tokens)
        while (crossing := self._crossing(root, span)) is None:
            span = span.lower if tokens < span.middle else span.upper
        return self.plans.get(span.low if tokens <= crossing else span.high, root)

    def _crossing(self, root: Root, span: LengthSpan) -> float | None:
        """Up to which length the plan for `low` is the better of two; None where two are not enough."""
        key = (root, span)
        if key not in self._crossings:
            lines = [self._value_line(self.plans.get(t, root).forecast()) for t in span]
            crossing, suffices = compare_plans(span, *lines)
            self._crossings[key] = float(crossing[0]) if suffices[0] else None
        return self._crossings[key]

    def _value_line(self, forecast: Forecast) -> ValueLine:
        fall = self.plan_model.cost_weight * forecast.per_token
        return ValueLine(np.array([forecast.value]), np.array([fall]))

    def _tokens(self, facts: Facts) -> float:
        tokens = self.plan_model.mean_tokens if facts.prompt_tokens is None else facts.prompt_tokens
        return max(float(tokens), 1.0)


def _evidence(belief: Belief) -> str:
    """The evidence on the answer in hand, in words."""
    if not belief.visits:
        return "before any call"
    visit = belief.visits[-1]
    if visit.failed:
        return "no usable answer from this tier"
    if visit.signal is not None:
        return f"confidence {share_text(visit.signal, '.2f')}"
    if visit.parsed:
        return f"{visit.correct} of {visit.parsed} votes"
    return f"none of {visit.n_votes} votes could be read" if visit.n_votes else "not verified"


def _chain(terms: list[str]) -> str:
    """Terms like "report 0.31" with < or = between them, as their printed numbers compare."""
    text = terms[0]
    for term, following in pairwise(terms):
        text += f" {'=' if term.split()[1] == following.split()[1] else '<'} {following}"
    return text
