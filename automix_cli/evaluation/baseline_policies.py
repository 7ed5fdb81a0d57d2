"""Policies that learn next to nothing: single tiers, majorities, mixes, agreement, the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from msgspec import Struct

from automix_cli.data.oracle import oracle
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.frontier import hull
from automix_cli.evaluation.policy_entry import (
    Group,
    Need,
    TrainedPolicy,
    answers_compared,
    curve_of,
    every_label,
    one_tier,
    replay_assigned,
    rows_or_all,
    several_tiers,
    some_signal,
    weight_of,
    weight_settings,
    without_settings,
)
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.rule_families import votes_to_buy
from automix_cli.evaluation.settings import (
    Always,
    MixShare,
    SampleCount,
    Setting,
    Threshold,
    TierPair,
    narrow,
)
from automix_cli.evaluation.split import Split
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.rules import AgreementPolicy, Rule, ThresholdPolicy

MIX_STEPS = 20  # shares between two neighbouring tiers of a random mix


class SingleTier(Struct, frozen=True):
    """One tier for every question."""

    tier: str
    group: Group = "single tier"
    needs: tuple[Need, ...] = ()

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"always:{self.tier}"

    def train(self, split: Split) -> TrainedPolicy:
        """Nothing is learned."""
        return _one_tier_policy(Always(self.tier), self.tier, split.train, split.test)


def _one_tier_policy(setting: Setting, tier: str, train: TraceTable, test: TraceTable) -> TrainedPolicy:
    """Return the policy that asks one tier; its only setting bears the name it has in results."""
    only = one_tier(np.array([train.tiers.index(tier)]), len(train.tiers))
    curve = curve_of([setting], [replay_assigned(train, None, only)])
    return TrainedPolicy(curve, lambda _, rows: replay_assigned(test, rows, only), fixed=True)


class MajorityOfSamples(Struct, frozen=True):
    """MAJ@k: one tier, asked k times; its commonest answer is reported, of equals the one drawn first.

    Source: "Lessons Learned from LLM Routing" (arXiv 2405.00467). It costs k answers, see
    `Samples.costs`.
    """

    k: int
    tier: str
    group: Group = "majority"

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"maj@{self.k}:{self.tier}"

    @property
    def needs(self) -> tuple[Need, ...]:
        """K samples of its tier on every row."""
        return (self._enough_samples,)

    def _enough_samples(self, table: TraceTable) -> str:
        j = table.tiers.index(self.tier)
        samples = table.samples[j] if table.samples else None
        if samples is None:
            return f"no samples of {self.tier} are recorded beside what is expected"
        counts = samples.counts
        if counts.min() >= self.k:
            return ""
        row = table.ids[int(counts.argmin())]
        return f"row {row!r} records {counts.min()} samples of {self.tier} that can be judged"

    def train(self, split: Split) -> TrainedPolicy:
        """Nothing is learned."""
        train = split.train.by_majority(self.tier, self.k) if len(split.train) else split.train
        test = split.test.by_majority(self.tier, self.k)
        policy = _one_tier_policy(SampleCount(self.k), self.tier, train, test)
        return policy._replace(own_test=test)


class RandomMix(Struct, frozen=True):
    """Neighbours on the hull of the single tiers, mixed at random, in expectation over the draws.

    Its settings are shares in steps of 1/20. What any other policy must beat is the best of
    them at its own cost.
    """

    name: str = "random-mix"
    group: Group = "mix"
    needs: tuple[Need, ...] = (several_tiers,)

    def train(self, split: Split) -> TrainedPolicy:
        """The hull is that of the training rows."""
        if not len(split.train):
            return without_settings()
        names, points = split.train.tiers, split.alone.points()
        corners = [names[points.index(p)] for p in hull(points)]
        steps = range(MIX_STEPS + 1)
        mixes = [
            MixShare(k / MIX_STEPS, dearer, cheaper) for cheaper, dearer in pairwise(corners) for k in steps
        ]

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            return replay_assigned(split.test, rows, _shares(setting, names))

        runs = (replay_assigned(split.train, None, _shares(mix, names)) for mix in mixes)
        return TrainedPolicy(curve_of(mixes, runs), play)


def _shares(setting: Setting, names: tuple[str, ...]) -> Floats:
    """Return the chance of each tier in a mix, 1×N."""
    mix, chances = narrow(setting, MixShare), np.zeros((1, len(names)))
    chances[0, names.index(mix.cheaper)] = 1 - mix.share
    chances[0, names.index(mix.dearer)] += mix.share
    return chances


class SelfConsistency(Struct, frozen=True):
    """All votes, and escalate below one half (AutoMix's self-consistency rule); nothing is learned."""

    name: str = "self-consistency"
    group: Group = "rule"
    needs: tuple[Need, ...] = (several_tiers, some_signal)

    def train(self, split: Split) -> TrainedPolicy:
        """Its point in training."""
        last = len(split.train.tiers) - 1
        votes = [votes_to_buy(split.train, j, split.settings.max_votes) for j in range(last)]
        policy = ThresholdPolicy(tuple(Rule(n, (0.5,), (True, False)) for n in votes))
        curve = curve_of([Threshold(tuple(votes), (0.5,) * last)], [replay(policy, split.train)])
        return TrainedPolicy(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)


class Agreement(Struct, frozen=True):
    """Two cheap tiers are asked: where they agree their answer is reported, else the last tier's."""

    first: str
    second: str
    group: Group = "rule"

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"agreement:{self.first}+{self.second}"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Answers of every tier, in a form in which they are equal or not."""
        return (answers_compared,)

    def train(self, split: Split) -> TrainedPolicy:
        """Its point in training."""
        names = split.train.tiers
        policy = AgreementPolicy(len(names), names.index(self.first), names.index(self.second))
        curve = curve_of([TierPair(self.first, self.second)], [replay(policy, split.train)])
        return TrainedPolicy(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)


def agreements(tiers: Sequence[str]) -> tuple[Agreement, ...]:
    """The rule for every two tiers before the last.

    Example:
        >>> [rule.name for rule in agreements(["a", "b", "c", "d"])]
        ['agreement:a+b', 'agreement:a+c', 'agreement:b+c']
    """
    return tuple(Agreement(*pair) for pair in combinations(tiers[:-1], 2))


class Oracle(Struct, frozen=True):
    """The best tier of each row, by scores that no policy can know. With a cost_weight it draws a curve."""

    name: str = "oracle"
    group: Group = "bound"
    needs: tuple[Need, ...] = (several_tiers, every_label)

    def train(self, split: Split) -> TrainedPolicy:
        """Set to cost_weight 0, the highest bound."""
        weights, alone, tiers = split.weights, singles(split.test), len(split.train.tiers)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            at = rows_or_all(split.test, rows)
            best = oracle(alone.score[at], alone.cost[at], weight_of(setting)).tier
            return replay_assigned(split.test, rows, one_tier(best, tiers))

        choices = [oracle(*split.alone, weight).tier for weight in weights]
        runs = (replay_assigned(split.train, None, one_tier(choice, tiers)) for choice in choices)
        return TrainedPolicy(curve_of(weight_settings(weights), runs), play, fixed=True)
