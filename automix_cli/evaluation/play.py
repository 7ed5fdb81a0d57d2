"""One policy on one split: trained, set in training, and replayed on the held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.relative import RelativeScores
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.beside import LabelMeans, with_label_spread
from automix_cli.evaluation.bootstrap import ColumnMeans, Resamples
from automix_cli.evaluation.charges import RowOutcomes, single_tier
from automix_cli.evaluation.choice_luck import ChoiceLuck, choose_again, held_out_figures, sums_by_key
from automix_cli.evaluation.crossfit import singles
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.objective import Candidates, Objective, SettingChoice
from automix_cli.evaluation.own_time import clock
from automix_cli.evaluation.policy_entry import (
    PolicyEntry,
    TrainedPolicy,
    one_tier,
    reads_questions,
    replay_assigned,
)
from automix_cli.evaluation.rates import differing_chances
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import Always, CostWeight, Setting
from automix_cli.evaluation.split import Split
from automix_cli.pomdp.arrays import Bools, Floats

Runs = Literal["all", "chosen", "none"]

_TIMED_ROWS = 25  # rows on which a policy's own time is measured


Role = Literal["chosen", "curve", "chosen+curve", "path"]
"""What a setting is for: the point of its policy, a point of its curve, both, or no figure at all."""


class Run(NamedTuple):
    """One policy at one setting on the held-out rows of one split; of the one chosen, also its luck."""

    policy: str
    setting: Setting
    role: Role
    seed: int
    table: TraceTable
    outcome: Replayed | RowOutcomes
    luck: ChoiceLuck | None = None


# ------------------------------------------------------------------ single tiers


class SingleTiers(Struct, frozen=True, kw_only=True, eq=False):
    """What each tier alone does on one split: every policy is measured against it.

    Attributes:
        split: the rows.
        resamples: of the held-out rows; None where they are too few.
        training_points: per tier, its point on the training rows.
        scores, costs: n×N, of each held-out row and tier.
        means: of the scores, then of the costs: 2N columns.
        lacks_labels: of each tier, whether too few labels stand behind its score for an interval.
        small, large: places of the cheapest and of the dearest tier in training.
    """

    split: Split
    resamples: Resamples | None
    training_points: tuple[Point, ...]
    scores: Floats
    costs: Floats
    means: ColumnMeans
    lacks_labels: tuple[bool, ...]
    small: int
    large: int

    @classmethod
    def of(cls, split: Split, resamples: Resamples | None) -> SingleTiers:
        """Score and charge every tier alone on the held-out rows."""
        training_points = split.alone.points()
        scores, costs = singles(split.test)
        by_cost = np.argsort([point.cost for point in training_points], kind="stable")
        means, lacks_labels = _means_of_tiers(scores, costs, split.test.score, split.test.relative, resamples)
        return cls(
            split=split,
            resamples=resamples,
            training_points=training_points,
            scores=scores,
            costs=costs,
            means=means,
            lacks_labels=lacks_labels,
            small=int(by_cost[0]),
            large=int(by_cost[-1]),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tiers."""
        return self.split.train.tiers

    def on_rows(self, rows: Bools) -> SingleTiers:
        """The same on some of the held-out rows."""
        resamples = None if self.resamples is None else self.resamples.on_rows(rows)
        scores, costs, test = self.scores[rows], self.costs[rows], self.split.test
        relative = None if test.relative is None else test.relative.take(rows)
        means, lacks = _means_of_tiers(scores, costs, test.score[rows], relative, resamples)
        return replace(self, resamples=resamples, scores=scores, costs=costs, means=means, lacks_labels=lacks)

    def ends(self, means: Floats) -> Floats:
        """Cost and quality of small, cost and quality of large: …×4, of …×2N means."""
        n = len(self.names)
        return means[..., [n + self.small, self.small, n + self.large, self.large]]


def _means_of_tiers(
    scores: Floats,
    costs: Floats,
    is_equal: Floats,
    relative: RelativeScores | None,
    resamples: Resamples | None,
) -> LabelMeans:
    """Means of scores, whose draws are as wide as labels tell, and of costs."""
    own = with_label_spread(ColumnMeans.of(scores, resamples), 1 - is_equal, relative)
    return own._replace(means=own.means.beside(ColumnMeans.of(costs, resamples)))


# ------------------------------------------------------------------ one policy


class PolicyRun(Struct, frozen=True, kw_only=True, eq=False):
    """A policy on one split.

    Attributes:
        entry: the policy.
        choice: its setting, chosen in training by the objective.
        curve: the K settings of its curve, with their training points.
        outcome: of the chosen setting on the held-out rows.
        scores, costs: n×K, of the settings on the curve.
        differing: n×K, their chances to report another answer than a baseline's, where there is one.
        seconds: its own time for one question, embedding included.
        policy: the trained policy.
    """

    entry: PolicyEntry
    choice: SettingChoice
    curve: tuple[SettingChoice, ...]
    outcome: Replayed
    scores: Floats
    costs: Floats
    differing: Floats
    seconds: float
    policy: TrainedPolicy

    @property
    def is_single_tier(self) -> bool:
        """Whether a single tier was chosen, or a setting that did what one does on all held-out rows."""
        return isinstance(self.choice.setting, Always) or single_tier(self.outcome) is not None


