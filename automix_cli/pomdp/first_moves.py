"""What a policy does with the first answer: asked of the policy itself, as `rollout` asks it.

Nothing is computed anew and NumPy is not needed: every observation that the first answer can bring is
given to the policy, and the action that follows is written down.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

from automix_cli.errors import AutomixError
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.pomdp.signals import RecordedSignal

MOST_DECISIONS = 3  # on one answer and its votes, before the rest is left open


class AnswerLook(NamedTuple):
    """What is done at each value of the evidence on the first answer, all of it parsed.

    Attributes:
        votes: bought for this look; 0 where the evidence comes with the answer.
        of: votes or samples that are there now; 0 of a confidence.
        cuts: the edges between the bins of a confidence.
        actions: per count that agree, or per bin, the action. Counts that cannot be met are missing.
    """

    votes: int
    of: int
    cuts: tuple[float, ...]
    actions: dict[int, Action]


class FirstMoves(NamedTuple):
    """What a policy does until it leaves the first answer.

    Attributes:
        start: the first action.
        looks: at the evidence, in order; the first may be at none (`of` 0 and no cuts).
        next_settles: whether the answer of the tier that is asked next is reported, whatever it shows.
        is_open: whether more is decided on the first answer than `looks` tell.
        most_votes: the most that the first answer can get, where that is open; else 0.
    """

    start: Action
    looks: tuple[AnswerLook, ...]
    next_settles: bool
    is_open: bool
    most_votes: int = 0


def first_moves(
    policy: Policy[Any],
    facts: Facts = Facts(),  # noqa: B008
    signal: RecordedSignal = "votes",
    samples: int = 0,
) -> FirstMoves:
    """Ask a policy what it does on a question, up to the first answer that it leaves.

    Args:
        policy: any.
        facts: of the question.
        signal: what is recorded of answers.
        samples: how many answers are sampled, where `signal` is `consistency`.

    Example:
        >>> from automix_cli.pomdp.rules import ThresholdPolicy
        >>> moves = first_moves(ThresholdPolicy.single(tiers=2, votes=2, cut=0.5))
        >>> {count: action.kind for count, action in moves.looks[-1].actions.items()}
        {0: 'escalate', 1: 'report', 2: 'report'}
    """
    belief = policy.begin(facts)
    start = policy.action(belief)
    if start.final:
        return FirstMoves(start, (), next_settles=True, is_open=False)
    comes = _with_answer(policy, start.tier, signal, samples)
    beliefs = _beliefs_after(policy, belief, start, comes)
    of, cuts = samples if signal == "consistency" else 0, policy.cuts(start.tier)
    looks = [AnswerLook(0, of, cuts if signal == "logprob" else (), _actions(policy, beliefs))]
    next_settles = _leaving(policy, beliefs, signal, samples)
    is_open = False
    while votes := {a.votes for a in looks[-1].actions.values() if a.kind == "vote"}:
        decisions = sum(len(set(look.actions.values())) > 1 for look in looks)
        is_open = len(votes) > 1 or decisions > MOST_DECISIONS - 1
        if is_open:
            break
        ahead = _buy(policy, beliefs, min(votes), start.tier, signal)
        if ahead is None:
            is_open = True
            break
        beliefs = ahead
        is_single = signal == "verdict"
        of = 0 if is_single else looks[-1].of + min(votes)
        looks.append(AnswerLook(min(votes), of, cuts if is_single else (), _actions(policy, beliefs)))
        next_settles = next_settles and _leaving(policy, beliefs, signal, samples)
    most = _most_votes(policy, beliefs, looks[-1].of, start.tier) if is_open else 0
    return FirstMoves(start, tuple(looks), next_settles, is_open, most)


def _actions(policy: Policy[Any], beliefs: dict[int, Any]) -> dict[int, Action]:
    return {k: policy.action(belief) for k, belief in sorted(beliefs.items())}


def _with_answer(
    policy: Policy[Any], tier: int, signal: RecordedSignal, samples: int
) -> dict[int, Observation]:
    """What may come with an answer, by bin or count; one entry where nothing does."""
    if signal == "logprob":
        return {k: Observation(signal=x) for k, x in _of_each_bin(policy.cuts(tier)).items()}
    if signal == "consistency" and samples:
        return {c: Observation(c, samples, samples) for c in range(1, samples + 1)}
    return {0: Observation()}


def _of_each_bin(cuts: tuple[float, ...]) -> dict[int, float]:
    """One confidence of each bin that holds any; a cut belongs to the bin above it.

    Example:
        >>> _of_each_bin((0.5,)), _of_each_bin((0.0, 1.0)), _of_each_bin((1.5,))
        ({0: 0.25, 1: 0.75}, {1: 0.5, 2: 1.0}, {0: 0.5})
    """
    ends = [(max(low, 0.0), min(high, 1.0)) for low, high in pairwise((0.0, *cuts, 1.0))]
    last = len(cuts)
    return {
        k: (low + high) / 2 for k, (low, high) in enumerate(ends) if low < high or (k == last and low == high)
    }


def _beliefs_after(
    policy: Policy[Any], belief: Any, action: Action, evidence: dict[int, Observation]
) -> dict[int, Any]:
    """The beliefs after each observation; those that the policy takes for impossible are left out."""
    after = {}
    for k, observation in evidence.items():
        with suppress(AutomixError):
            after[k] = policy.update(belief, action, observation)
    return after


def _buy(
    policy: Policy[Any], beliefs: dict[int, Any], votes: int, tier: int, signal: RecordedSignal
) -> dict[int, Any] | None:
    """The beliefs after one more round, by count or bin; None where more than the count matters."""
    action = Action("vote", tier, votes)
    after: dict[int, Any] = {}
    for count, belief in beliefs.items():
        if policy.action(belief) != action:
            continue
        if signal == "verdict":
            bins = _of_each_bin(policy.cuts(tier))
            evidence = {k: Observation(n_votes=votes, signal=x) for k, x in bins.items()}
        else:
            evidence = {count + yes: Observation(yes, votes, votes) for yes in range(votes + 1)}
        for k, own in _beliefs_after(policy, belief, action, evidence).items():
            if k in after and policy.action(after[k]) != policy.action(own):
                return None
            after[k] = own
    return after


def _most_votes(policy: Policy[Any], beliefs: dict[int, Any], of: int, tier: int) -> int:
    """The most votes that an answer can get, from beliefs by the count that agrees of those there."""
    beliefs_of = {(of, count): belief for count, belief in beliefs.items()}
    ahead = list(beliefs_of)
    while ahead:
        votes, count = ahead.pop()
        action = policy.action(beliefs_of[votes, count])
        if action.kind != "vote" or action.tier != tier:
            continue
        m = action.votes
        evidence = {count + yes: Observation(yes, m, m) for yes in range(m + 1)}
        for k, own in _beliefs_after(policy, beliefs_of[votes, count], action, evidence).items():
            if (votes + m, k) not in beliefs_of:
                beliefs_of[votes + m, k] = own
                ahead.append((votes + m, k))
    return max(votes for votes, _ in beliefs_of)


def _leaving(policy: Policy[Any], beliefs: dict[int, Any], signal: RecordedSignal, samples: int) -> bool:
    """Whether what is asked next is reported in any case, wherever the first answer is left."""
    for belief in beliefs.values():
        action = policy.action(belief)
        if action.kind != "escalate":
            continue
        places = range(action.tier + 1) if policy.compares else ()
        for observation in _with_answer(policy, action.tier, signal, samples).values():
            evidence = {k: observation._replace(joins=j) for k, j in enumerate((None, *places))}
            after = _beliefs_after(policy, belief, action, evidence).values()
            if any(policy.action(own) != Action("report", action.tier) for own in after):
                return False
    return True
