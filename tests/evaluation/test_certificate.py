"""A promise that is kept as often as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exact import expectation
from known import draw_table, two_tiers

from automix_cli.evaluation.certificate import capital, certify
from automix_cli.evaluation.settings import Always
from automix_cli.fitting.router_block import Settings

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
    won = [capital(np.where(rng.random(1000) < 0.02, -0.95, 0.05), keep=0.95) >= 10 for _ in range(100)]
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


def test_tests_are_in_rising_order_and_stop_at_the_first_failure() -> None:
    certificate = certify(draw_table(two_tiers(), 800, 1), SETTINGS, keep=0.95, confidence=0.9)
    weights = [trial.setting.value for trial in certificate.trials]
    assert weights == sorted(weights)
    assert all(trial.capital >= 10 for trial in certificate.trials[:-1])
    assert certificate.trials[-1].capital < 10
    assert certificate.setting == certificate.trials[-2].setting
    assert certificate.fitted.rows == certificate.rows == 400


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
