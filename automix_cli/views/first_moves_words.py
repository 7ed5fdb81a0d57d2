"""A plan in one sentence, of the moves that its policy makes on the first answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from automix_cli.pomdp.first_moves import AnswerLook, FirstMoves, first_moves
from automix_cli.pomdp.problem import Action, Facts, Policy
from automix_cli.pomdp.rules import MajorityPolicy, QuestionPolicy
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.texts import count_of, share_text

_MOST_SAY_NO = 0.5  # the share of votes below which the rule of half escalates
_MOST_SENTENCES = 3  # of classes
_MOST_CLASS_NAMES = 4  # of classes with one plan
_ORDER = ("escalate", "vote", "abstain", "report")  # the last one that there is needs no condition


def plan_sentence(
    policy: Policy[Any],
    names: Sequence[str],
    signal: RecordedSignal = "votes",
    samples: int = 0,
    *,
    tokens: float | None = None,
    starts: Mapping[str, float] | None = None,
    classes: Sequence[str] = (),
) -> str:
    """Write what a policy does, as far as one sentence can tell it.

    Args:
        policy: any.
        names: of the tiers.
        signal: what is recorded of answers.
        samples: how many answers are sampled, where `signal` is `consistency`.
        tokens: prompt tokens of the question; None for one of the mean length.
        starts: which share of questions starts at which tier by what a query-side router reads in them; {}
            where that is not known, None where none reads them.
        classes: names of those that have a prior of their own; the last prior is of all others.
    """
    if isinstance(policy, QuestionPolicy):
        shares = f" ({_starts_words(starts)})" if starts else ""
        return f"asks the tier that the query router names for the question{shares}, and reports its answer"
    model = getattr(policy, "plan_model", None)  # of a plan; rules of thumb have none
    cells = 1 if model is None else len(model.priors)
    groups: dict[str, list[int]] = {}
    for k in range(cells):
        own = question_sentence(policy, names, Facts(tokens, k), signal, samples)
        groups.setdefault(own, []).append(k)
    if len(groups) > 1:
        return _classes_sentence(policy, names, groups, classes, tokens)
    words = next(iter(groups))
    if starts is not None:
        where = f"starts at {_starts_words(starts)}, by what is read in them" if starts else ""
        rest = "" if starts else "; else it depends on what is read"
        return "; ".join(filter(None, (where, f"where nothing is read in the question: {words}{rest}")))
    counts_length = _is_prior(policy) if model is None else model.counts_tokens
    return f"{words} (for a prompt of {_length(tokens)})" if counts_length else words


def _is_prior(policy: Policy[Any]) -> bool:
    """Whether a policy decides before calibration."""
    from automix_cli.pomdp.prior_policy import PriorPolicy  # here, because most policies are none

    return isinstance(policy, PriorPolicy)


def question_sentence(
    policy: Policy[Any],
    names: Sequence[str],
    facts: Facts,
    signal: RecordedSignal = "votes",
    samples: int = 0,
) -> str:
    """Write what a policy does on one question, as far as one sentence can tell it.

    Args:
        policy: any.
        names: of the tiers.
        facts: of the question.
        signal: what is recorded of answers.
        samples: how many answers are sampled, where `signal` is `consistency`.

    Example:
        >>> from automix_cli.pomdp.rules import MajorityPolicy
        >>> policy = MajorityPolicy(tiers=2, max_votes=8, batch=(1, 2, 4))
        >>> question_sentence(policy, ("small", "large"), Facts())
        "asks small, buys up to 8 votes; asks large when fewer than half agree, else reports small's answer"
    """
    moves = first_moves(policy, facts, signal, samples)
    if not (isinstance(policy, MajorityPolicy) and moves.is_open and policy.cut == _MOST_SAY_NO):
        return moves_sentence(moves, names)
    tier = moves.start.tier
    follows = "" if tier + 2 == len(names) else f"; and the same with {names[tier + 1]}'s answer"
    return (
        f"asks {names[tier]}, buys up to {count_of(policy.max_votes, 'vote')}; asks {names[tier + 1]} "
        f"when fewer than half agree, else reports {names[tier]}'s answer{follows}"
    )


def _starts_words(starts: Mapping[str, float]) -> str:
    """The tiers at which questions start, the most frequent first.

    Example:
        >>> _starts_words({"small": 0.3, "large": 0.7})
        'large for 70% of questions, small for 30%'
    """
    (first, share), *others = sorted(starts.items(), key=lambda start: -start[1])
    rest = [f"{name} for {share_text(own, '.0%')}" for name, own in others]
    return ", ".join([f"{first} for {share_text(share, '.0%')} of questions", *rest])


def _classes_sentence(
    policy: Policy[Any],
    names: Sequence[str],
    groups: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    tokens: float | None,
) -> str:
    """The sentences of classes that differ, largest groups first; of many only where they start."""
    if len(groups) <= _MOST_SENTENCES:
        parts = [f"{_cells_words(cells, classes)}: {words}" for words, cells in groups.items()]
        return f"by the class of the question. {'. '.join(parts)}"
    starts: dict[str, list[int]] = {}
    for k in sorted(k for cells in groups.values() for k in cells):
        action = policy.action(policy.begin(Facts(tokens, k)))
        words = f"starts at {names[action.tier]}" if action.kind == "start" else "abstains"
        starts.setdefault(words, []).append(k)
    parts = [
        words if len(starts) == 1 else f"{words} ({_cells_words(own, classes)})"
        for words, own in starts.items()
    ]
    return f"{', '.join(parts)}; what follows depends on the class of the question"


def _cells_words(cells: Sequence[int], classes: Sequence[str]) -> str:
    """The names of classes, at most a few of them; their number where they have no names."""
    if not classes:
        return count_of(len(cells), "class")
    names = [classes[k] if k < len(classes) else "all others" for k in cells]
    more = f" and {len(names) - _MOST_CLASS_NAMES} more" if len(names) > _MOST_CLASS_NAMES else ""
    return f"{', '.join(names[:_MOST_CLASS_NAMES])}{more}"


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
    first, *later = _decisions(moves.looks)
    text = f"asks {names[moves.start.tier]}"
    only = _only(first.look)
    if only is not None and only.kind != "vote":
        text += " and reports its answer" if only.kind == "report" else f", then {_act(only, names, first)}"
    elif only is not None:
        text += f", {_act(only, names, first)}"
    else:
        text += f"; {_clauses(first, names)}"
    text += "".join(f"; {'then ' if k else ''}{_clauses(own, names)}" for k, own in enumerate(later))
    after = {a.tier for look in moves.looks for a in look.actions.values() if a.kind == "escalate"}
    if moves.is_open:
        text += f"; then buys more where these do not settle it, up to {moves.most_votes} in all"
    elif not moves.next_settles:
        who = " or ".join(names[t] for t in sorted(after))
        text += f"; how it goes on is decided when {who} has answered"
    return text


class _Decision(NamedTuple):
    """A look at which something is decided; `more` votes are bought after its own, whatever these say."""

    look: AnswerLook
    more: int = 0


def _decisions(looks: Sequence[AnswerLook]) -> list[_Decision]:
    """The first look, and those after it at which the votes so far make a difference."""
    own = [_Decision(looks[0])]
    for look in looks[1:]:
        only = _only(look)
        if only is not None and only.kind == "vote":
            own[-1] = own[-1]._replace(more=own[-1].more + only.votes)
        else:
            own.append(_Decision(look))
    return own


def _only(look: AnswerLook) -> Action | None:
    """The one action of a look; None where there are several."""
    actions = set(look.actions.values())
    return actions.pop() if len(actions) == 1 else None


def _clauses(decision: _Decision, names: Sequence[str]) -> str:
    """The actions of a look with the values at which they are taken."""
    look = decision.look
    actions = sorted(set(look.actions.values()), key=lambda a: (_ORDER.index(a.kind), a))
    if len(actions) == 1:
        what = {0: "it is", 1: "it says"}.get(look.of, "they say")
        return f"{_act(actions[0], names, decision)} whatever {what}"
    *others, last = actions
    parts = [
        f"{_act(action, names, decision)} when "
        f"{_when({k for k, a in look.actions.items() if a == action}, look)}"
        for action in others
    ]
    return f"{', '.join(parts)}, else {_act(last, names, decision)}"


def _act(action: Action, names: Sequence[str], decision: _Decision) -> str:
    """An action as a verb with its object."""
    if action.kind == "escalate":
        return f"asks {names[action.tier]}"
    if action.kind == "vote":
        votes = action.votes + decision.more
        return f"buys {votes} more" if decision.look.votes else f"buys {count_of(votes, 'vote')}"
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
    if look.of == 1:
        return "it agrees" if values == {1} else "it does not agree"
    if values == {0}:
        return "neither agrees" if look.of == 2 else f"none of {look.of} agree"
    if values == {look.of}:
        return "both agree" if look.of == 2 else f"all {look.of} agree"
    if look.of > 2 and look.of in possible and values == {*possible} - {look.of}:
        return f"not all {look.of} agree"
    words = [word for low, high in spans for word in _count_words(low, high, possible)]
    counts = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return f"{counts} of {look.of} agree"


def _count_words(low: int, high: int, possible: list[int]) -> list[str]:
    if low == high:
        return [str(low)]
    if low == possible[0]:
        return [f"at most {high}"]
    if high == possible[-1]:
        return [f"at least {low}"]
    return [str(low), str(high)] if high == low + 1 else [f"{low} to {high}"]


def _bin_words(low: int, high: int, possible: list[int], cuts: Sequence[float]) -> str:
    if low == possible[0]:
        return f"below {cuts[high]:.3g}"
    if high == possible[-1]:
        return f"at least {cuts[low - 1]:.3g}"
    return f"from {cuts[low - 1]:.3g} to below {cuts[high]:.3g}"
