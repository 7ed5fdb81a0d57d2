"""A plan in one sentence, of the moves that its policy makes on the first answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from automix_cli.pomdp.first_moves import AnswerLook, FirstMoves, first_moves
from automix_cli.pomdp.prior_policy import PriorPolicy
from automix_cli.pomdp.problem import Action, Facts, Policy
from automix_cli.pomdp.rules import QuestionPolicy
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.texts import count_of

_ORDER = ("escalate", "vote", "abstain", "report")  # the last one that there is needs no condition


def plan_sentence(
    policy: Policy[Any],
    names: Sequence[str],
    signal: RecordedSignal = "votes",
    samples: int = 0,
    *,
    tokens: float | None = None,
    reads_question: bool = False,
) -> str:
    """Write what a policy does, as far as one sentence can tell it.

    Args:
        policy: any.
        names: of the tiers.
        signal: what is recorded of answers.
        samples: how many answers are sampled, where `signal` is `consistency`.
        tokens: prompt tokens of the question; None for one of the mean length.
        reads_question: whether a query-side router reads each question before.
    """
    if isinstance(policy, QuestionPolicy):
        return "asks the tier that the query router names for the question, and reports its answer"
    model = getattr(policy, "plan_model", None)  # of a plan; rules of thumb have none
    classes = 1 if model is None else len(model.priors)
    every = {
        moves_sentence(first_moves(policy, Facts(tokens, k), signal, samples), names) for k in range(classes)
    }
    if len(every) > 1:
        return "the first moves depend on the class of the question"
    words = every.pop()
    if reads_question:
        return f"where nothing is read in the question: {words}; else it depends on what is read"
    counts_length = isinstance(policy, PriorPolicy) if model is None else model.counts_tokens
    return f"{words} (for a prompt of {_length(tokens)})" if counts_length else words


def _length(tokens: float | None) -> str:
    return "mean length" if tokens is None else f"{tokens:.0f} tokens"


def moves_sentence(moves: FirstMoves, names: Sequence[str]) -> str:
    """Write the moves on the first answer, and say where more is decided later.

    Example:
        >>> from automix_cli.pomdp.rules import ThresholdPolicy
        >>> policy = ThresholdPolicy.single(tiers=2, votes=8, cut=0.5)
        >>> moves_sentence(first_moves(policy), ("small", "large"))
        "asks small, buys 8 votes; asks large when at most 3 of 8 agree, else reports small's answer"
    """
    if moves.start.kind != "start":
        return "abstains"
    first, *later = moves.looks
    text = f"asks {names[moves.start.tier]}"
    only = _only(first)
    if only is not None and only.kind != "vote":
        text += " and reports its answer" if only.kind == "report" else f", then {_act(only, names, first)}"
    elif only is not None:
        text += f", {_act(only, names, first)}"
    else:
        text += f"; {_clauses(first, names)}"
    text += "".join(f"; {'then ' if k else ''}{_clauses(look, names)}" for k, look in enumerate(later))
    after = {a.tier for look in moves.looks for a in look.actions.values() if a.kind == "escalate"}
    if moves.is_open:
        text += "; the rest depends on further votes"
    elif not moves.next_settles:
        text += f"; the rest depends on what {' or '.join(names[t] for t in sorted(after))} answers"
    return text


def _only(look: AnswerLook) -> Action | None:
    """The one action of a look; None where there are several."""
    actions = set(look.actions.values())
    return actions.pop() if len(actions) == 1 else None


def _clauses(look: AnswerLook, names: Sequence[str]) -> str:
    """The actions of a look with the values at which they are taken."""
    actions = sorted(set(look.actions.values()), key=lambda a: (_ORDER.index(a.kind), a))
    if len(actions) == 1:
        return f"{_act(actions[0], names, look)} whatever {'they say' if look.of else 'it is'}"
    *others, last = actions
    parts = [
        f"{_act(action, names, look)} when {_when({k for k, a in look.actions.items() if a == action}, look)}"
        for action in others
    ]
    return f"{', '.join(parts)}, else {_act(last, names, look)}"


def _act(action: Action, names: Sequence[str], look: AnswerLook) -> str:
    """An action as a verb with its object."""
    if action.kind == "escalate":
        return f"asks {names[action.tier]}"
    if action.kind == "vote":
        more = " more" if look.votes else ""
        return f"buys {action.votes}{more}" if more else f"buys {count_of(action.votes, 'vote')}"
    return f"reports {names[action.tier]}'s answer" if action.kind == "report" else "abstains"


def _when(values: set[int], look: AnswerLook) -> str:
    """The values at which an action is taken: counts that agree, or bins of a confidence."""
    possible = sorted(look.actions)
    spans: list[list[int]] = []
    for k in possible:
        if k not in values:
            continue
        if spans and possible.index(spans[-1][1]) + 1 == possible.index(k):
            spans[-1][1] = k
        else:
            spans.append([k, k])
    if look.cuts:
        bins = [_bin_words(low, high, possible, look.cuts) for low, high in spans]
        return f"its confidence is {' or '.join(bins)}"
    words = [_count_words(low, high, possible) for low, high in spans]
    return f"{' or '.join(words)} of {look.of} agree"


def _count_words(low: int, high: int, possible: list[int]) -> str:
    if low == high:
        return str(low)
    if low == possible[0]:
        return f"at most {high}"
    if high == possible[-1]:
        return f"at least {low}"
    return f"{low} or {high}" if high == low + 1 else f"{low} to {high}"


def _bin_words(low: int, high: int, possible: list[int], cuts: Sequence[float]) -> str:
    if low == possible[0]:
        return f"below {cuts[high]:.3g}"
    if high == possible[-1]:
        return f"at least {cuts[low - 1]:.3g}"
    return f"from {cuts[low - 1]:.3g} to below {cuts[high]:.3g}"
