"""A promise that is kept as often as it says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from exact import expectation
from known import draw_rows, draw_table, table_of, two_tiers
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.calibrate import calibrate
from automix_cli.evaluation.certificate import Certificate, certify, halves, questions_needed
from automix_cli.evaluation.certified import with_certificate
from automix_cli.evaluation.crossfit import Crossfit, singles
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.sequences import capital
from automix_cli.evaluation.settings import Always
from automix_cli.evaluation.verdict import edge_of
from automix_cli.fitting.router_block import Settings, policy_from_router
from automix_cli.views.calibration_view import CalibrationView

SETTINGS = Settings(max_votes=6)


def test_bets_against_a_promise_just_broken_reach_ten_in_at_most_a_tenth_of_trials() -> None:
    rng = np.random.default_rng(0)
    keep, share = 0.9, 0.2
    worst = 0.0
    for loss in (-0.9, -0.5):  # gains of 1 make up for losses, so that the mean is exactly 0
        gains = -loss * share / (1 - share)
        won = [capital(np.where(rng.random(300) < share, loss, gains), keep) >= 10 for _ in range(400)]
        worst = max(worst, float(np.mean(won)))
    assert 0 < worst <= 0.1 + 0.027


def test_bets_on_a_promise_kept_win_with_few_rows_when_few_rows_differ() -> None:
    rng = np.random.default_rng(0)
    won = [capital(np.where(rng.random(1000) < 0.02, -0.95, 0.05), 0.95) >= 10 for _ in range(100)]
    assert np.mean(won) > 0.9


def test_capital_does_not_overflow_and_starts_at_one() -> None:
    assert capital(np.array([]), 0.9) == 1.0
    assert capital(np.full(50, -0.5), 0.9) == 1.0
    assert np.isfinite(capital(np.ones(100_000), 0.9))


def test_the_promise_is_kept_and_a_policy_is_found_on_rows_from_a_known_model() -> None:
    model = two_tiers()
    broken = routed = 0
    for seed in range(12):
        certificate = certify(draw_table(model, 1500, seed), SETTINGS, keep=0.95, confidence=0.9, seed=seed)
        assert certificate.best == "medium"
        if not certificate.routes:
            continue
        routed += 1
        weight = certificate.setting.value
        score, cost = expectation(
            certificate.fitted.policy(weight, SETTINGS), replace(model, cost_weight=0.0)
        )
        broken += score < 0.95 * 0.85
        assert cost < 20
    assert routed >= 10
    assert broken <= 3


def test_what_is_said_of_a_certified_router_is_said_of_the_one_that_is_written() -> None:
    """Its plan has the parameters of one half; quality, cost and verdict are those of the other."""
    table = draw_table(two_tiers(), 800, 1)
    proof = certify(table, SETTINGS, keep=0.9, confidence=0.9)
    assert proof.routes
    plain = calibrate(table, SETTINGS, Objective("keep", 0.9), options=Crossfit(repeats=1, folds=3))
    result = with_certificate(plain, table, proof)
    block = result.router()
    policy = policy_from_router(json.loads(json.dumps(block)), SETTINGS, table.tiers)
    assert (block["kind"], block["cost_weight"]) == ("pomdp", proof.setting.value)
    assert policy.plan().decisions() == proof.fitted.policy(proof.setting.value, SETTINGS).plan().decisions()
    assert block["fitted"]["rows"] == 400
    assert block["fitted"]["certificate"] == {
        "keep": 0.9,
        "confidence": 0.9,
        "best": "medium",
        "questions": 400,
    }
    half, rest = halves(table, 0)
    assert set(half.group_keys).isdisjoint(rest.group_keys)
    run = replay(policy, rest)
    ours, single = (next(f for f in result.figures if f.name == n) for n in ("pomdp", "always:medium"))
    assert (ours.cost.value, ours.quality.value) == pytest.approx((run.cost.mean(), run.score.mean()))
    assert block["fitted"]["held_out"]["pomdp"] == [ours.cost.value, ours.quality.value]
    assert single.quality.value == pytest.approx(rest.score[:, 1].mean())
    edge = edge_of(run.score, run.cost, *singles(rest), Resamples.of_table(rest, 0))
    assert (result.verdict.edge, result.verdict.low) == pytest.approx((edge.value, edge.low))
    view = CalibrationView(result, table, "rows.jsonl")
    [sentence] = [view.sentence()]
    assert sentence.startswith(
        "Certified: keeps at least 90 % of the quality of medium on new questions with"
    )
    assert "are of the 400 questions that prove it" in sentence
    assert f"${1000 * ours.cost.value:,.2f} per 1,000 questions" in view.payer_lines()[0]
    assert view.to_dict()["certificate"] == {
        "certified": True,
        "keep": 0.9,
        "confidence": 0.9,
        "best": "medium",
        "setting": {"cost_weight": proof.setting.value},
        "questions": 400,
        "rows": {"fit": 400, "test": 400},
        "labels": None,
    }
    doubted = replace(result, verdict=result.verdict._replace(kind="do not route"))
    assert doubted.router()["kind"] == "pomdp", "what was promised is written"


def test_a_plan_that_costs_no_less_than_the_best_tier_is_no_router_that_was_certified() -> None:
    """Without votes it asks both tiers and reports the dearer one: that keeps the promise, and no money."""
    table = draw_table(two_tiers(), 300, 1)
    no_votes = np.zeros((300, 3), dtype=np.int16)
    useless = replace(
        table,
        votes=np.zeros_like(table.votes),
        recorded_votes=tuple(votes.of(no_votes) for votes in table.recorded_votes),
    )
    proof = certify(useless, SETTINGS, keep=0.98, confidence=0.9)
    first = proof.trials[0]
    assert first.is_best
    assert first.capital == math.inf
    assert first.cost > 20
    assert (proof.setting, proof.routes) == (Always("medium"), False)


def test_rows_of_the_certify_half_may_hold_fewer_votes_than_those_of_the_other() -> None:
    table = draw_table(two_tiers(), 200, 1)
    _, rest = halves(table, 0)
    short = int(np.flatnonzero(table.ids == rest.ids[0])[0])
    votes = table.votes.copy()
    votes[short, 0] = (1, 0, 0)
    recorded = (table.recorded_votes[0].of(votes[:, 0]), *table.recorded_votes[1:])
    proof = certify(replace(table, votes=votes, recorded_votes=recorded), SETTINGS, keep=0.7, confidence=0.9)
    assert proof.fitted.tiers[0].max_votes == 1


def test_tests_are_in_rising_order_and_stop_at_the_first_failure() -> None:
    certificate = certify(draw_table(two_tiers(), 800, 1), SETTINGS, keep=0.95, confidence=0.9)
    weights = [trial.setting.value for trial in certificate.trials]
    assert weights == sorted(weights)
    assert all(trial.capital >= 10 for trial in certificate.trials[:-1])
    assert certificate.trials[-1].capital < 10
    assert certificate.setting == certificate.trials[-2].setting
    assert certificate.fitted.rows == certificate.questions == 400


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_with_few_rows_it_declines_and_names_how_many_labels_would_do(rows: int) -> None:
    table = draw_table(two_tiers(), 60, 0)
    certificate = certify(table.subset(np.arange(60)[:rows]), SETTINGS, keep=0.98, confidence=0.9)
    assert not certificate.routes
    assert certificate.setting == Always(certificate.best)
    assert certificate.labels is not None
    assert certificate.labels > 500


def test_more_confidence_needs_more_labels() -> None:
    table = draw_table(two_tiers(), 60, 0)
    labels = [certify(table, SETTINGS, keep=0.98, confidence=p).labels for p in (0.8, 0.9, 0.99)]
    assert all(n is not None for n in labels)
    assert labels == sorted(n for n in labels if n is not None)
    assert len(set(labels)) == 3


# ------------------------------------------------------------------ copies


def copied_table(questions: int, copies: int, seed: int) -> TraceTable:
    """Questions drawn from the model, each with all that was recorded of it several times."""
    once = draw_rows(two_tiers(), questions, seed)
    rows = [
        row | {"id": f"{row['id']}-{k}", "question": f"q {row['id']}"} for k in range(copies) for row in once
    ]
    return table_of(rows, tiers=("small", "medium"))


def test_copies_do_not_prove_what_their_questions_alone_do_not() -> None:
    def certificates(copies: int) -> list[Certificate]:
        tables = [copied_table(100, copies, seed) for seed in range(20)]
        return [certify(t, SETTINGS, keep=0.95, confidence=0.9, seed=s) for s, t in enumerate(tables)]

    once, eight_times = certificates(1), certificates(8)
    assert {c.questions for c in eight_times} == {50}
    assert sum(c.routes for c in eight_times) <= sum(c.routes for c in once) + 1


def test_neither_ids_nor_the_order_of_rows_change_a_certificate() -> None:
    rows = [row | {"question": f"q {row['id']}"} for row in draw_rows(two_tiers(), 300, 0)]
    order = np.random.default_rng(0).permutation(len(rows))
    one = certify(table_of(rows), SETTINGS, keep=0.9, confidence=0.9)
    other = certify(
        table_of([rows[i] | {"id": f"new {i}"} for i in order]), SETTINGS, keep=0.9, confidence=0.9
    )
    assert [t.setting for t in other.trials] == [t.setting for t in one.trials]
    for a, b in zip(one.trials, other.trials, strict=True):
        assert b[1:] == pytest.approx(a[1:], abs=1e-9)


# ------------------------------------------------------------------ before anything is spent


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.98, 0.999])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
def test_the_fewest_questions_are_those_whose_bets_just_win_when_nothing_is_lost(
    keep: float, confidence: float
) -> None:
    bets = (questions_needed(keep, confidence) + 1) // 2
    goal = 1 / (1 - confidence)
    assert capital(np.full(bets, 1 - keep), keep) >= goal * (1 - 1e-9)
    assert capital(np.full(bets - 1, 1 - keep), keep) < goal
    rng = np.random.default_rng(0)
    losing = np.where(rng.random(bets) < 0.01, -keep, 1 - keep)
    losing[0] = -keep
    assert capital(losing, keep) < goal
