"""Resamples and intervals."""

import math

import numpy as np
import pytest

from automix_cli.evaluation.bootstrap import BootstrapFigure, Resamples, interval, mean_figure, quality_gains
from automix_cli.evaluation.curves import Measure


def test_resamples_of_few_rows_draw_as_many_as_there_are() -> None:
    counts = Resamples.of(np.arange(37), seed=0, draws=500).counts
    assert counts.shape == (500, 37)
    assert (counts.sum(axis=1) == 37).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(37), abs=0.25)
    assert counts.var() == pytest.approx(1 - 1 / 37, abs=0.03), "the variance of a multinomial count"


def test_resamples_of_many_rows_are_poisson_weights() -> None:
    counts = Resamples.of(np.arange(20_001), seed=0).counts
    assert counts.shape == (200, 20_001)
    assert len(set(counts.sum(axis=1).tolist())) > 100
    assert counts.mean() == pytest.approx(1, abs=0.003)
    assert counts.var() == pytest.approx(1, abs=0.005)


def test_the_same_seed_gives_the_same_resamples_and_another_others() -> None:
    one, same, other = (Resamples.of(np.arange(50), seed).counts for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("draws", [1, 2, 200, 1000])
def test_an_interval_is_that_of_the_quantiles(draws: int) -> None:
    values = np.random.default_rng(draws).normal(size=draws)
    assert interval(values) == pytest.approx(np.quantile(values, (0.025, 0.975)), rel=1e-12)
    assert all(map(math.isnan, interval([*values, math.nan])))


@pytest.mark.parametrize("rows", [1, 2, 700, 20_001])
def test_means_are_those_of_the_rows_drawn_whatever_is_passed_along(rows: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((rows, 3))
    sample = Resamples.of(np.arange(rows), seed=5, draws=120)
    means = sample.means(values)
    assert means.shape == (len(sample.counts), 3)
    for draw in (0, 17, len(means) - 1):
        expected = np.average(values, axis=0, weights=sample.counts[draw])
        assert means[draw] == pytest.approx(expected, rel=1e-12)
    assert sample.means(values[:, 1]) == pytest.approx(means[:, 1], rel=1e-12)


def test_one_row_resamples_to_itself_and_no_rows_cannot_be() -> None:
    assert Resamples.of(np.arange(1), seed=0, draws=9).means([0.25]).tolist() == [0.25] * 9
    with pytest.raises(ValueError, match="no rows"):
        Resamples.of(np.arange(0), seed=0)


@pytest.mark.parametrize("questions", [40, 20_001])
def test_the_rows_of_a_question_are_drawn_together_by_its_number_alone(questions: int) -> None:
    groups = np.repeat(np.arange(questions), 1 + np.arange(questions) % 3)
    order = np.random.default_rng(0).permutation(len(groups))
    sample, shuffled = Resamples.of(groups, 7, 100), Resamples.of(groups[order], 7, 100)
    by_question = Resamples.of(np.arange(questions), 7, 100)
    np.testing.assert_array_equal(sample.counts, by_question.counts[:, groups])
    np.testing.assert_array_equal(shuffled.counts, sample.counts[:, order])
    values = np.random.default_rng(1).random(len(groups))
    assert shuffled.means(values[order]) == pytest.approx(sample.means(values), abs=1e-12)


def test_copies_do_not_narrow_an_interval() -> None:
    values = np.random.default_rng(0).random(100)
    once = Resamples.of(np.arange(100), 0).means(values)
    assert Resamples.of(np.repeat(np.arange(100), 4), 0).means(np.repeat(values, 4)) == pytest.approx(once)


def test_some_rows_see_the_same_draws_and_a_single_question_has_no_interval() -> None:
    sample = Resamples.of(np.repeat(np.arange(10), 2), 3, 50)
    part = sample.on_rows(np.array([0, 2, 3]))
    assert part is not None
    drawn = part.counts[sample.counts[:, [0, 2]].any(axis=1)]
    np.testing.assert_array_equal(drawn, sample.counts[sample.counts[:, [0, 2]].any(axis=1)][:, [0, 2, 3]])
    assert part.counts.any(axis=1).all()
    assert sample.on_rows(np.array([2, 3])) is None
    assert sample.on_rows(np.array([], dtype=int)) is None


def test_pairing_makes_the_difference_of_equal_policies_exactly_nothing() -> None:
    scores = np.random.default_rng(0).random(300)
    means = Resamples.of(np.arange(300), seed=0).means(np.stack([scores, scores], axis=1))
    assert (means[:, 0] == means[:, 1]).all()
    assert interval(means[:, 0] - means[:, 1]) == (0, 0)


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_the_true_mean_about_95_times_in_a_hundred(paired: bool) -> None:
    rng = np.random.default_rng(2)
    covered, repetitions, truth = 0, 400, -0.1 if paired else 0.3
    for repetition in range(repetitions):
        first = (rng.random(150) < 0.3).astype(float)
        second = np.where(rng.random(150) < 0.25, rng.random(150) < 0.7, first)
        values = first - second if paired else first
        low, high = interval(Resamples.of(np.arange(150), seed=repetition, draws=300).means(values))
        covered += low <= truth <= high
    # nominal 95 %; the percentile interval of 150 rows falls a little short; ±3 standard errors
    assert covered / repetitions == pytest.approx(0.945, abs=3 * math.sqrt(0.95 * 0.05 / repetitions))


def test_poisson_weights_give_the_interval_of_the_exact_resamples() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(20_001)
    width = 2 * 1.96 * scores.std() / math.sqrt(len(scores))
    low, high = interval(Resamples.of(np.arange(20_001), seed=1).means(scores))
    assert high - low == pytest.approx(width, rel=0.25)
    assert (low + high) / 2 == pytest.approx(scores.mean(), abs=width / 5)


def test_the_interval_is_the_percentiles() -> None:
    assert interval(np.arange(101) / 100) == pytest.approx((0.025, 0.975))
    assert interval([0.5]) == (0.5, 0.5)
    assert interval(np.arange(101), level=0.5) == (25, 75)


def test_a_figure_is_bounded_by_the_resamples_in_which_it_is_defined() -> None:
    def bounded(draws: list[float]) -> Measure:
        return BootstrapFigure(0.5, "", np.array(draws)).measure()

    whole = bounded([k / 100 for k in range(101)])
    assert (whole.value, whole.low, whole.high) == pytest.approx((0.5, 0.025, 0.975))
    assert bounded([0.25] * 96 + [math.nan] * 4) == Measure(0.5, "", 0.25, 0.25)
    assert bounded([0.25] * 94 + [math.nan] * 6) == Measure(0.5, "undefined in 6 of 100 resamples")
    assert bounded([math.nan]) == Measure(0.5, "undefined in 1 of 1 resamples")
    assert bounded([]) == Measure(0.5, "too few rows for an interval")
    assert BootstrapFigure.without_value("why").measure() == Measure(None, "why")


def test_a_corrected_figure_is_as_far_from_its_value_as_that_from_its_draws() -> None:
    figure = BootstrapFigure.bias_corrected(0.5, np.array([0.3, 0.5]))
    assert figure.value == pytest.approx(0.6), "0.5, minus the bias of 0.4 - 0.5"
    assert figure.measure() == pytest.approx((0.6, "", 0.6 - 0.196, 0.6 + 0.196))
    apart = mean_figure([figure, BootstrapFigure.bias_corrected(0.5, np.array([0.5, 0.3]))])
    assert apart.measure() == pytest.approx((0.6, "", 0.6, 0.6)), "draws are averaged before they are spread"
    assert BootstrapFigure.bias_corrected(0.5, np.empty(0)).measure().value == 0.5


def test_a_mean_over_splits_has_no_interval_where_one_split_has_too_few_rows_for_it() -> None:
    """As of a data set that has two held-out rows in one split, and many in another."""
    whole = BootstrapFigure(0.5, "", np.array([0.4, 0.6]))
    few = BootstrapFigure(0.7, "", np.empty(0))
    assert mean_figure([whole, few]).measure() == Measure(0.6, "too few rows for an interval")


@pytest.mark.parametrize("questions", [5, 30, 451])
def test_policies_that_came_out_alike_on_every_question_get_the_exact_interval(questions: int) -> None:
    alike = {
        name: BootstrapFigure(1.0, "", np.ones(100)) for name in ("pomdp", "always:small", "always:large")
    }
    gains = quality_gains(alike, ("small", "large"), questions)
    most = gains["pomdp", "large"].high or 0.0
    # With such a share of questions that differ, all of these come out alike in one of forty draws.
    assert (1 - most / 100) ** questions == pytest.approx(0.025)
    assert gains["pomdp", "large"].low == -most
    assert gains["always:large", "large"] == Measure(0.0, "", 0.0, 0.0)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_a_score_that_no_question_moves_gets_the_exact_interval_for_so_many_questions(score: float) -> None:
    figure = BootstrapFigure(score, "", np.full(100, score), questions=40)
    own = figure.measure()
    assert (own.value, own.low) == (score, pytest.approx(score * 0.025 ** (1 / 40)))
    assert own.high == pytest.approx(1 - (1 - score) * 0.025 ** (1 / 40))
    few = figure._replace(questions=10)
    assert mean_figure([figure, few]).measure() == few.measure(), "of the split that has the fewest"
    assert figure._replace(draws=np.array([score - 0.1, score + 0.1])).measure().low == pytest.approx(
        score - 0.095
    ), "draws that differ keep the interval of their percentiles"
