"""`rollout` over many recorded rows at once: what a policy would have decided, scored and cost.

Rows that share their facts and have shown a policy the same observations share one belief.
So the policy is asked once per group of rows, and NumPy splits the group by what the next
action shows of each row. Row for row the outcome is that of `rollout`, as the tests
require; no call is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy
from automix_cli.pomdp.signals import SIGNAL_FACTS

B = TypeVar("B")


class Replayed(NamedTuple):
    """What came of each of n rows, with N tiers.

    Attributes:
        rows: n, their places in the table.
        tier: n, the tier reported, -1 for an abstention.
        score: n, of the answer reported; NaN where the table has none.
        cost: n, USD charged: the recorded cost of the answers asked and the votes bought, and the
            table's fee.
        latency: n, seconds of the answers asked, and the fee's; NaN where one is not recorded.
        asked_tiers: n×N, which tiers were asked.
        votes: n×N, how many votes were bought.
        rounds: n×N, in how many rounds.
    """

    rows: Ints
    tier: Ints
    score: Floats
    cost: Floats
    latency: Floats
    asked_tiers: NDArray[np.bool_]
    votes: Ints
    rounds: Ints

    @property
    def escalated(self) -> NDArray[np.bool_]:
        """Which rows asked more than one tier."""
        more: NDArray[np.bool_] = self.asked_tiers.sum(axis=1) > 1
        return more


class _RowGroup(NamedTuple, Generic[B]):
    """Rows that have shown the same: one belief, and what was done to reach it, per tier."""

    belief: B
    rows: Ints
    asked_tiers: tuple[bool, ...]
    votes: tuple[int, ...]
    rounds: tuple[int, ...]

    @property
    def path(self) -> Hashable:
        return self.asked_tiers, self.votes, self.rounds


class _ClosedRows(NamedTuple):
    """Rows whose question is closed: the tier reported (-1: none), and what was done, per tier."""

    rows: Ints
    tier: int
    asked_tiers: tuple[bool, ...]
    votes: tuple[int, ...]
    rounds: tuple[int, ...]


def replay(
    policy: Policy[B],
    table: TraceTable,
    rows: Ints | NDArray[np.bool_] | None = None,
    *,
    seed: int | None = None,
    question_classes: Ints | None = None,
    abstain_value: float = 0.0,
) -> Replayed:
    """Run a policy over recorded rows.

    Decisions see the observations and the facts only; the recorded costs are charged
    afterwards, and where a row has none, the mean of its tier. Facts of
    which the same is `relevant` to the policy share one belief.

    Args:
        policy: the policy; of a continuous confidence it sees one value per bin of its `cuts`.
        table: the recorded rows.
        rows: which of them (indices or a mask); all by default.
        seed: draw the votes in the order of this seed rather than the table's.
        question_classes: the query-side class of every row of the table, its own by default, else 0.
        abstain_value: the score of an abstention.

    Raises:
        DataError: when the policy buys more votes than a row holds, or what it asked or
            bought has no recorded cost on any row.
        ValueError: when the policy reports a tier that it did not ask, or buys no votes.

    Example:
        >>> from automix_cli.pomdp.rules import MajorityPolicy
        >>> from automix_cli.data.read_traces import read_table
        >>> row = {"tiers": {"s": {"score": 0, "votes": [0, 0], "cost": 1, "vote_cost": 1},
        ...                  "l": {"score": 1, "cost": 9}}}
        >>> result = replay(MajorityPolicy(tiers=2, max_votes=2), read_table([(1, row)]))
        >>> result.tier.tolist(), result.score.tolist(), result.cost.tolist()
        ([1], [1.0], [12.0])
    """
    if seed is not None and seed != table.seed:
        table = table.reseed(seed)
    all_rows = np.arange(len(table)) if rows is None else np.arange(len(table))[rows]
    level = list(
        _begin(
            policy, table, all_rows, table.question_classes if question_classes is None else question_classes
        )
    )
    closed_rows: list[_ClosedRows] = []
    while level:
        following: list[_RowGroup[B]] = []
        for group in level:
            action = policy.action(group.belief)
            if action.final:
                closed_rows.append(_close(group, action))
            else:
                following += _after(policy, table, group, action)
        level = _merge(following)
    return _outcome(table, all_rows, closed_rows, abstain_value)


def _begin(policy: Policy[B], table: TraceTable, rows: Ints, classes: Ints | None) -> Iterator[_RowGroup[B]]:
    """Yield one group per class of facts that the policy tells apart."""
    none, zero = (False,) * len(table.tiers), (0,) * len(table.tiers)
    places: dict[Facts, tuple[Facts, list[Ints]]] = {}
    for facts, part in _by_facts(table.prompt_tokens[rows], None if classes is None else classes[rows]):
        places.setdefault(policy.relevant(facts), (facts, []))[1].append(rows[part])
    starts = [
        _RowGroup(policy.begin(facts), _join(parts), none, zero, zero) for facts, parts in places.values()
    ]
    yield from _merge(starts)


def _by_facts(tokens: Floats, question_classes: Ints | None) -> Iterator[tuple[Facts, Ints]]:
    """Yield the rows of equal facts: what a policy may know of a question before any call."""
    sizes, size_of = np.unique(tokens, return_inverse=True)
    one_class = np.zeros(len(tokens), int)
    classes, class_of = np.unique(
        one_class if question_classes is None else question_classes, return_inverse=True
    )
    for code, part in _parts(size_of * len(classes) + class_of):
        size, question_class = sizes[code // len(classes)], classes[code % len(classes)]
        yield Facts(None if np.isnan(size) else float(size), int(question_class)), part


def _parts(codes: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each code (0 or more) that occurs, with the places where it does, in order."""
    if not len(codes):
        return
    highest = codes.max()
    if codes.min() == highest:
        yield int(highest), np.arange(len(codes))
        return
    narrow = codes.astype(np.min_scalar_type(highest))  # up to 16 bits NumPy sorts by radix
    order = narrow.argsort(kind="stable")
    in_order = narrow[order]
    for part in np.split(order, np.flatnonzero(in_order[1:] != in_order[:-1]) + 1):
        yield int(codes[part[0]]), part


