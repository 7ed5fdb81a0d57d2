"""Policies that look at the question alone: query-side routers, and their own upper bounds."""

from __future__ import annotations

from functools import partial

import numpy as np
from msgspec import Struct

from automix_cli.evaluation.own_time import clock
from automix_cli.evaluation.policy_entry import (
    Group,
    Need,
    TrainedPolicy,
    curve_of,
    every_label,
    one_tier,
    question_texts,
    replay_assigned,
    rows_or_all,
    several_tiers,
    weight_of,
    weight_settings,
    without_settings,
)
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import Setting
from automix_cli.evaluation.split import Split
from automix_cli.fitting.query_router import SELECTIONS, Selection
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.pomdp.arrays import Ints


def rules_of(kind: QueryRouterKind) -> tuple[Selection, ...]:
    """Return the selection rules of a kind of router; clusters and neighbours have one only."""
    return tuple(SELECTIONS if kind in ("multilabel", "separate") else SELECTIONS[:1])


class Query(Struct, frozen=True):
    """A query-side router with one of its selection rules."""

    kind: QueryRouterKind
    rule: Selection
    group: Group = "query"
    needs: tuple[Need, ...] = (several_tiers, question_texts)

    @property
    def name(self) -> str:
        """As the results call it; without the rule where there is one only."""
        return f"{self.kind}:{self.rule}" if len(rules_of(self.kind)) > 1 else self.kind

    def train(self, split: Split) -> TrainedPolicy:
        """Training points are of probabilities from models that never saw the row."""
        if not split.can_crossfit:
            return without_settings()
        reader, weights = split.reader(self.kind), split.weights
        run = partial(replay_assigned, escalates=True, abstain_value=split.abstain_value)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            chances = reader.router.chances(reader.read(rows), self.rule, cost_weight=weight_of(setting))
            return run(reader.test, rows, chances)

        def seconds(setting: Setting, row: int) -> float:
            own, weight = np.array([row]), weight_of(setting)
            return clock(lambda: reader.router.chances(reader.read(own), self.rule, cost_weight=weight))

        each = [
            reader.router.chances(reader.fitted.probs, self.rule, cost_weight=weight) for weight in weights
        ]
        runs = (run(reader.train, None, chances) for chances in each)
        return TrainedPolicy(curve_of(weight_settings(weights), runs), play, seconds=seconds)


class QueryBound(Struct, frozen=True):
    """A router's own upper bound: the best choice among the tiers that it takes for capable."""

    kind: QueryRouterKind
    group: Group = "bound"
    needs: tuple[Need, ...] = (several_tiers, question_texts, every_label)

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"bound:{self.kind}"

    def train(self, split: Split) -> TrainedPolicy:
        """Set to cost_weight 0, the highest bound."""
        if not split.can_crossfit:
            return without_settings()
        reader, weights = split.reader(self.kind), split.weights
        probs, alone = reader.fitted.probs, split.alone
        tiers = len(split.train.tiers)
        run = partial(replay_assigned, escalates=True, abstain_value=split.abstain_value)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            scores = split.test.worth[rows_or_all(split.test, rows)]
            best = reader.router.bound(reader.read(rows), scores, cost_weight=weight_of(setting))
            return run(reader.test, rows, one_tier(best.tier, tiers))

        choices = [reader.router.bound(probs, alone.score, cost_weight=w).tier for w in weights]
        runs = (run(reader.train, None, one_tier(choice, tiers)) for choice in choices)
        return TrainedPolicy(curve_of(weight_settings(weights), runs), play, fixed=True)