def play_policy(
    entry: PolicyEntry, single: SingleTiers, objective: Objective, runs: Runs, on_run: Callable[[Run], None]
) -> PolicyRun:
    """Train a policy, choose its settings in training, and replay them on the held-out rows."""
    policy = entry.train(single.split)
    candidates = _candidates(policy, single)
    choice, curve = _choose_setting(policy, candidates, objective)
    outcome = _replay_setting(policy, single, choice.setting)
    scores, costs, differing = np.empty((3, len(outcome.score), len(curve)))
    places = {c.setting: k for k, c in enumerate(curve)}
    figures: dict[Setting, dict[str, float]] = {}

    def hand_out(setting: Setting, own: Replayed | RowOutcomes, luck: ChoiceLuck | None = None) -> None:
        role = _role(setting, choice, places)
        on_run(Run(entry.name, setting, role, single.split.seed, single.split.test, own, luck))

    for setting, own in _play_settings(policy, single, choice, outcome, places, runs):
        if runs == "all" and setting != choice.setting:
            hand_out(setting, own)
        if setting in places:
            scores[:, places[setting]], costs[:, places[setting]] = own.score, own.cost
            differing[:, places[setting]] = differing_chances(own.reports, single.split.test.score)
        figures[setting] = held_out_figures(own) if runs != "none" else {}
    if runs != "none":
        is_tier = entry.group == "single tier"
        luck = None if is_tier else _luck(candidates, objective, choice, figures, policy, single)
        hand_out(choice.setting, outcome, luck)
    return PolicyRun(
        entry=entry,
        choice=choice,
        curve=curve,
        outcome=outcome,
        scores=scores,
        costs=costs,
        differing=differing,
        seconds=_seconds(policy, single, choice.setting) + _embedding_seconds(entry, single, choice.setting),
        policy=policy,
    )


def _play_settings(
    policy: TrainedPolicy,
    single: SingleTiers,
    choice: SettingChoice,
    outcome: Replayed,
    curve: Collection[Setting],
    runs: Runs,
) -> Iterator[tuple[Setting, Replayed | RowOutcomes]]:
    """Yield what each setting does on the held-out rows: the one chosen, the curve, the rest of the path."""
    yield choice.setting, outcome
    whole_path = policy.curve.settings if runs == "all" and policy.path else ()
    others = [setting for setting in dict.fromkeys([*curve, *whole_path]) if setting != choice.setting]
    yield from ((s, _replay_setting(policy, single, s)) for s in others if isinstance(s, Always))
    others = [setting for setting in others if not isinstance(setting, Always)]
    if policy.play_all is None:
        yield from ((setting, policy.play(setting, None)) for setting in others)
    elif others:
        yield from zip(others, policy.play_all(others), strict=True)


def _role(setting: Setting, choice: SettingChoice, curve: Collection[Setting]) -> Role:
    on_curve = setting in curve
    if setting == choice.setting:
        return "chosen+curve" if on_curve else "chosen"
    return "curve" if on_curve else "path"


def _candidates(policy: TrainedPolicy, single: SingleTiers) -> Candidates:
    return Candidates(policy.curve, single.names, single.split.alone, single.split.resamples)


def _choose_setting(
    policy: TrainedPolicy, candidates: Candidates, objective: Objective
) -> tuple[SettingChoice, tuple[SettingChoice, ...]]:
    """The setting that the objective takes, and those of the curve; both by training points alone."""
    curve = tuple(candidates.choice(place) for place in candidates.places)
    if not (policy.fixed and policy.curve.settings):
        return candidates.choose(objective), curve
    by_setting = dict(zip(policy.curve.settings, policy.curve.points, strict=True))
    first = policy.curve.settings[0]
    choice = SettingChoice(first, by_setting[first])
    return choice, (choice,) if len(by_setting) == 1 else curve


def _luck(
    candidates: Candidates,
    objective: Objective,
    choice: SettingChoice,
    figures: Mapping[Setting, Mapping[str, float]],
    policy: TrainedPolicy,
    single: SingleTiers,
) -> ChoiceLuck:
    """How far other training answers might have moved the choice; a tier off the curve is played for it."""
    draws = choose_again(candidates, objective, choice, is_fixed=policy.fixed)
    settings = [own.setting for own in draws.choices]
    results = [figures.get(s) or held_out_figures(_replay_setting(policy, single, s)) for s in settings]
    keys = [f"{key:016x}" for key in single.split.train.grouping.row_keys[candidates.row_places].tolist()]
    return ChoiceLuck(
        settings=tuple(setting.to_dict() for setting in settings),
        chances=draws.chances,
        figures={key: np.array([own[key] for own in results]) for key in results[0]},
        values=sums_by_key(keys, draws.values),
    )


def _replay_setting(policy: TrainedPolicy, single: SingleTiers, setting: Setting) -> Replayed:
    """Replay a setting; every policy's curve also holds the single tiers, which need no policy."""
    if not isinstance(setting, Always):
        return policy.play(setting, None)
    only = one_tier(np.array([single.names.index(setting.tier)]), len(single.names))
    return replay_assigned(single.split.test, None, only)


def _seconds(policy: TrainedPolicy, single: SingleTiers, setting: Setting) -> float:
    """Median time to decide one question by itself, once everything is loaded and planned."""
    if isinstance(setting, Always):
        return 0.0
    rows = range(min(_TIMED_ROWS, len(single.split.test)))
    if policy.seconds is None:
        return float(np.median([clock(partial(policy.play, setting, np.array([row]))) for row in rows]))
    policy.seconds(setting, 0)
    return float(np.median([policy.seconds(setting, row) for row in rows]))


def _embedding_seconds(entry: PolicyEntry, single: SingleTiers, setting: Setting) -> float:
    """Mean embedding latency, for policies that read embeddings."""
    embeddings = single.split.test.embeddings
    without_router = isinstance(setting, CostWeight) and setting.query_router == "none"
    if embeddings is None or not reads_questions(entry) or isinstance(setting, Always) or without_router:
        return 0.0
    return float(embeddings.latency.mean())