def _join(parts: list[Ints]) -> Ints:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _merge(groups: list[_RowGroup[B]]) -> list[_RowGroup[B]]:
    """Join groups that did the same and believe the same: one vote at a time, order is forgotten.

    A belief that cannot be hashed (an array) keeps its groups apart, which costs time only.
    """
    by_state: dict[Hashable, list[_RowGroup[B]]] = {}
    for place, group in enumerate(groups):
        try:
            by_state.setdefault((group.belief, group.path), []).append(group)
        except TypeError:
            by_state[place] = [group]
    return [same[0]._replace(rows=_join([g.rows for g in same])) for same in by_state.values()]


def _after(
    policy: Policy[B], table: TraceTable, group: _RowGroup[B], action: Action
) -> Iterator[_RowGroup[B]]:
    """Yield the groups into which an action splits one."""
    j = action.tier
    if action.kind == "vote":
        observations = _observe_votes(table, group, action, policy.cuts(j))
        votes = _with(group.votes, j, group.votes[j] + action.votes)
        following = group._replace(votes=votes, rounds=_with(group.rounds, j, group.rounds[j] + 1))
    else:
        observations = _observe_answer(table, group.rows, j, policy.cuts(j))
        following = group._replace(asked_tiers=_with(group.asked_tiers, j, True))
    for observation, part in observations:
        belief = policy.update(group.belief, action, observation)
        yield following._replace(belief=belief, rows=group.rows[part])


T = TypeVar("T")


