"""Votes: BetaBinomials, against direct optimisation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from automix_cli.fitting.votes import fit_shapes, votes_log_likelihood
from automix_cli.pomdp.observations import VoteObservations


def direct_posterior(histogram: np.ndarray, a: float, b: float) -> float:
    """Log posterior of (log a, log b), with gamma functions instead of sums."""
    value = -(math.log(a) ** 2 + math.log(b) ** 2) / (2 * 1.5**2)
    for c, t in itertools.product(range(len(histogram)), repeat=2):
        if histogram[c, t]:
            beta = math.lgamma(a + c) + math.lgamma(b + t - c) - math.lgamma(a + b + t)
            value += histogram[c, t] * (beta - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b))
    return value


@pytest.mark.parametrize("seed", range(12))
def test_shapes_are_the_posterior_mode_of_the_stated_prior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    histogram = np.zeros((9, 9))
    a, b = np.exp(rng.normal(0, 1, 2))
    for _ in range(int(rng.choice([0, 1, 5, 50, 2000]))):
        t = int(rng.integers(1, 9))
        histogram[int(rng.binomial(t, rng.beta(a, b))), t] += 1
    found = fit_shapes(histogram[None])[0]
    best = direct_posterior(histogram, *found)
    for da, db in itertools.product((-0.02, 0.0, 0.02), repeat=2):
        near = np.clip(found * np.exp([da, db]), 0.02, 200)
        assert best >= direct_posterior(histogram, *near) - 1e-9


def test_shapes_of_no_rows_are_uniform_and_extreme_rows_stay_within_the_bounds() -> None:
    nothing, never, halves = np.zeros((3, 9, 9))
    never[0, 8], halves[4, 8] = 1e6, 1e6
    shapes = fit_shapes(np.stack([nothing, never, halves]))
    np.testing.assert_allclose(shapes[0], [1.0, 1.0])
    assert (shapes >= 0.02 - 1e-12).all()
    assert (shapes <= 200 + 1e-9).all()
    assert shapes[1, 0] == pytest.approx(0.02)
    np.testing.assert_allclose(shapes[2], [200.0, 200.0])


def test_shapes_of_many_rows_are_those_they_were_drawn_from() -> None:
    rng = np.random.default_rng(1)
    histogram = np.zeros((9, 9))
    np.add.at(histogram, (rng.binomial(8, rng.beta(2.5, 0.7, 100_000)), 8), 1)
    np.testing.assert_allclose(fit_shapes(histogram[None])[0], [2.5, 0.7], rtol=0.03)


def test_the_likelihood_of_votes_agrees_with_the_observation_model() -> None:
    shapes = np.array([[0.3, 1.7], [2.2, 0.4]])
    logs = votes_log_likelihood(shapes, 4)
    model = VoteObservations(shapes=((0.3, 1.7), (2.2, 0.4)))
    for counts, row in model.table(4, (1,)).row.items():
        expected = model.table(4, (1,)).likelihood[row]
        np.testing.assert_allclose(np.exp(logs[:, counts.value, counts.parsed]), expected, rtol=1e-12)
