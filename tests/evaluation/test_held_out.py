"""The whole procedure on held-out rows: nothing that is measured on a row was learned from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers
from msgspec.structs import replace

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import Crossfit, CurveSums, singles
from automix_cli.evaluation.families import CostGrid, Family, FittedFamily
from automix_cli.evaluation.held_out import HeldOut, HeldOutRun, held_out
from automix_cli.evaluation.objective import Objective, best_tier, choose
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.evaluation.settings import Always, Setting
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.problem import Policy

SETTINGS = Settings(max_votes=6)
ONCE = Crossfit(repeats=1)
OBJECTIVES = (Objective("keep", 0.95), Objective("budget", 9.0), Objective("keep", 0.999))

FAMILIES: dict[str, Callable[[], Family]] = {
    "plans": lambda: PlanFamily(settings=SETTINGS, grid=CostGrid(weights=20)),
    "rules": lambda: ThresholdFamily(settings=SETTINGS, max_votes=3),
}


@pytest.fixture(scope="module")
def table() -> TraceTable:
    return draw_table(two_tiers(), 150, 4)


def run_on(
    table: TraceTable, family: Family, options: Crossfit = ONCE, seed: int = 0, **more: Any
) -> HeldOut:
    resamples = Resamples.of_table(table, seed, draws=100)
    return held_out(
        table,
        family,
        OBJECTIVES,
        seed=seed,
        resamples=resamples,
        options=options,
        **more,
    )


# ------------------------------------------------------------------ the same, fold by fold


class Fold(NamedTuple):
    """What an outer fold comes to."""

    rows: np.ndarray
    setting: Setting
    best: int
    run: Replayed | None


def fold_by_fold(table: TraceTable, family: Family, k: int, seed: int) -> list[Fold]:
    """Fit anew for every fold: choose on the other folds, each measured by a fit without it and k."""
    fold, alone = folds_of(table, 5, seed), singles(table)
    learn, rows = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    whole = family.fit(table.subset(learn))
    levels, sums = whole.levels(), CurveSums(len(table))
    for b in range(5):
        if b != k:
            inner = family.fit(table.subset((fold != k) & (fold != b)))
            measured = np.flatnonzero(fold == b)
            sums.add(measured, inner.play(table, measured, inner.places(levels)))
    curve = sums.curve([whole.settings[place] for place in whole.places(levels)])
    place_of = {row: place for place, row in enumerate(learn)}
    own = curve._replace(rows=np.array([place_of[row] for row in curve.rows]))
    resamples = Resamples.of_table(table, seed, draws=100).on_rows(learn)
    best = best_tier(alone.on_rows(learn).points())
    found = []
    for objective in OBJECTIVES:
        setting = choose(own, table.tiers, alone.on_rows(learn), objective, resamples).setting
        run = None
        if not isinstance(setting, Always):
            place = whole.places(levels)[curve.settings.index(setting)]
            run = replay(whole.policy(int(place)), table, rows)
        found.append(Fold(rows, setting, best, run))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_fits_that_outer_folds_share_come_to_what_fits_of_their_own_come_to(
    name: str, table: TraceTable
) -> None:
    runs, alone = run_on(table, FAMILIES[name](), seed=7).runs, singles(table)
    routed = set[str]()
    by_fold = [fold_by_fold(table, FAMILIES[name](), k, 7) for k in range(5)]
    for run, folds in zip(runs, zip(*by_fold, strict=True), strict=True):
        for own in folds:
            np.testing.assert_array_equal(run.best_score[own.rows], table.score[own.rows, own.best])
            if own.run is None:
                tier = table.tiers.index(own.setting.tier)  # type: ignore[union-attr]
                np.testing.assert_array_equal(run.score[own.rows], alone.score[own.rows, tier])
                np.testing.assert_array_equal(run.cost[own.rows], alone.cost[own.rows, tier])
                continue
            routed.add(type(own.setting).__name__)
            for figure in ("score", "cost", "abstained", "escalated"):
                np.testing.assert_allclose(
                    getattr(run, figure)[own.rows], getattr(own.run, figure), rtol=1e-12, atol=1e-12
                )
            np.testing.assert_allclose(run.votes[own.rows], own.run.votes.sum(axis=1), rtol=1e-12)
        assert (run.single_folds, run.folds) == (sum(own.run is None for own in folds), 5)
    assert routed, "some fold chose a policy"


@dataclass
class Counted:
    """Counts on which rows a family is fitted."""

    inner: Family
    fits: list[int] = field(default_factory=list)

    def fit(self, table: TraceTable) -> FittedFamily:
        self.fits.append(len(table))
        return self.inner.fit(table)

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        return self.inner.policy(table, setting)


def test_a_fit_without_two_folds_serves_both(table: TraceTable) -> None:
    family = Counted(FAMILIES["rules"]())
    run_on(table, family, whole_tables={"none": table})
    assert sorted(family.fits) == [90] * 10 + [120] * 5 + [150]


def test_two_folds_are_too_few_to_hold_one_out_and_measure_on_another(table: TraceTable) -> None:
    with pytest.raises(ValueError, match="three parts at least, got 2"):
        run_on(table, FAMILIES["rules"](), Crossfit(folds=2, repeats=1))


# ------------------------------------------------------------------ nothing leaks


def figures_without_scores(run: HeldOutRun, rows: np.ndarray) -> list[np.ndarray]:
    """What was done on some rows, whatever it scored."""
    return [run.cost[rows], run.votes[rows], run.escalated[rows], run.abstained[rows]]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("k", [0, 3])
def test_the_labels_of_an_outer_fold_never_reach_its_setting_or_its_policy(
    name: str, k: int, table: TraceTable
) -> None:
    """On the fold the small tier is always right and the large one never: looked at, that would tell."""
    fold = folds_of(table, 5, 0)
    own = fold == k
    fooled = replace(table, score=np.where(own[:, None], (1.0, 0.0), table.score))
    before, after = (run_on(t, FAMILIES[name]()).runs for t in (table, fooled))
    for one, other in zip(before, after, strict=True):
        for figure, again in zip(
            figures_without_scores(one, own), figures_without_scores(other, own), strict=True
        ):
            np.testing.assert_array_equal(figure, again)
    best = singles(table).on_rows(~own).points()
    np.testing.assert_array_equal(after[0].best_score[own], fooled.score[own, best_tier(best)])
    assert any(
        not np.array_equal(one.cost[~own], other.cost[~own]) for one, other in zip(before, after, strict=True)
    ), "labels matter to the other folds"


def test_points_of_the_path_are_those_of_fits_on_the_other_folds(table: TraceTable) -> None:
    family = FAMILIES["plans"]()
    measured = run_on(table, family, seed=2, whole_tables={"none": table})
    path, fold, whole = measured.paths["none"], folds_of(table, 5, 2), family.fit(table)
    levels = whole.levels()
    assert path.settings == tuple(whole.settings[k] for k in whole.places(levels))
    for k in range(5):
        rows, fitted = np.flatnonzero(fold == k), family.fit(table.subset(fold != k))
        played = fitted.play(table, rows, fitted.places(levels))
        np.testing.assert_array_equal(path.columns.score[:, rows], played.score)
        np.testing.assert_array_equal(path.columns.cost[:, rows], played.cost)


def test_copies_of_a_question_are_held_out_together() -> None:
    rows = draw_rows(two_tiers(), 40, 0)
    copies = [
        {**row, "id": f"{row['id']}-{c}", "question": f"q{row['id']}"} for row in rows for c in range(3)
    ]
    table = table_of(copies)
    assert table.n_groups == 40
    original = table.groups == 7
    own = folds_of(table, 5, 0) == folds_of(table, 5, 0)[original][0]
    fooled = replace(table, score=np.where(original[:, None], 1 - table.score, table.score))
    before, after = (run_on(t, FAMILIES["plans"]()).runs for t in (table, fooled))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.cost[own], other.cost[own])


# ------------------------------------------------------------------ divisions


def test_divisions_are_averaged_row_by_row_and_their_folds_counted(table: TraceTable) -> None:
    family = FAMILIES["rules"]()
    resamples = Resamples.of_table(table, 0, draws=100)
    options = {"resamples": resamples}
    runs = [
        held_out(table, family, OBJECTIVES, seed=1000 * r, options=ONCE, **options).runs for r in range(3)
    ]
    thrice = held_out(table, family, OBJECTIVES, seed=0, options=Crossfit(repeats=3), **options).runs
    for k, together in enumerate(thrice):
        single = [own[k] for own in runs]
        for figure in ("score", "cost", "escalated", "votes", "best_score"):
            mean = np.mean([getattr(run, figure) for run in single], axis=0)
            np.testing.assert_allclose(getattr(together, figure), mean, rtol=1e-12, atol=1e-12)
        assert together.folds == 15
        assert together.single_folds == sum(run.single_folds for run in single)


def test_a_single_tier_that_every_fold_chooses_is_charged_and_counted_as_such(table: TraceTable) -> None:
    family = FAMILIES["rules"]()
    resamples = Resamples.of_table(table, 0, draws=100)
    (run,) = held_out(
        table,
        family,
        [Objective("budget", 0.5)],
        seed=0,
        resamples=resamples,
        options=ONCE,
    ).runs
    assert (run.single_folds, run.folds) == (5, 5)
    np.testing.assert_array_equal(run.score, table.score[:, 0])
    np.testing.assert_array_equal(run.cost, table.cost[:, 0])
    assert run.shares == (0.0, 0.0, 0.0)
