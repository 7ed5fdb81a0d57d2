"""Settings are measured on rows that their policies were not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known import draw_table, two_tiers

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import Crossfit, CurveSums, crossfit
from automix_cli.evaluation.families import (
    Candidate,
    PomdpFamily,
    ThresholdFamily,
    cost_weights,
)
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.rules import AlwaysPolicy

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(repeats=1)  # what repeats do has a test of its own


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 400, 0)


def test_cross_fitted_points_never_come_from_rows_the_policy_was_fitted_on(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[Any]] = []

    def candidates(self: PomdpFamily, part: TraceTable) -> list[Candidate]:
        fitted.append(set(part.ids))
        return [Candidate(CostWeight(0.0), AlwaysPolicy(2, 0))]

    def seen(policy: Any, whole: TraceTable, rows: Any = None, **kw: Any) -> Any:
        assert not fitted[-1] & set(whole.ids[rows])
        measured.update(whole.ids[rows])
        return replay(policy, whole, rows, **kw)

    measured: set[Any] = set()
    monkeypatch.setattr(PomdpFamily, "candidates", candidates)
    monkeypatch.setattr("automix_cli.evaluation.crossfit.replay", seen)
    curve = crossfit(table, PomdpFamily(settings=SETTINGS, weights=(0.0,)), options=ONCE, seed=0)
    assert len(fitted) == 5
    assert measured == set(table.ids)
    assert curve.points[0].quality == pytest.approx(table.score[:, 0].mean())


def test_with_few_rows_other_folds_and_other_orders_of_votes_are_averaged(
    table: TraceTable,
) -> None:
    family = ThresholdFamily(settings=SETTINGS, max_votes=2)
    once = [crossfit(table.reseed(r), family, options=ONCE, seed=1000 * r) for r in range(3)]
    thrice = crossfit(table, family, options=Crossfit(repeats=3), seed=0)
    for k, point in enumerate(thrice.points):
        assert point.quality == pytest.approx(np.mean([curve.points[k].quality for curve in once]))
    assert crossfit(table, family, options=Crossfit(repeats=3, few_rows=100), seed=0) == once[0]


def test_folds_take_the_grid_of_the_rows_whose_setting_is_chosen(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PomdpFamily] = []

    def candidates(self: PomdpFamily, part: TraceTable) -> list[Candidate]:
        seen.append(self)
        return [Candidate(CostWeight(0.0), AlwaysPolicy(2, 0))]

    monkeypatch.setattr(PomdpFamily, "candidates", candidates)
    crossfit(table, PomdpFamily(settings=SETTINGS), options=Crossfit(folds=2, repeats=1), seed=0)
    assert set(seen) == {PomdpFamily(settings=SETTINGS).with_cost_grid(table)}
    seen.clear()
    given = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    crossfit(table, given, options=Crossfit(folds=2, repeats=1), seed=0)
    assert set(seen) == {given}  # one cost_weight that the user gave


def test_equal_plans_are_replayed_once_and_give_what_each_would_give(table: TraceTable) -> None:
    family = PomdpFamily(settings=SETTINGS, weights=cost_weights(table))
    train, rows = table.subset(np.arange(200)), np.arange(200, 400)
    candidates = family.candidates(train)
    assert len({c.key for c in candidates}) < 50
    sums = CurveSums()
    sums.add(candidates, table, rows, 0.0)
    for point, candidate in zip(sums.curve().points, candidates, strict=True):
        run = replay(candidate.policy, table, rows)
        assert point == pytest.approx((run.cost.mean(), run.score.mean()))


def test_with_many_rows_one_turn_is_enough_to_choose(
    table: TraceTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []
    original = PomdpFamily.candidates
    monkeypatch.setattr(
        PomdpFamily, "candidates", lambda self, part: turns.append(len(part)) or original(self, part)
    )
    family = PomdpFamily(settings=SETTINGS, weights=(0.01,))
    crossfit(table, family, options=Crossfit(many_rows=300, few_rows=300), seed=0)
    assert turns == [320]
