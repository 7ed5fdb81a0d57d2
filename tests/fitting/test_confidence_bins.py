"""Bins of a confidence: smooth shares, against the slope of what they maximise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from automix_cli.fitting import confidence
from automix_cli.fitting.confidence import fit_bins, quantile_cuts


def folds(hits: list[float], rows: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([hits] * 5), np.full((5, len(hits)), rows)


def test_shares_that_rise_become_a_line_of_log_odds_and_equal_ones_a_constant() -> None:
    truth, worst, rising, flat = 1 / (1 + np.exp(-np.linspace(-2, 2, 20))), [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = confidence.smooth_shares(*drawn_shares(rng, truth))
        rising.append((np.diff(found) > 0).all())
        worst.append(np.abs(found - truth).max())
        flat.append(np.ptp(confidence.smooth_shares(*drawn_shares(rng, np.full(20, 0.6)))))
    assert np.mean(rising) >= 0.8
    assert np.mean(worst) < 0.08
    assert np.median(flat) < 1e-4


def drawn_shares(rng: np.random.Generator, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rng.binomial(3, truth, (5, 20)).astype(float), np.full((5, 20), 3.0)


def test_smoothing_gives_way_to_many_rows_and_leaves_nothing_impossible() -> None:
    bent = [0.5, 0.9, 0.5, 0.1, 0.5, 0.9]
    hits, rows = folds([1e5 * share for share in bent], 1e5)
    np.testing.assert_allclose(confidence.smooth_shares(hits, rows), bent, atol=0.01)
    never = confidence.smooth_shares(*folds([0.0, 0.0, 0.0], 50.0))
    assert (never > 0).all()
    assert (never < 0.02).all()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_penalised_shares_are_where_the_slope_of_the_penalised_likelihood_vanishes(
    seed: int, groups: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 20, (1, groups, 9)).astype(float)
    hits = rng.binomial(rows.astype(int), 0.4).astype(float)
    for curve in (*confidence._CURVES[2:], *confidence._WALKS[1:]):
        shares = confidence.fit_penalised(hits, rows, curve)[0]

        def objective(curve_: np.ndarray, level: np.ndarray, rough: confidence.Roughness = curve) -> float:
            p = 1 / (1 + np.exp(-(curve_ + level[:, None])))
            fit_ = ((hits[0] + 0.5 / 9) * np.log(p) + (rows[0] - hits[0] + 0.5 / 9) * np.log(1 - p)).sum()
            bent, risen = (np.diff(curve_, n=2) ** 2).sum(), (np.diff(curve_) ** 2).sum()
            return float(fit_ - 0.5 * (rough.bending * bent + rough.rising * risen))

        odds = np.log(shares / (1 - shares))
        best, level = odds[0], odds.mean(axis=1) - odds[0].mean()
        np.testing.assert_allclose(odds, best + level[:, None], atol=1e-4)  # one curve, at two levels
        for _ in range(20):
            off, apart = 1e-2 * rng.normal(size=9), np.r_[0.0, 1e-2 * rng.normal(size=groups - 1)]
            assert objective(best, level) >= objective(best + off, level + apart) - 1e-9


def test_bins_of_a_cell_have_the_odds_of_its_shares() -> None:
    counts = np.zeros((5, 4, 3))
    counts[:, 0], counts[:, 3] = [30, 20, 10], [10, 20, 30]  # wrong and right, the last tier alike
    wrong, right = fit_bins(counts, alone=True)
    np.testing.assert_allclose(right / wrong, [1 / 3, 1.0, 3.0], rtol=0.02)
    np.testing.assert_allclose([wrong.sum(), right.sum()], 1.0)


def test_bins_tell_of_the_last_tier_only_where_it_shows() -> None:
    counts = np.zeros((5, 4, 3))
    counts[:, 0], counts[:, 1], counts[:, 2], counts[:, 3] = 10.0, 20.0, 5.0, 5.0
    assert fit_bins(counts, alone=False).shape == (2, 3)
    counts[:, 0], counts[:, 1] = [300, 100, 100], [100, 100, 300]
    counts[:, 2], counts[:, 3] = [150, 50, 50], [100, 100, 300]
    four = fit_bins(counts, alone=False)
    for wrong, right in ((four[0], four[1]), (four[2], four[3])):
        odds = right / wrong
        np.testing.assert_allclose(odds / odds[1], [1 / 3, 1.0, 3.0], rtol=0.1)
    assert fit_bins(counts, alone=True).shape == (2, 3)


def test_the_last_tier_is_seen_in_bins_where_it_shows_and_seldom_where_it_does_not() -> None:
    found = {0.0: 0, 2.0: 0}
    for slope, seed in itertools.product(found, range(40)):
        rng = np.random.default_rng(seed)
        last = 1 / (1 + np.exp(-np.linspace(-slope, slope, 12)))
        own = rng.multinomial(60, [1 / 24] * 24, 5).reshape(5, 2, 12)
        right = rng.binomial(own, last)
        found[slope] += confidence.last_tier_shares(np.stack([own - right, right], axis=2)) is not None
    assert found[0.0] <= 3
    assert found[2.0] >= 35


def test_equal_confidences_share_a_bin_and_every_bin_is_met() -> None:
    values = np.array([0.1] * 50 + [0.9] * 40 + list(np.linspace(0.91, 0.99, 10)))
    cuts = quantile_cuts(values)
    bins = np.searchsorted(cuts, values, side="right")
    assert len(set(bins[:50])) == len(set(bins[50:90])) == 1
    assert set(bins) == set(range(len(cuts) + 1))
    assert quantile_cuts(np.array([0.5, 0.5, 0.5])) == ()
    assert len(quantile_cuts(np.random.default_rng(0).random(100_000))) == 19
    assert len(quantile_cuts(np.random.default_rng(0).random(80))) == 9
