"""Policies that learn next to nothing: single tiers, majorities, mixes, self-consistency, the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import numpy as np

from automix_cli.data.oracle import oracle
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import Curve, singles
from automix_cli.evaluation.frontier import Point, hull
from automix_cli.evaluation.policy_entry import (
    Group,
    Need,
    TrainedPolicy,
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
from automix_cli.evaluation.settings import Always, MixShare, SampleCount, Setting, Threshold, narrow
from automix_cli.evaluation.split import Split, points_of
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.rules import AlwaysPolicy, Rule, ThresholdPolicy

MIX_STEPS = 20  # shares between two neighbouring tiers of a random mix
_NO_ROWS = Point(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class SingleTier:
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
        at = split.train.tiers.index(self.tier)
        policy = AlwaysPolicy(len(split.train.tiers), at)
        point = split.alone.points()[at] if len(split.train) else _NO_ROWS
        curve = Curve((Always(self.tier),), (point,))
        return TrainedPolicy(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)


@dataclass(frozen=True, slots=True)
class MajorityOfSamples:
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
        policy = AlwaysPolicy(len(split.train.tiers), split.train.tiers.index(self.tier))
        own_test, point = split.test.by_majority(self.tier, self.k), _NO_ROWS
        if len(split.train):
            run = replay(policy, split.train.by_majority(self.tier, self.k))
            point = Point(float(run.cost.mean()), float(run.score.mean()))
        return TrainedPolicy(
            Curve((SampleCount(self.k),), (point,)),
            lambda _, rows: replay(policy, own_test, rows),
            fixed=True,
            own_test=own_test,
        )


@dataclass(frozen=True, slots=True)
class RandomMix:
    """Neighbours on the hull of the single tiers, mixed at random: drawn by SHA-256(seed, id).

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
        points = split.alone.points()
        corner = [points.index(p) for p in hull(points)]
        mixes = {
            self._setting(split, a, b, k): (a, b, k)
            for a, b in pairwise(corner)
            for k in range(MIX_STEPS + 1)
        }
        choices = [self._tiers(list(split.train.ids), mix, split.seed) for mix in mixes.values()]

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            ids = list(split.test.ids[rows_or_all(split.test, rows)])
            tiers = self._tiers(ids, mixes[narrow(setting, MixShare)], split.seed)
            return replay_assigned(split.test, rows, tiers)

        return TrainedPolicy(Curve(tuple(mixes), points_of(choices, split.alone)), play)

    def _setting(self, split: Split, a: int, b: int, k: int) -> MixShare:
        names = split.train.tiers
        return MixShare(k / MIX_STEPS, dearer=names[b], cheaper=names[a])

    def _tiers(self, ids: Sequence[object], mix: tuple[int, int, int], seed: int) -> Ints:
        a, b, k = mix
        digests = (sha256(f"mix:{seed}:{i}".encode("utf-8", "surrogatepass")).digest()[:4] for i in ids)
        numbers = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.float64)
        tiers: Ints = np.where(numbers / 2**32 < k / MIX_STEPS, b, a)
        return tiers


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """All votes, and escalate below one half (AutoMix's self-consistency rule); nothing is learned."""

    name: str = "self-consistency"
    group: Group = "rule"
    needs: tuple[Need, ...] = (several_tiers, some_signal)

    def train(self, split: Split) -> TrainedPolicy:
        """Its point in training."""
        last = len(split.train.tiers) - 1
        votes = [votes_to_buy(split.train, j, split.settings.max_votes) for j in range(last)]
        policy = ThresholdPolicy(tuple(Rule(n, (0.5,), (True, False)) for n in votes))
        run = replay(policy, split.train)
        point = Point(float(run.cost.mean()), float(run.score.mean())) if len(split.train) else _NO_ROWS
        curve = Curve((Threshold(tuple(votes), (0.5,) * last),), (point,))
        return TrainedPolicy(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The best tier of each row, by scores that no policy can know. With a cost_weight it draws a curve."""

    name: str = "oracle"
    group: Group = "bound"
    needs: tuple[Need, ...] = (several_tiers,)

    def train(self, split: Split) -> TrainedPolicy:
        """Set to cost_weight 0, the highest bound."""
        weights = split.weights
        choices = [oracle(*split.alone, weight).tier for weight in weights]
        alone = singles(split.test)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            at = rows_or_all(split.test, rows)
            best = oracle(alone.score[at], alone.cost[at], weight_of(setting)).tier
            return replay_assigned(split.test, rows, best)

        points = points_of(choices, split.alone) if len(split.train) else (_NO_ROWS,)
        return TrainedPolicy(Curve(weight_settings(weights), points), play, fixed=True)