def _with(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


_Observations = Iterator[tuple[Observation, Ints]]


def _observe_answer(table: TraceTable, rows: Ints, j: int, cuts: tuple[float, ...]) -> _Observations:
    """Yield what comes with an answer: nothing, a confidence, or how many samples agree with it."""
    facts = SIGNAL_FACTS[table.signals[j]]
    if facts.with_answer and facts.continuous:
        for signal, part in _bins_of(table.confidence[rows, j], cuts):
            yield Observation(signal=signal), part
    elif facts.of_samples:
        k = table.sample_counts[rows, j].astype(np.intp)
        agreeing = np.nan_to_num(np.rint(table.confidence[rows, j] * k)).astype(np.intp)
        most = int(k.max(initial=0)) + 1
        for code, part in _parts(k * most + agreeing):
            yield Observation(code % most, code // most, code // most), part
    else:
        yield Observation(), np.arange(len(rows))


def _observe_votes(
    table: TraceTable, group: _RowGroup[B], action: Action, cuts: tuple[float, ...]
) -> _Observations:
    """Yield what the next votes of each row say, or the confidence that is bought as one vote."""
    j, m, start = action.tier, action.votes, group.votes[action.tier]
    if m < 1 or not group.asked_tiers[j]:
        raise ValueError(f"{action} is no round of votes on an answer in hand")
    facts = SIGNAL_FACTS[table.signals[j]]
    if facts.purchase == "once":
        _check_recorded(table, group.rows, j, start + m, np.ones(len(group.rows)))
        for signal, part in _bins_of(table.confidence[group.rows, j], cuts):
            yield Observation(bought=m, signal=signal), part
        return
    votes = table.recorded_votes[j]
    # No votes can be bought beside samples.
    _check_recorded(table, group.rows, j, start + m, votes.counts[group.rows] * (not facts.of_samples))
    correct = votes.correct[start + m][group.rows] - votes.correct[start][group.rows]
    parsed = votes.parsed[start + m][group.rows] - votes.parsed[start][group.rows]
    for code, part in _parts(parsed.astype(np.intp) * (m + 1) + correct):
        yield Observation(code % (m + 1), code // (m + 1), m), part


def _bins_of(signal: Floats, cuts: tuple[float, ...]) -> Iterator[tuple[float | None, Ints]]:
    """Yield a confidence, one value standing for all in its bin; None where it is not recorded."""
    bins = np.searchsorted(np.array(cuts, dtype=np.float64), signal, side="right")
    for code, part in _parts(np.where(np.isnan(signal), len(cuts) + 1, bins)):
        yield None if code > len(cuts) else float(signal[part[0]]), part


def _check_recorded(
    table: TraceTable, rows: Ints, j: int, votes: int, counts: NDArray[np.number[Any]]
) -> None:
    if (counts >= votes).all():
        return
    ident, least = table.ids[rows[counts.argmin()]], int(counts.min())
    raise DataError(
        f"the policy buys {votes} votes of tier {table.tiers[j]!r}, and row {ident!r} holds {least}",
        hint=f"at most {least} votes can be planned for these rows",
    )


def _close(group: _RowGroup[B], action: Action) -> _ClosedRows:
    if action.kind == "abstain":
        return _ClosedRows(group.rows, -1, group.asked_tiers, group.votes, group.rounds)
    if not group.asked_tiers[action.tier]:
        raise ValueError(f"{action} reports a tier that was not asked")
    return _ClosedRows(group.rows, action.tier, group.asked_tiers, group.votes, group.rounds)


def _outcome(table: TraceTable, rows: Ints, closed_rows: list[_ClosedRows], abstain_value: float) -> Replayed:
    """Spread what each group did over its rows, and charge the recorded costs."""
    group_of = np.zeros(len(table), dtype=np.intp)
    for number, end in enumerate(closed_rows):
        group_of[end.rows] = number
    at, shape = group_of[rows], (len(closed_rows), len(table.tiers))
    tier = np.array([end.tier for end in closed_rows], dtype=np.intp)[at]
    asked_tiers = np.array([end.asked_tiers for end in closed_rows], dtype=bool).reshape(shape)[at]
    votes = np.array([end.votes for end in closed_rows], dtype=np.intp).reshape(shape)[at]
    rounds = np.array([end.rounds for end in closed_rows], dtype=np.intp).reshape(shape)[at]
    return Replayed(
        rows=rows,
        tier=tier,
        score=np.where(tier < 0, abstain_value, table.score[rows, tier]),
        cost=_cost_of(table, rows, asked_tiers, votes, rounds),
        latency=np.where(asked_tiers, table.latency[rows], 0.0).sum(axis=1) + _fee(table, rows, 1),
        asked_tiers=asked_tiers,
        votes=votes,
        rounds=rounds,
    )


def _cost_of(
    table: TraceTable, rows: Ints, asked_tiers: NDArray[np.bool_], votes: Ints, rounds: Ints
) -> Floats:
    """Return dollars per row: answers, votes, prompts of rounds, as recorded or at the tier's mean."""
    total = np.zeros(len(rows)) + _fee(table, rows, 0)
    for j, name in enumerate(table.tiers):
        if asked_tiers[:, j].any():
            answer = _with_mean(table.cost[:, j], f"an answer of tier {name!r}", f"--costs {name}=1")[rows]
            total += np.where(asked_tiers[:, j], answer, 0.0)
        if votes[:, j].any():
            vote_cost = table.vote_cost[:, j]
            vote = _with_mean(vote_cost, f"a vote of tier {name!r}", f"--vote-costs {name}=1")[rows]
            total += votes[:, j] * vote
            prompt = table.round_cost[:, j]
            if not np.isnan(prompt).all():  # most providers charge none
                total += rounds[:, j] * _with_mean(prompt, "", "")[rows]
    return total


def _fee(table: TraceTable, rows: Ints, column: int) -> Floats | float:
    """Return what the rows take before any tier is asked: USD (column 0) or seconds."""
    return 0.0 if table.fee is None else table.fee[rows, column]


def _with_mean(costs: Floats, what: str, hint: str) -> Floats:
    """Return costs, with their mean where a row has none.

    Raises:
        DataError: when no row has one; unknown is never 0.
    """
    absent = np.isnan(costs)
    if absent.all() and len(costs):
        raise DataError(f"no row records what {what} costs", hint=hint)
    return np.where(absent, costs[~absent].mean(), costs) if absent.any() else costs
