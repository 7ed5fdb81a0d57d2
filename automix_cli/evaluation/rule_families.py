"""Fixed rules as families: buy some votes on each tier's answer, look into which bin their share falls.

A rule looks at one tier at a time. So the chance to escalate from a tier depends on that tier's
evidence alone, and the outcome of any combination of rules is a product of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import (
    Outcomes,
    RowOutcomes,
    expected_cost,
    expected_score,
    mean_points,
    outcomes_by_row,
)
from automix_cli.evaluation.families import SettingRows
from automix_cli.evaluation.replay import combinations, replay
from automix_cli.evaluation.settings import DoubleThreshold, Setting, Threshold, narrow
from automix_cli.evaluation.signatures import Evidence, Signatures, signatures_of
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats, Ints, different_codes
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import Rule, ThresholdPolicy
from automix_cli.pomdp.signals import SIGNAL_FACTS

_MOST_COMBINATIONS = 5_000  # of a number of votes and a cut per tier
_PLAYED_CELLS = 400_000  # settings times signatures that are played at a time
_COST_STEPS = 60  # of the combinations the best one in each even step of cost is tried

Rules = tuple[Rule, ...]
"""One rule per tier but the last."""


class FittedRules(Struct, frozen=True, kw_only=True, eq=False):
    """Threshold policies, one per setting, made for some rows.

    Attributes:
        settings: one per combination of rules.
        rules: per setting.
        abstain_value: the score of an abstention, to which only failures of all tiers lead.
        trial: the rows on which it is found which settings are worth comparing; None compares all.
    """

    settings: tuple[Setting, ...]
    rules: tuple[Rules, ...]
    abstain_value: float = 0.0
    trial: TraceTable | None = None

    def levels(self) -> Floats:
        """The places themselves: a rule is the same on all rows."""
        if self.trial is None:
            return np.arange(len(self.rules), dtype=float)
        return _best_of_steps(*_mean_points(self, self.trial)).astype(float)

    def places(self, levels: Floats) -> Ints:
        """The places that the levels are."""
        return levels.astype(np.intp)

    def policy(self, place: int) -> ThresholdPolicy:
        """The policy of a setting."""
        return ThresholdPolicy(self.rules[place])

    def decisions(self, place: int) -> Hashable:
        """The setting."""
        return self.settings[place]

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """What each setting does on each row."""
        signatures = _signatures(table, rows, [self.rules[place] for place in places])
        outcomes = _outcomes(table, signatures, [self.rules[place] for place in places])
        return outcomes_by_row(table, rows, signatures.of_row, outcomes, self.abstain_value)

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        """Replay the settings at some places on some rows, in exact expectation over vote orders."""
        rules = [self.rules[place] for place in places]
        signatures = _signatures(table, rows, rules)
        outcomes = _outcomes(table, signatures, rules)
        setting_rows = SettingRows(
            expected_score(table, rows, signatures.of_row, outcomes, self.abstain_value),
            expected_cost(table, rows, signatures.of_row, outcomes),
        )
        others = np.flatnonzero(_hold_too_few_votes(table, rows, rules))
        if len(others):  # `replay` tells which rules ask for more, and of which row
            for k, place in enumerate(places):
                policy = self.policy(int(place))
                run = replay(policy, table, rows[others], abstain_value=self.abstain_value)
                setting_rows.score[k, others], setting_rows.cost[k, others] = run.score, run.cost
        return setting_rows


def _hold_too_few_votes(table: TraceTable, rows: Ints, rules: Sequence[Rules]) -> Bools:
    """Tell on which rows some tier with an answer has fewer votes than a rule buys."""
    too_few = np.zeros(len(rows), dtype=bool)
    for j in range(len(table.tiers) - 1):
        if SIGNAL_FACTS[table.signals[j]].purchase == "rounds":
            most = max((own[j].votes for own in rules), default=0)
            too_few |= ~table.failed[rows, j] & (table.recorded_votes[j].counts[rows] < most)
    return too_few


def _signatures(table: TraceTable, rows: Ints, rules: Sequence[Rules]) -> Signatures:
    last = len(table.tiers) - 1
    cuts = {j: sorted({edge for own in rules for edge in own[j].edges}) for j in range(last)}
    facts = (Facts(),), np.zeros(len(rows), dtype=np.intp)
    looked_at = {*range(last), *([last] if table.failed[rows, last].any() else [])}
    return signatures_of(table, rows, facts, looked_at, cuts)


def _outcomes(table: TraceTable, signatures: Signatures, rules: Sequence[Rules]) -> Outcomes:
    """Play every setting on every signature: tier by tier, each reached where the one before escalates."""
    shape = len(rules), len(signatures)
    reports, asks, votes, rounds = np.zeros((4, *shape, len(table.tiers)))
    reach, latest = np.ones(shape), np.full(len(signatures), -1)  # latest: the last tier with an answer
    for j in range(len(table.tiers) - 1):
        evidence, code = signatures.evidence[j], signatures.evidence_code[j]
        failed, own_rules = np.array(evidence.failed)[code], [own[j] for own in rules]
        chances = _escalates(table, j, dict.fromkeys(own_rules), evidence)
        escalates = np.stack([chances[rule] for rule in own_rules])[:, code]
        n_votes = np.array([rule.votes for rule in own_rules])[:, None] * ~failed
        asks[..., j] = reach
        votes[..., j], rounds[..., j] = reach * n_votes, reach * (n_votes > 0)
        reports[..., j] = reach * (1 - escalates)
        reach, latest = reach * escalates, np.where(failed, latest, j)
    end = len(table.tiers) - 1
    asks[..., end] = reach
    if end not in signatures.evidence:
        reports[..., end] += reach
        return Outcomes(reports, asks, votes, rounds, np.zeros(shape), asks[..., 1:2].sum(axis=-1))
    failed = np.array(signatures.evidence[end].failed)[signatures.evidence_code[end]]
    latest = np.where(failed, latest, end)
    for tier in different_codes(latest[latest >= 0]).values:
        reports[..., tier] += np.where(latest == tier, reach, 0.0)
    abstained = np.where(latest < 0, reach, 0.0)
    return Outcomes(reports, asks, votes, rounds, abstained, asks[..., 1:2].sum(axis=-1))


class _Draws(NamedTuple):
    """What some votes on an answer may show, for K kinds of evidence.

    Attributes:
        shares: O, of CORRECT votes; None where no vote can be read.
        ways: K×O, to draw votes that show it.
        every: K, ways to draw as many votes.
    """

    shares: tuple[float | None, ...]
    ways: Floats
    every: Floats


def _escalates(table: TraceTable, j: int, rules: Iterable[Rule], evidence: Evidence) -> dict[Rule, Floats]:
    """Chance that each rule escalates, for each kind of evidence of a tier."""
    failed = np.array(evidence.failed, dtype=float)
    by_rounds = SIGNAL_FACTS[table.signals[j]].purchase == "rounds"
    draws: dict[int, _Draws] = {}
    chances = {}
    for rule in rules:
        if rule.votes not in draws:
            draws[rule.votes] = _draw(evidence, rule.votes if by_rounds else 0)
        shares, ways, every = draws[rule.votes]
        own = ways @ np.array([rule.escalates_at(share) for share in shares], dtype=float)
        own = np.divide(own, every, out=np.zeros(len(every)), where=every > 0)
        chances[rule] = np.asarray(np.maximum(failed, own))
    return chances


def _draw(evidence: Evidence, count: int) -> _Draws:
    """Draw votes without replacement; of none, the answer itself shows all there is."""
    if not count:
        shares = (o.signal if not o.parsed else o.correct / o.parsed for o in evidence.observations)
        return _Draws(tuple(shares), np.eye(len(evidence.observations)), np.ones(len(evidence.observations)))
    votes = evidence.votes
    ways_of = combinations(max(int(votes.sum(axis=1).max(initial=0)), count), count)
    pairs = [(yes, no) for yes in range(count + 1) for no in range(count - yes + 1)]
    yes, no = np.array(pairs).T
    ways = ways_of[votes[:, [0]], yes] * ways_of[votes[:, [1]], no] * ways_of[votes[:, [2]], count - yes - no]
    shares = (a / (a + b) if a + b else None for a, b in pairs)
    return _Draws(tuple(shares), ways, ways_of[votes.sum(axis=1), count])


# ------------------------------------------------------------------ thresholds


class ThresholdFamily(Struct, frozen=True, kw_only=True):
    """A number of votes and a cut per tier; a continuous confidence is cut at the training rows' quantiles.

    With `double`, escalate between two cuts, which are then the same at every tier.

    Attributes:
        settings: what the profile decides.
        max_votes: the most votes that a rule buys.
        double: escalate between two cuts instead of below one.
    """

    settings: Settings
    max_votes: int
    double: bool = False

    def fit(self, table: TraceTable) -> FittedRules:
        """Make the rules of every setting; of many combinations those with the best points are tried."""
        settings = self._rule_settings(len(table.tiers) - 1)
        most = table.max_votes
        rules = tuple(self._rules(table, setting, most) for setting in settings)
        compares_all = len(table.tiers) < 3 or self.double or not len(table)
        return FittedRules(
            settings=settings,
            rules=rules,
            abstain_value=self.settings.abstain_value or 0.0,
            trial=None if compares_all else table,
        )

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Return the rule at each tier but the last."""
        return ThresholdPolicy(self._rules(table, setting, table.max_votes))

    def _rule_settings(self, tiers: int) -> tuple[Setting, ...]:
        if self.double:
            pairs = self._pairs(1)
            return tuple(
                DoubleThreshold(n, low, high)
                for n, low in pairs
                for m, high in pairs
                if m == n and low < high
            )
        each = product(self._pairs(tiers), repeat=tiers)
        return tuple(Threshold(tuple(n for n, _ in own), tuple(cut for _, cut in own)) for own in each)

    def _pairs(self, tiers: int) -> list[tuple[int, float]]:
        """Numbers of votes and cuts of one tier, fewer where many tiers have to be combined."""
        most = max(2, math.floor(_MOST_COMBINATIONS ** (1 / max(tiers, 1))))
        if not self.max_votes:
            steps = min(20, most - 2)
            return [(0, k / steps) for k in range(steps + 2)] if steps > 0 else [(0, 0.5), (0, 2.0)]
        counts = [*range(1, self.max_votes + 1)]
        while len(counts) > 1 and sum(n + 2 for n in counts) > most:
            counts = counts[1:]
        pairs = [(n, c / n) for n in counts for c in range(n + 2)]
        return pairs[:: max(1, math.ceil(len(pairs) / most))]

    def _rules(self, table: TraceTable, setting: Setting, most: Sequence[int]) -> Rules:
        """Make the rules of a setting; `most` is the number of votes that every row holds, per tier."""
        last = len(table.tiers) - 1
        if isinstance(setting, DoubleThreshold):
            cuts, double = [setting.low, setting.high], (False, True, False)
            each = [min(setting.votes, most[j]) for j in range(last)]
            return tuple(_rule(table, j, n, cuts, double) for j, n in enumerate(each))
        own, single = narrow(setting, Threshold), (True, False)
        each = [min(own.votes[j], most[j]) for j in range(last)]
        return tuple(_rule(table, j, n, [own.cut[j]], single) for j, n in enumerate(each))


