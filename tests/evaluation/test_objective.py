"""Each objective takes its setting, and none below a mix of single tiers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from automix_cli.errors import GateError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import NO_CURVE, Curve, Singles
from automix_cli.evaluation.families import SettingRows
from automix_cli.evaluation.frontier import Point, edge
from automix_cli.evaluation.objective import (
    Objective,
    SettingChoice,
    best_single,
    best_source,
    best_tier,
    choose,
    choose_each,
    settings_worth_having,
)
from automix_cli.evaluation.settings import Always, CostWeight, Setting, Threshold, narrow

TIERS = ("small", "large")


def alone_at(*points: tuple[float, float], rows: int = 10) -> Singles:
    """Single tiers of which every row costs and scores the same."""
    costs, scores = zip(*points, strict=True)
    return Singles(np.tile(scores, (rows, 1)), np.tile(costs, (rows, 1)))


def curve_at(weights: Sequence[float], *points: tuple[float, float], rows: int = 10) -> Curve:
    """Settings of which every row costs and scores the same."""
    costs, scores = zip(*points, strict=True)
    columns = SettingRows(np.tile(scores, (rows, 1)).T, np.tile(costs, (rows, 1)).T)
    return Curve(tuple(CostWeight(w) for w in weights), columns, np.arange(rows))


SINGLES = alone_at((1.0, 0.6), (11.0, 0.9))
CURVE = curve_at((0.0, 0.1, 0.2, 0.3), (12.0, 0.92), (6.0, 0.88), (5.0, 0.70), (3.0, 0.75))


@pytest.mark.parametrize(
    ("objective", "setting", "met"),
    [
        (Objective("keep", 0.97), CostWeight(0.1), True),
        (Objective("keep", 0.8), CostWeight(0.3), True),
        (Objective("keep", 0.5), Always("small"), True),
        (Objective("keep", 1.0), Always("large"), True),
        (Objective("budget", 12.5), CostWeight(0.0), True),
        (Objective("keep", 1.1), Always("large"), True),  # where none is surely enough, the best single tier
        (Objective("budget", 7.0), CostWeight(0.1), True),
        (Objective("budget", 11.5), Always("large"), True),
        (Objective("budget", 2.0), Always("small"), True),
        (Objective("budget", 0.5), Always("small"), False),
        (Objective("cost_weight", 0.2), CostWeight(0.2), True),
        (Objective("ibc", 0.0), CostWeight(0.3), True),
    ],
    ids=str,
)
def test_each_objective_takes_the_undominated_setting_it_asks_for(
    objective: Objective, setting: Setting, met: bool
) -> None:
    choice = choose(CURVE, TIERS, SINGLES, objective)
    assert choice.setting == setting
    assert choice.is_met == met


def test_a_single_tier_is_preferred_to_a_policy_that_comes_to_the_same() -> None:
    same = curve_at((9.0,), (1.0, 0.6))
    assert choose(same, TIERS, SINGLES, Objective("keep", 0.5)).setting == Always("small")
    as_good = curve_at((9.0,), (11.0, 0.9))
    assert choose(as_good, TIERS, SINGLES, Objective("budget", 20.0)).setting == Always("large")


def test_an_undefined_ibc_is_a_gate_that_is_not_met() -> None:
    with pytest.raises(GateError, match="the large tier is not better"):
        choose(CURVE, TIERS, alone_at((1.0, 0.9), (11.0, 0.6)), Objective("ibc"))
    below = curve_at((1.0,), (6.0, 0.6))
    with pytest.raises(GateError, match="no setting is above"):
        choose(below, TIERS, SINGLES, Objective("ibc"))


def test_what_no_other_setting_beats_is_above_the_mix_and_dearer_is_better() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        points = list(zip(rng.uniform(1, 11, 12), rng.random(12), strict=True))
        tiers = list(zip(rng.uniform(1, 11, 3), rng.random(3), strict=True))
        alone = alone_at(*tiers)
        worth = settings_worth_having(curve_at(range(12), *points), "abc", alone)
        costs, qualities = zip(*(c.point for c in worth), strict=True)
        assert list(costs) == sorted(set(costs))
        assert list(qualities) == sorted(set(qualities))
        for choice in worth:
            cost, quality = choice.point
            assert not any(c <= cost and q > quality + 1e-12 for c, q in tiers)
            assert isinstance(choice.setting, Always) or edge(choice.point, alone.points()) > 0
        best = max(tiers, key=lambda p: (p[1], -p[0]))
        assert any(c.point.quality >= best[1] - 1e-12 for c in worth)


def test_no_setting_below_a_mix_of_single_tiers_is_ever_chosen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = list(zip(rng.uniform(1, 11, 8), rng.random(8), strict=True))
        curve = curve_at(range(8), *points)
        for objective in (
            Objective("keep", float(rng.uniform(0.5, 1))),
            Objective("budget", float(rng.uniform(1, 11))),
        ):
            point = choose(curve, TIERS, SINGLES, objective).point
            mix = 0.6 + 0.3 * (min(point.cost, 11.0) - 1) / 10
            assert point.quality >= mix - 1e-12


def test_without_a_curve_only_single_tiers_are_chosen() -> None:
    assert choose(NO_CURVE, TIERS, SINGLES, Objective("keep", 0.9)).setting == Always("large")
    assert choose(NO_CURVE, TIERS, SINGLES, Objective("keep", 0.6)).setting == Always("small")
    assert best_single(TIERS, SINGLES, Objective("keep", 0.6)) == "small"
    for weight, tier in ((0.029, "large"), (0.031, "small"), (5.0, "small")):  # 0.3 more for 10 more
        assert best_single(TIERS, SINGLES, Objective("cost_weight", weight)) == tier
    assert best_single(TIERS, SINGLES, Objective("budget", 5.0)) == "small"


def test_of_equally_good_tiers_the_cheapest_is_the_best() -> None:
    assert best_tier([Point(3.0, 0.7), Point(1.0, 0.7), Point(0.5, 0.6)]) == 1


# ------------------------------------------------------------------ how surely the target is kept


class World:
    """A small and a large tier, and settings that follow the large one with ever fewer losses and savings."""

    SHARES = (0.0, 0.004, 0.01, 0.02, 0.04, 0.08)  # of the large tier's right answers that are lost
    COSTS = (9.0, 7.0, 6.0, 5.0, 4.0, 3.0)

    def __init__(self, rows: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        large = (rng.random(rows) < 0.8).astype(float)
        small = (rng.random(rows) < 0.5).astype(float)
        lost = rng.random((len(self.SHARES), rows)) < np.array(self.SHARES)[:, None]
        costs = np.repeat(np.array(self.COSTS)[:, None], rows, axis=1)
        self.alone = Singles(np.stack([small, large], axis=1), np.tile((1.0, 11.0), (rows, 1)))
        self.curve = Curve(
            tuple(map(CostWeight, range(len(self.SHARES)))),
            SettingRows(np.where(lost, 0.0, large), costs),
            np.arange(rows),
        )
        self.resamples = Resamples.of(np.arange(rows), seed, draws=200)

    def choose(self, sure: float, keep: float = 0.98) -> SettingChoice:
        return choose(self.curve, TIERS, self.alone, Objective("keep", keep, sure), self.resamples)

    def is_kept(self, choice: SettingChoice, keep: float = 0.98) -> bool:
        """Whether new rows keep the share: the truth of the world."""
        if isinstance(choice.setting, Always):
            return choice.setting.tier == "large"
        return 1 - self.SHARES[self.curve.settings.index(choice.setting)] >= keep


def test_more_assurance_never_takes_a_cheaper_setting_and_is_met_more_often() -> None:
    levels, kept, costs = (0.5, 0.8, 0.95), np.zeros(3), np.zeros(3)
    for seed in range(120):
        world = World(150, seed)
        choices = [world.choose(sure) for sure in levels]
        assert [c.point.cost for c in choices] == sorted(c.point.cost for c in choices)
        kept += [world.is_kept(c) for c in choices]
        costs += [c.point.cost for c in choices]
    assert kept[0] < kept[1] < kept[2]
    assert costs[0] < costs[1] < costs[2]
    assert kept[1] / 120 >= 0.8
    assert kept[2] / 120 >= 0.95


def test_where_nothing_is_sure_enough_the_best_single_tier_is_kept() -> None:
    few = World(20, 0)
    assert few.choose(0.8).setting == Always("large")
    assert few.choose(0.8, keep=0.5).setting != Always("large")


@pytest.mark.parametrize(("rows", "routes"), [(20, False), (24, False), (26, True), (200, True)])
def test_losses_that_were_not_seen_count_half_a_row(rows: int, routes: bool) -> None:
    """A setting that lost nothing: half of one row in 26 is less than the two per cent that may go."""
    always_right = Singles(np.tile((0.0, 1.0), (rows, 1)), np.tile((1.0, 11.0), (rows, 1)))
    curve = Curve(
        (CostWeight(1.0),), SettingRows(np.ones((1, rows)), np.full((1, rows), 4.0)), np.arange(rows)
    )
    resamples = Resamples.of(np.arange(rows), 0, draws=50)
    choice = choose(curve, TIERS, always_right, Objective("keep", 0.98), resamples)
    assert (choice.setting == CostWeight(1.0)) == routes
    same = choose(curve, TIERS, always_right, Objective("keep", 1.0), resamples)
    assert same.setting == Always("large"), "all of it can be promised of the tier itself only"
    assert choose(curve, TIERS, always_right, Objective("keep", 1.0)).setting == CostWeight(1.0), (
        "means decide"
    )


@pytest.mark.parametrize("rows", [24, 26])
def test_copies_of_questions_make_nothing_surer(rows: int) -> None:
    alone = Singles(np.tile((0.0, 1.0), (4 * rows, 1)), np.tile((1.0, 11.0), (4 * rows, 1)))
    columns = SettingRows(np.ones((1, 4 * rows)), np.full((1, 4 * rows), 4.0))
    curve = Curve((CostWeight(1.0),), columns, np.arange(4 * rows))
    resamples = Resamples.of(np.repeat(np.arange(rows), 4), 0, draws=50)
    choice = choose(curve, TIERS, alone, Objective("keep", 0.98), resamples)
    assert (choice.setting == CostWeight(1.0)) == (rows == 26)


def test_the_best_tier_is_chosen_again_in_every_draw() -> None:
    """Of two tiers that are equally good in truth, either is the better one in some draws."""
    rng = np.random.default_rng(3)
    rows = 100
    first = (rng.random(rows) < 0.5).astype(float)
    alone = Singles(np.stack([first, 1 - first], axis=1), np.tile((1.0, 2.0), (rows, 1)))
    resamples = Resamples.of(np.arange(rows), 0, draws=400)
    draws = resamples.means(alone.score)
    chance = (draws[:, 0] >= 0.95 * draws.max(axis=1)).mean()
    assert 0.3 < chance < 0.9
    for sure in (chance - 0.01, chance + 0.01):
        choice = choose(
            NO_CURVE._replace(rows=np.arange(rows)), TIERS, alone, Objective("keep", 0.95, sure), resamples
        )
        best = TIERS[best_tier(alone.points())]
        assert choice.setting == Always("small" if sure < chance else best)


def test_rows_that_were_not_measured_do_not_decide() -> None:
    """With many rows a curve holds a part of them: single tiers are compared on the same part."""
    world = World(300, 1)
    part = np.arange(0, 300, 2)
    columns = SettingRows(world.curve.columns.score[:, part], world.curve.columns.cost[:, part])
    curve = Curve(world.curve.settings, columns, part)
    score = world.alone.score.copy()
    score[1::2] = 1 - score[1::2]
    fooled = Singles(score, world.alone.cost)
    for sure in (0.5, 0.8):
        objective = Objective("keep", 0.98, sure)
        choices = [choose(curve, TIERS, alone, objective, world.resamples) for alone in (world.alone, fooled)]
        assert isinstance(choices[0].setting, CostWeight)
        assert choices[0].setting == choices[1].setting


# ------------------------------------------------------------------ sources of classes


def test_the_source_of_classes_that_serves_the_objective_best_is_taken_and_of_equals_the_first() -> None:
    curves = {
        "none": CURVE,
        "knn": curve_at((0.5,), (4.0, 0.89)),
        "kmeans": curve_at((0.5,), (4.0, 0.89)),
    }
    for objective, source in [
        (Objective("keep", 0.98), "knn"),
        (Objective("keep", 0.8), "none"),
        (Objective("budget", 5.0), "knn"),
        (Objective("budget", 3.5), "none"),
        (Objective("ibc"), "knn"),
    ]:
        choices = choose_each(curves, TIERS, SINGLES, objective)  # type: ignore[arg-type]
        assert set(choices) == set(curves)
        assert best_source(choices, SINGLES.points(), objective) == source


def test_a_source_without_a_defined_ibc_is_left_out_and_if_all_are_so_that_is_the_gate() -> None:
    below = curve_at((1.0,), (6.0, 0.6))
    choices = choose_each({"none": below, "knn": CURVE}, TIERS, SINGLES, Objective("ibc"))
    assert set(choices) == {"knn"}
    with pytest.raises(GateError, match="no setting is above"):
        choose_each({"none": below, "knn": below}, TIERS, SINGLES, Objective("ibc"))


def test_a_cost_weight_is_judged_by_what_it_weighs() -> None:
    objective = Objective("cost_weight", 0.1)
    curves = {"none": curve_at((0.1,), (6.0, 0.88)), "knn": curve_at((0.1,), (5.0, 0.80))}
    choices = choose_each(curves, TIERS, SINGLES, objective)  # type: ignore[arg-type]
    worths = {s: c.point.quality - 0.1 * c.point.cost for s, c in choices.items()}
    assert best_source(choices, SINGLES.points(), objective) == max(worths, key=worths.__getitem__)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.03, 0.08, 1.0])
def test_of_rules_a_cost_weight_takes_the_one_that_it_makes_the_best(weight: float) -> None:
    rules = tuple(Threshold((2,), (cut,)) for cut in (0.25, 0.5, 0.75, 1.0))
    curve = CURVE._replace(settings=rules)
    choice = choose(curve, TIERS, SINGLES, Objective("cost_weight", weight))
    worth = [p.quality - weight * p.cost for p in (*curve.points, *SINGLES.points())]
    assert choice.point.quality - weight * choice.point.cost == pytest.approx(max(worth))


def with_rule(curve: Curve, rule: Curve) -> Curve:
    """Plans, and a router's own rule beside them."""
    settings = (*curve.settings, *(replace(narrow(s, CostWeight), rule="argmax") for s in rule.settings))
    score, cost = (np.vstack(pair) for pair in zip(curve.columns, rule.columns, strict=True))
    return Curve(settings, SettingRows(score, cost), curve.rows)


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        (((12.0, 0.92), (6.0, 0.88), (5.0, 0.70), (3.0, 0.75)), None),  # as good as the plans: these stay
        (((12.0, 0.92), (6.0, 0.89), (5.0, 0.70), (3.0, 0.76)), "argmax"),
        (
            ((12.0, 0.99), (6.0, 0.60), (5.0, 0.70), (2.9, 0.75)),
            None,
        ),  # one point is better, the others worse
    ],
)
def test_settings_are_of_the_plans_or_of_the_rule_whichever_gains_more(
    points: Sequence[tuple[float, float]], kind: str | None
) -> None:
    curve = with_rule(CURVE, curve_at((0.0, 0.1, 0.2, 0.3), *points))
    choices = settings_worth_having(curve, TIERS, SINGLES)
    settings = [c.setting for c in choices if isinstance(c.setting, CostWeight)]
    assert {s.rule for s in settings} == {kind}
    own = CURVE if kind is None else curve_at((0.0, 0.1, 0.2, 0.3), *points)
    assert [c.point for c in choices] == [c.point for c in settings_worth_having(own, TIERS, SINGLES)]
