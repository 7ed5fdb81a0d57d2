"""Query-side routers alone as a family: the tier that the router names, one policy per cost_weight."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
from msgspec import Struct

from automix_cli.data.oracle import oracle
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.families import COST_GRID, CostGrid, SettingRows, cost_weights
from automix_cli.evaluation.policy_entry import one_tier, replay_assigned
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.rules import QuestionPolicy
from automix_cli.pomdp.tilt import sigmoid


class QuestionFamily(Struct, frozen=True, kw_only=True):
    """The tiers that a query-side router names, one policy per cost_weight.

    Attributes:
        settings: what the profile decides.
        grid: how finely cost_weights are searched.
    """

    settings: Settings
    grid: CostGrid = COST_GRID

    def fit(self, table: TraceTable) -> FittedQuestionRule:
        """Learn what right and wrong answers score, and what answers cost."""
        from automix_cli.fitting.query_router import mean_rewards

        return FittedQuestionRule(
            rewards=mean_rewards(table.score, table.score >= self.settings.pass_score),
            costs=table.mean_cost,
            weights=cost_weights(table, self.grid),
            abstain_value=self.settings.abstain_value or 0.0,
        )

    def policy(self, table: TraceTable, setting: Setting) -> QuestionPolicy:
        """Fit, and return the policy of one cost_weight."""
        return self.fit(table).at_weight(narrow(setting, CostWeight).value)


class FittedQuestionRule(Struct, frozen=True, kw_only=True, eq=False):
    """The rule of one fit, at each cost_weight.

    Attributes:
        rewards: N×2, the expected score of a wrong and of a right answer.
        costs: N, planned cost of an answer.
        weights: the cost_weights.
        abstain_value: score of a question that no tier answers.
    """

    rewards: Floats
    costs: Floats
    weights: tuple[float, ...]
    abstain_value: float

    @property
    def settings(self) -> tuple[Setting, ...]:
        """One per cost_weight."""
        return tuple(CostWeight(weight) for weight in self.weights)

    def levels(self) -> Floats:
        """The places: the grid of cost_weights is in units of the tiers' costs already."""
        return np.arange(len(self.weights), dtype=float)

    def places(self, levels: Floats) -> Ints:
        """The places again."""
        return levels.astype(np.intp)

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        """Replay the settings at some places on some rows.

        A row takes what its tier comes to, so that each tier is replayed once, not each setting.
        """
        alone = [self._replay_one(table, rows, tier) for tier in range(len(self.costs))]
        score, cost = np.stack([run.score for run in alone]), np.stack([run.cost for run in alone])
        best, own = self._choices(table, rows, places), np.arange(len(rows))
        return SettingRows(score[best, own], cost[best, own])

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """What each of these settings does on each row."""
        for best in self._choices(table, rows, places):
            run = self._replay(table, rows, one_tier(best, len(self.costs)))
            yield RowOutcomes(**{name: getattr(run, name) for name in RowOutcomes._fields})

    def policy(self, place: int) -> QuestionPolicy:
        """The policy of one cost_weight."""
        return self.at_weight(self.weights[place])

    def decisions(self, place: int) -> Hashable:
        """The setting."""
        return self.settings[place]

    def at_weight(self, weight: float) -> QuestionPolicy:
        """The policy of any cost_weight."""
        rewards = tuple((wrong, right) for wrong, right in self.rewards.tolist())
        return QuestionPolicy(rewards=rewards, costs=tuple(self.costs.tolist()), cost_weight=weight)

    def _choices(self, table: TraceTable, rows: Ints, places: Ints) -> Ints:
        """The tier that each setting names for each row, K×n."""
        from automix_cli.fitting.query_router import expected_scores

        assert table.question_logits is not None
        scores = expected_scores(self.rewards, sigmoid(table.question_logits[rows]))
        costs = np.broadcast_to(self.costs, scores.shape)
        each = [oracle(scores, costs, self.weights[place]).tier for place in places]
        return np.array(each, dtype=np.intp).reshape(len(places), len(rows))

    def _replay_one(self, table: TraceTable, rows: Ints, tier: int) -> Replayed:
        """Replay the rows as if that tier were named for all of them."""
        return self._replay(table, rows, one_tier(np.array([tier]), len(self.costs)))

    def _replay(self, table: TraceTable, rows: Ints, chances: Floats) -> Replayed:
        return replay_assigned(table, rows, chances, escalates=True, abstain_value=self.abstain_value)