def _rule(table: TraceTable, j: int, votes: int, cuts: Sequence[float], escalates: tuple[bool, ...]) -> Rule:
    signal = SIGNAL_FACTS[table.signals[j]]
    if signal.continuous:
        cuts = [_quantile(table.confidence[:, j], cut) for cut in cuts]
    return Rule(signal.max_votes(votes), tuple(cuts), escalates)


def _mean_points(fitted: FittedRules, table: TraceTable) -> tuple[Floats, Floats]:
    """Mean cost and score of every setting on the rows that the rules were made for."""
    signatures = _signatures(table, np.arange(len(table)), fitted.rules)
    size = max(1, _PLAYED_CELLS // max(len(signatures), 1))
    parts = [fitted.rules[start : start + size] for start in range(0, len(fitted.rules), size)]
    points = [
        mean_points(table, signatures.of_row, _outcomes(table, signatures, part), fitted.abstain_value)
        for part in parts
    ]
    costs, scores = zip(*points, strict=True)
    return np.concatenate(costs), np.concatenate(scores)


def _best_of_steps(costs: Floats, scores: Floats) -> Ints:
    """Return the place of the best score in each even step of cost."""
    span = float(costs.max() - costs.min())
    step = np.zeros(len(costs)) if span <= 0 else np.floor((costs - costs.min()) / span * (_COST_STEPS - 1))
    # Sums in another order of rows differ by rounding: what is equal otherwise must stay equal.
    order = np.lexsort((costs.round(9), -scores.round(9), step))
    _, first = np.unique(step[order], return_index=True)
    return np.sort(order[first])


def votes_to_buy(table: TraceTable, j: int, max_votes: int) -> int:
    """Return how many votes a rule buys on an answer of tier j; a verdict is bought as one vote."""
    return SIGNAL_FACTS[table.signals[j]].max_votes(min(max_votes, table.max_votes[j]))


def _quantile(values: Floats, share: float) -> float:
    """Return the value with this share of values below it; beyond the last for a share above 1."""
    present = values[~np.isnan(values)]
    if not len(present) or share > 1:
        return math.inf
    return float(np.quantile(present, share, method="higher"))
