"""`rollout` over many recorded rows at once, in exact expectation over the order of their votes.

Recorded votes have no order. What a policy does on a row therefore depends on the row's
signature alone (see `signatures`), and rows of one signature are played once. A group of
signatures that has shown the policy the same shares one belief; a round of votes splits it,
with hypergeometric chances, by what the round may show. Scores and recorded costs enter row
by row, linearly. No order is drawn, so neither the names of tiers nor the order of rows
changes a figure. The tests hold the outcome to `rollout` over every order of the votes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.evaluation.charges import Outcomes, row_outcomes
from automix_cli.evaluation.signatures import Evidence, Signatures, facts_of, signatures_of
from automix_cli.pomdp.arrays import Floats, Ints, different_codes
from automix_cli.pomdp.problem import Action, Observation, Policy
from automix_cli.pomdp.signals import SIGNAL_FACTS

B = TypeVar("B")

_MOST_VOTES = 1000  # of one answer on one row: orders are counted in floats


class Replayed(NamedTuple):
    """What is expected on each of n rows, with N tiers, over the order of the row's votes.

    Attributes:
        rows: n, their places in the table.
        score: n, of the answer reported; NaN where the table has none.
        cost: n, USD charged: the recorded cost of the answers asked and the votes bought, and the
            table's fee.
        latency: n, seconds of the answers asked, and the fee's; NaN where one is not recorded.
        reports: n×N, chance that a tier's answer is reported.
        asks: n×N, chance that a tier is asked.
        votes: n×N, expected number of votes bought.
        rounds: n×N, expected number of rounds of votes.
        abstained: n, chance that nothing is reported.
        escalated: n, chance that more than one tier is asked.
        checks: n×N, chance that votes are bought on a tier's answer.
        pairs: n×N×N, chance that one tier is asked first and the answer of another is reported.
    """

    rows: Ints
    score: Floats
    cost: Floats
    latency: Floats
    reports: Floats
    asks: Floats
    votes: Floats
    rounds: Floats
    abstained: Floats
    escalated: Floats
    checks: Floats
    pairs: Floats


class _Path(NamedTuple):
    """What was done on the way to a belief, per tier, and how the votes of each tier came out."""

    tiers: tuple[int, ...]
    votes: tuple[tuple[int, int, int], ...]
    rounds: tuple[int, ...]


class _Alike(NamedTuple, Generic[B]):
    """Signatures that have shown the same, each with the chance to do so; their belief and path."""

    belief: B
    path: _Path
    signatures: Ints
    chance: Floats


class _Unseen(Exception):
    """The policy looks at a tier that the signatures leave out."""

    def __init__(self, tier: int) -> None:
        super().__init__(tier)
        self.tier = tier


def replay(
    policy: Policy[B],
    table: TraceTable,
    rows: Ints | NDArray[np.bool_] | None = None,
    *,
    question_classes: Ints | None = None,
    abstain_value: float = 0.0,
) -> Replayed:
    """Run a policy over recorded rows, in expectation over the order of their votes.

    Decisions see the observations and the facts only; the recorded costs are charged
    afterwards, and where a row has none, the mean of its tier. Facts of which the same is
    `relevant` to the policy share one belief.

    Args:
        policy: the policy; of a continuous confidence it sees one value per bin of its `cuts`.
        table: the recorded rows.
        rows: which of them (indices or a mask); all by default.
        question_classes: the query-side class of every row of the table, its own by default, else 0.
        abstain_value: the score of an abstention.

    Raises:
        DataError: when the policy buys more votes than a row holds, or what it asked or
            bought has no recorded cost on any row.
        ValueError: when the policy reports a tier that it did not ask, or buys no votes.

    Example:
        >>> from automix_cli.pomdp.rules import MajorityPolicy
        >>> from automix_cli.data.read_traces import read_table
        >>> row = {"tiers": {"s": {"score": 0, "votes": [0, 0, 1], "cost": 1, "vote_cost": 1},
        ...                  "l": {"score": 1, "cost": 9}}}
        >>> result = replay(MajorityPolicy(tiers=2, max_votes=2), read_table([(1, row)]))
        >>> result.reports.round(2).tolist(), result.score.round(2).tolist(), result.cost.round(2).tolist()
        ([[0.67, 0.33]], [0.33], [5.67])
    """
    all_rows = np.arange(len(table)) if rows is None else np.arange(len(table))[rows]
    classes = table.question_classes if question_classes is None else question_classes
    own_classes = None if classes is None else classes[all_rows]
    player = _play(policy, table, all_rows, own_classes)
    of_row = player.signatures.of_row
    run = row_outcomes(table, all_rows, of_row, player.outcomes, abstain_value)
    return Replayed(*run, player.checks[of_row], player.pairs[of_row])


def _play(policy: Policy[B], table: TraceTable, rows: Ints, classes: Ints | None) -> _Player[B]:
    """Play a policy on the signatures of some rows; which tiers it looks at shows when it does."""
    logits = None if table.question_logits is None else table.question_logits[rows]
    facts = facts_of(policy, table.prompt_tokens[rows], classes, logits)
    cuts = {j: policy.cuts(j) for j in range(len(table.tiers))}
    looked_at: set[int] = set()
    while True:
        signatures = signatures_of(table, rows, facts, looked_at, cuts, compares=policy.compares)
        player = _Player(policy, table, rows, signatures)
        try:
            player.play()
            return player
        except _Unseen as exc:
            looked_at.add(exc.tier)


class _Player(Generic[B]):
    """One policy on the signatures of some rows."""

    def __init__(self, policy: Policy[B], table: TraceTable, rows: Ints, signatures: Signatures) -> None:
        self.policy, self.table, self.rows, self.signatures = policy, table, rows, signatures
        count, tiers = len(signatures), len(table.tiers)
        self.outcomes = Outcomes.nothing((count,), tiers)
        self.checks, self.pairs = np.zeros((count, tiers)), np.zeros((count, tiers, tiers))

    def play(self) -> None:
        """Fill the outcomes per signature, and the chances of checks and pairs beside."""
        level = list(self._begin())
        while level:
            following: list[_Alike[B]] = []
            for group in level:
                action = self.policy.action(group.belief)
                if action.final:
                    self._close(group, action)
                else:
                    following += self._after(group, action)
            level = _merge(following)

    def _begin(self) -> Iterator[_Alike[B]]:
        tiers = len(self.table.tiers)
        path = _Path((), ((0, 0, 0),) * tiers, (0,) * tiers)
        for k, facts in enumerate(self.signatures.facts):
            own = np.flatnonzero(self.signatures.facts_code == k)
            yield _Alike(self.policy.begin(facts), path, own, np.ones(len(own)))

    def _after(self, group: _Alike[B], action: Action) -> Iterator[_Alike[B]]:
        """Yield the groups into which an action splits one."""
        j, path = action.tier, group.path
        if action.kind == "vote":
            path = path._replace(rounds=_with(path.rounds, j, path.rounds[j] + 1))
            observations = self._observe_votes(group, action)
        else:
            path = path._replace(tiers=(*path.tiers, j))
            observations = self._observe_answer(group, j)
        for observation, chance in observations:
            votes = path.votes
            if action.kind == "vote":
                correct, incorrect = observation.correct, observation.parsed - observation.correct
                unread = observation.n_votes - observation.parsed
                c, i, u = votes[j]
                votes = _with(votes, j, (c + correct, i + incorrect, u + unread))
            possible = chance > 0
            yield _Alike(
                self.policy.update(group.belief, action, observation),
                path._replace(votes=votes),
                group.signatures[possible],
                chance[possible],
            )

    def _observe_answer(self, group: _Alike[B], j: int) -> Iterator[tuple[Observation, Floats]]:
        """Yield what may come with an answer, and the earlier answers that it is equal to."""
        first_equal = self.signatures.first_equal
        for observation, chance in self._observe_signal(group, j):
            if first_equal is None or observation.failed:
                yield observation, chance
                continue
            joins = _joins(first_equal[group.signatures], group.path.tiers, j)
            for tier in different_codes(joins).values:
                yield observation._replace(joins=int(tier)), np.where(joins == tier, chance, 0.0)

    def _observe_signal(self, group: _Alike[B], j: int) -> Iterator[tuple[Observation, Floats]]:
        """Yield what may come with an answer: nothing, a confidence, a count of samples, or a failure."""
        if not (SIGNAL_FACTS[self.table.signals[j]].with_answer or self.table.failed[self.rows, j].any()):
            yield Observation(), group.chance
            return
        evidence, code = self._evidence(group, j)
        for k in different_codes(code).values:
            own = evidence.observations[k]
            comes = own if own.failed or SIGNAL_FACTS[self.table.signals[j]].with_answer else Observation()
            yield comes, np.where(code == k, group.chance, 0.0)

    def _observe_votes(self, group: _Alike[B], action: Action) -> Iterator[tuple[Observation, Floats]]:
        """Yield what a round of votes may show, with the chance of each signature to show it."""
        j, m = action.tier, action.votes
        if m < 1 or j not in group.path.tiers:
            raise ValueError(f"{action} is no round of votes on an answer in hand")
        signal = SIGNAL_FACTS[self.table.signals[j]]
        evidence, code = self._evidence(group, j)
        if signal.purchase != "rounds":
            self._check_votes(
                group, j, sum(group.path.votes[j]) + m, np.full(len(code), int(signal.purchase == "once"))
            )
            for k in different_codes(code).values:
                yield evidence.observations[k]._replace(n_votes=m), np.where(code == k, group.chance, 0.0)
            return
        remaining = evidence.votes[code] - np.array(group.path.votes[j])
        self._check_votes(group, j, sum(group.path.votes[j]) + m, evidence.votes[code].sum(axis=1))
        for (correct, incorrect, unparsed), chance in _rounds(remaining, m):
            parsed = correct + incorrect
            yield Observation(correct, parsed, parsed + unparsed), group.chance * chance

    def _evidence(self, group: _Alike[B], j: int) -> tuple[Evidence, Ints]:
        if j not in self.signatures.evidence:
            raise _Unseen(j)
        return self.signatures.evidence[j], self.signatures.evidence_code[j][group.signatures]

    def _check_votes(self, group: _Alike[B], j: int, demand: int, votes_held: Ints) -> None:
        if (votes_held >= demand).all() and demand <= _MOST_VOTES:
            return
        worst = int(votes_held.argmin())
        row = self.rows[int(np.flatnonzero(self.signatures.of_row == group.signatures[worst])[0])]
        least = int(votes_held[worst])
        raise DataError(
            f"the policy buys {demand} votes of tier {self.table.tiers[j]!r}, "
            f"and row {self.table.ids[row]!r} holds {least}",
            hint=f"at most {least} votes can be planned for these rows",
        )

    def _close(self, group: _Alike[B], action: Action) -> None:
        own, chance, path, outcomes = group.signatures, group.chance, group.path, self.outcomes
        if action.kind == "abstain":
            outcomes.abstained[own] += chance
        elif action.tier not in path.tiers:
            raise ValueError(f"{action} reports a tier that was not asked")
        else:
            outcomes.reports[own, action.tier] += chance
            self.pairs[own, path.tiers[0], action.tier] += chance
        if len(path.tiers) > 1:
            outcomes.escalated[own] += chance
        for j in path.tiers:
            outcomes.asks[own, j] += chance
            outcomes.votes[own, j] += chance * sum(path.votes[j])
            outcomes.rounds[own, j] += chance * path.rounds[j]
            self.checks[own, j] += chance * (path.rounds[j] > 0)


def _joins(first_equal: Ints, tiers: tuple[int, ...], j: int) -> Ints:
    """The first tier asked with the answer of tier j, which has just been asked."""
    joins = np.full(len(first_equal), j)
    for i in reversed(tiers):
        joins = np.where(first_equal[:, i] == first_equal[:, j], i, joins)
    return joins


T = TypeVar("T")


def _with(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _merge(groups: list[_Alike[B]]) -> list[_Alike[B]]:
    """Join groups that did the same and believe the same: the order of votes is forgotten.

    A belief that cannot be hashed (an array) keeps its groups apart, which costs time only.
    """
    by_state: dict[Hashable, list[_Alike[B]]] = {}
    for place, group in enumerate(groups):
        try:
            by_state.setdefault((group.belief, group.path), []).append(group)
        except TypeError:
            by_state[place] = [group]
    return [_join(same) for same in by_state.values()]


def _join(groups: list[_Alike[B]]) -> _Alike[B]:
    if len(groups) == 1:
        return groups[0]
    own, place = np.unique(np.concatenate([g.signatures for g in groups]), return_inverse=True)
    chance: Floats = np.bincount(place, np.concatenate([g.chance for g in groups]), len(own)).astype(float)
    return groups[0]._replace(signatures=own, chance=chance)


# ------------------------------------------------------------------ drawing without replacement


def _rounds(remaining: Ints, m: int) -> Iterator[tuple[tuple[int, int, int], Floats]]:
    """Yield each outcome of m votes drawn from S bags of (CORRECT, INCORRECT, unparsed), and its chances."""
    most = remaining.max(axis=0, initial=0)
    table = combinations(int(remaining.sum(axis=1).max(initial=0)), m)
    orders = table[remaining.sum(axis=1), m]
    for correct in range(min(m, int(most[0])) + 1):
        for incorrect in range(min(m - correct, int(most[1])) + 1):
            unparsed = m - correct - incorrect
            if unparsed > most[2]:
                continue
            parts = zip(remaining.T, (correct, incorrect, unparsed), strict=True)
            ways = np.prod([table[bag, count] for bag, count in parts], axis=0)
            if ways.any():
                yield (correct, incorrect, unparsed), ways / orders


@cache
def combinations(most: int, draws: int) -> Floats:
    """Return the binomial coefficients of 0..`most` over 0..`draws`, by Pascal's rule; 0 beyond the diagonal.

    Only as many columns as votes are drawn: a row may hold thousands, whose middle coefficients no
    float can hold.
    """
    table = np.zeros((most + 1, draws + 1))
    table[:, 0] = 1.0
    for n in range(1, most + 1):
        table[n, 1:] = table[n - 1, 1:] + table[n - 1, :-1]
    return table
