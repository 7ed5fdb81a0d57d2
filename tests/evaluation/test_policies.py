"""The policies that are compared: their names, what they need, and what they do on held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparisons import asking, compared, halves, three_tiers
from known import draw_table, table_of
from msgspec.structs import replace

from automix_cli.errors import UsageError
from automix_cli.evaluation.answer_policies import Pomdp, PomdpQuery
from automix_cli.evaluation.baseline_policies import RandomMix, SingleTier
from automix_cli.evaluation.crossfit import Curve, singles
from automix_cli.evaluation.gates import missed_gates, read_gates
from automix_cli.evaluation.objective import Objective, best_source, choose_each
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.policy_entry import replay_assigned, why_unable
from automix_cli.evaluation.query_policies import Query
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, ClassSource
from automix_cli.pomdp.rules import QuestionPolicy


def test_names_stand_for_their_rules_and_single_tiers_are_always_there() -> None:
    known = all_policies(("a", "b"))
    names = [c.name for c in pick_policies("multilabel, pomdp", known)]
    assert names == [
        "always:a",
        "always:b",
        *(f"multilabel:{r}" for r in ("argmax", "random", "prediction", "sorted")),
        "pomdp",
    ]
    assert len(pick_policies("all", known)) == len(known)
    with pytest.raises(UsageError, match="did you mean threshold"):
        pick_policies("treshold", known)
    with pytest.raises(UsageError) as caught:
        pick_policies("pomdp+class", known)
    assert caught.value.hint == "--class-column names it"
    assert (
        pick_policies("pomdp+class", all_policies(("a", "b"), class_column="topic"))[-1].name == "pomdp+class"
    )


def test_who_cannot_take_part_says_why() -> None:
    mute = table_of([{"tiers": {"a": {"score": 1, "cost": 1}, "b": {"score": 0, "cost": 2}}}])
    why = {c.name: why_unable(c, mute) for c in all_policies(("a", "b"))}
    assert why["threshold"] == "no votes and no confidence are recorded"
    assert why["knn"] == "no question texts are recorded"
    assert why["pomdp"] == why["oracle"] == why["always:a"] == ""
    assert why_unable(RandomMix(), mute.pick(["a"])).startswith("there is one tier")


def test_a_random_mix_is_the_mean_of_its_tiers_weighted_by_their_shares() -> None:
    split = halves(draw_table(three_tiers(), 120, 0))
    trained, alone = RandomMix().train(split), singles(split.test)
    names = split.train.tiers
    for place, setting in enumerate(trained.curve.settings):
        one, other = names.index(setting.cheaper), names.index(setting.dearer)
        weights = np.zeros(3)
        weights[one], weights[other] = 1 - setting.share, setting.share
        run = trained.play(setting, None)
        assert run.score == pytest.approx(alone.score @ weights)
        assert run.cost == pytest.approx(alone.cost @ weights)
        assert run.reports == pytest.approx(np.tile(weights, (len(split.test), 1)))
        assert not run.escalated.any()
        assert trained.curve.columns.score[place] == pytest.approx(split.alone.score @ weights)
    shares = [s.share for s in trained.curve.settings if s.dearer == "large"]
    assert shares == [k / 20 for k in range(21)]


# ------------------------------------------------------------------ rows on which a tier failed


def failing(rows: int = 160) -> list[dict[str, Any]]:
    """The small tier gives no answer on every fifth row, no tier on every twentieth."""
    drawn = asking(rows)
    for i, row in enumerate(drawn):
        for tier, every in (("small", 5), ("medium", 20)):
            if i % every == 0:
                row["tiers"][tier] = {"failed": "filtered", "cost": 0.5}
    return drawn


def test_a_single_tier_that_fails_scores_0_at_its_cost_and_nothing_comes_after_it() -> None:
    table = table_of(failing())
    split = halves(table)
    run = SingleTier("small").train(split).play(Always("small"), None)
    failed = split.test.failed[:, 0]
    assert failed.sum() > 10
    assert (run.score[failed] == 0).all()
    assert (run.cost[failed] == 0.5).all()
    assert not run.asks[:, 1].any()
    result = compared(table, "oracle")
    assert result.outcome("always:small").measures["quality"].value == pytest.approx(
        split.test.score[:, 0].mean()
    )


def test_a_router_goes_on_to_the_next_tier_where_the_one_it_chose_fails() -> None:
    table = table_of(failing())
    chances = np.tile([0.75, 0.25], (len(table), 1))
    run = replay_assigned(table, None, chances, escalates=True, abstain_value=0.1)
    by_question = QuestionPolicy(rewards=((0, 1), (0, 1)), costs=(1, 20), cost_weight=0.0)

    def sure_of(rows: int, tier: int) -> np.ndarray:
        return np.tile(np.where(np.arange(2) == tier, 3.0, -3.0), (rows, 1))

    live = [
        replay(by_question, replace(table, question_logits=sure_of(len(table), tier)), abstain_value=0.1)
        for tier in range(2)
    ]
    for name in ("score", "cost", "reports", "asks", "abstained", "escalated", "pairs"):
        mean = 0.75 * getattr(live[0], name) + 0.25 * getattr(live[1], name)
        assert getattr(run, name) == pytest.approx(mean), name
    assert run.abstained.max() == 1
    assert 0 < run.escalated.max() < 1


@pytest.mark.parametrize("name", ["threshold", "double-threshold", "paper-pomdp", "pomdp", "pomdp+query"])
@pytest.mark.parametrize("case", ["plain", "failures", "lengths"])
def test_settings_played_at_once_do_what_each_does_alone(name: str, case: str) -> None:
    rows = failing() if case == "failures" else asking(160)
    if case == "lengths":
        for i, row in enumerate(rows):
            for cell in row["tiers"].values():
                cell["input_tokens"] = (20, 90, 400, 3000)[i % 4]
                cell["cost"] *= cell["input_tokens"] / 100
    table = table_of(rows)
    (entry,) = (e for e in all_policies(table.tiers, "kmeans") if e.name == name)
    trained = entry.train(halves(table))
    settings = [c for k, c in enumerate(trained.curve.settings) if k % 3 == 0]
    for setting, run in zip(settings, trained.play_all(settings), strict=True):
        alone = trained.play(setting, None)
        for field in ("rows", "score", "cost", "reports", "asks", "votes"):
            assert getattr(run, field) == pytest.approx(getattr(alone, field), abs=1e-12), field
        assert np.isnan(run.latency).all()
        assert trained.seconds(setting, 0) > 0


# ------------------------------------------------------------------ query-side routers


def test_chances_of_a_rule_are_how_often_it_picks_a_tier() -> None:
    table = table_of([{**row, "tiers": row["tiers"] | {"x": row["tiers"]["medium"]}} for row in asking(120)])
    router, questions, times = halves(table).reader("multilabel").router, 20, 900
    probs = np.random.default_rng(0).uniform(0.1, 0.8, (questions, 3))
    for rule in router.rules:
        chances = router.chances(probs, rule, cost_weight=0.01)
        ids = ([f"{time}-{i}" for i in range(questions)] for time in range(times))
        picks = np.stack([router.choose(probs, rule, cost_weight=0.01, ids=own) for own in ids])
        shares = np.stack([(picks == tier).mean(axis=0) for tier in range(3)], axis=1)
        assert chances.sum(axis=1) == pytest.approx(np.ones(questions))
        assert shares == pytest.approx(chances, abs=4 * np.sqrt(0.25 / times))
    assert (router.chances(probs, "random", cost_weight=0.01).max(axis=1) < 1).any()


def test_a_query_side_router_that_sees_what_matters_beats_the_mix() -> None:
    """And the verdict is about it, because without votes `pomdp` has no answers to judge."""
    rows = asking(400)
    for row in rows:
        del row["tiers"]["small"]["votes"]
    result = compared(table_of(rows), "multilabel:argmax,bound:multilabel,pomdp")
    routed = result.outcome("multilabel:argmax").measures
    assert routed["gain_area"].low > 0
    bound = result.outcome("bound:multilabel").measures
    assert bound["quality"].value >= routed["quality"].value
    assert result.headline == "multilabel:argmax"
    assert missed_gates(read_gates("votes>0"), result)[0].startswith("pomdp.votes is 0")
    assert set(result.outcome("always:small").slices) == {"colours", "others"}


@pytest.mark.parametrize("mute", [False, True], ids=["telling words", "no word tells"])
def test_the_router_of_the_prior_is_chosen_in_training_and_stands_in_the_setting(mute: bool) -> None:
    """As `calibrate` chooses it: where all questions are alike, no router serves better than none."""
    rows = asking(300)
    alike = [{**row, "question": "the same?"} for row in rows]
    table = table_of(alike, group_column="id") if mute else table_of(rows)
    split = halves(table)
    objective = Objective("keep", 0.95)
    curves: dict[ClassSource, Curve] = {"none": Pomdp().train(split).curve}
    for kind in QUERY_ROUTER_KINDS:
        curves[kind] = PomdpQuery(kind, objective).train(split).curve
    each = choose_each(curves, table.tiers, split.alone, objective, split.resamples)
    best = best_source(each, split.alone.points(), objective)
    assert (best == "none") == mute
    auto = PomdpQuery("auto", objective).train(split)
    assert auto.curve.points == curves[best].points
    assert {setting.query_router for setting in auto.curve.settings} == {best}
    same = PomdpQuery(best, objective).train(split)
    for named, setting in list(zip(auto.curve.settings, same.curve.settings, strict=True))[::7]:
        assert auto.play(named, None).cost.tolist() == same.play(setting, None).cost.tolist()


def test_a_row_decided_alone_is_decided_as_among_others() -> None:
    table = table_of(asking(200))
    split = halves(table)
    for rule in ("argmax", "random", "prediction"):
        trained = Query("multilabel", rule).train(split)
        for setting in trained.curve.settings[::8]:
            whole = trained.play(setting, None)
            alone = [trained.play(setting, np.array([i])).reports[0].tolist() for i in range(10)]
            assert alone == whole.reports[:10].tolist()
