"""The router as a partially observable Markov decision process.

States.        s ∈ {0,1}^N: which of the N tiers would answer this question right. It does not move.
Actions.       start at a tier, buy votes on the answer in hand, escalate to a later tier, report the
               answer of a tier already asked, abstain.
Observations.  what a signal shows of an answer: votes that say CORRECT among those parsed, or a
               continuous confidence; and which earlier answers it is equal to.
Rewards.       the expected score of the answer reported, less `cost_weight` times the dollars spent.

Source: AutoMix (arXiv 2310.12963), section 3.3. A policy may define its belief as it
likes, a distribution or any other summary of the history, and every policy runs in the
one loop of `rollout`. Policies that follow a fixed rule are in `rules`; the policy that
is computed, for which NumPy is needed, is in `policy`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

ActionKind = Literal["start", "vote", "escalate", "report", "abstain"]


class Action(NamedTuple):
    """What to do next; `tier` is an index from 0 (cheapest), `votes` only goes with `vote`."""

    kind: ActionKind
    tier: int = -1
    votes: int = 0

    @property
    def final(self) -> bool:
        """Whether the question is closed by this action."""
        return self.kind in ("report", "abstain")


class Observation(NamedTuple):
    """What an action shows.

    After `vote`: how many of the `n_votes` votes were parsed, and how many of those say
    CORRECT. After `start` or `escalate`: nothing, unless the signal comes with the answer
    (`consistency`: the plurality's count among the samples; `logprob` of the answer:
    `signal`). `failed`: the tier gave no answer at all and can never be reported. `joins`: the
    tier asked first of those with an equal answer, itself where the answer is new; None where
    answers are not compared, which a model that compares them takes for new.
    """

    correct: int = 0
    parsed: int = 0
    n_votes: int = 0
    signal: float | None = None
    failed: bool = False
    joins: int | None = None


class Visit(NamedTuple):
    """A tier that was asked, and the sum of its observations."""

    tier: int
    correct: int = 0
    parsed: int = 0
    n_votes: int = 0
    signal: float | None = None
    failed: bool = False
    joins: int | None = None

    def after(self, o: Observation) -> Visit:
        """This visit with one more observation.

        Example:
            >>> Visit(0, 1, 2, 2).after(Observation(1, 1, 2))
            Visit(tier=0, correct=2, parsed=3, n_votes=4, signal=None, failed=False, joins=None)
        """
        return Visit(
            self.tier,
            self.correct + o.correct,
            self.parsed + o.parsed,
            self.n_votes + o.n_votes,
            self.signal if o.signal is None else o.signal,
            self.failed or o.failed,
            self.joins if o.joins is None else o.joins,
        )


class History(NamedTuple):
    """The visits of one question, in order: a belief that suffices for threshold policies."""

    visits: tuple[Visit, ...] = ()

    @property
    def last(self) -> Visit:
        """The tier in hand."""
        return self.visits[-1]

    def after(self, action: Action, o: Observation) -> History:
        """The history with one more action and its observation."""
        if action.kind == "vote":
            return History((*self.visits[:-1], self.last.after(o)))
        return History((*self.visits, Visit(action.tier).after(o)))


class Facts(NamedTuple):
    """What is known of a question before any call.

    Planned costs depend on `prompt_tokens`, None where they were not counted. The prior depends on
    `question_class`, and on `logits`: log p/(1 - p) of each tier's chance to be right, as a query-side
    router reads it in the question; () without one.
    """

    prompt_tokens: float | None = None
    question_class: int = 0
    logits: tuple[float, ...] = ()


B = TypeVar("B")


class Policy(Protocol[B]):
    """What to do after each observation. A policy defines its own belief `B`.

    A policy must decide alike for any two values of a continuous confidence that no cut
    of `cuts` separates, and for any two questions of equal `relevant` facts: `replay` runs
    it once for all rows that agree in both.
    """

    def relevant(self, facts: Facts) -> Facts:
        """The part of the facts that decisions depend on; the rest is left at its default."""
        ...

    def begin(self, facts: Facts) -> B:
        """The belief before any action."""
        ...

    def update(self, belief: B, action: Action, observation: Observation) -> B:
        """The belief after an action and its observation."""
        ...

    def action(self, belief: B) -> Action:
        """The action at a belief; the first one is `start`."""
        ...

    def confidence(self, belief: B, tier: int) -> float | None:
        """Chance that the answer of a visited tier is right; None without evidence."""
        ...

    def reason(self, belief: B) -> str:
        """The reason for `action(belief)`, in one line for people."""
        ...

    def cuts(self, tier: int) -> tuple[float, ...]:
        """Edges between the bins of a tier's continuous confidence; a cut belongs to the bin above it."""
        ...

    @property
    def compares(self) -> bool:
        """Whether any decision looks at which answers are equal."""
        ...


class Turn(NamedTuple, Generic[B]):
    """An action to carry out, and the belief at which it is the policy's choice."""

    action: Action
    belief: B


def rollout(policy: Policy[B], facts: Facts = Facts()) -> Generator[Turn[B], Observation, Turn[B]]:  # noqa: B008
    """Run one question: yield actions, receive observations, return the final action.

    The loop does no I/O. `ask` drives it with calls to models and tests drive it with
    recorded traces, so what is measured on traces is what happens live.

    Example:
        >>> from automix_cli.pomdp.rules import MajorityPolicy
        >>> run = rollout(MajorityPolicy(tiers=2, max_votes=0))
        >>> next(run).action
        Action(kind='start', tier=0, votes=0)
        >>> run.send(Observation()).action
        Action(kind='escalate', tier=1, votes=0)
    """
    belief = policy.begin(facts)
    action = policy.action(belief)
    while not action.final:
        observation = yield Turn(action, belief)
        belief = policy.update(belief, action, observation)
        action = policy.action(belief)
    return Turn(action, belief)
