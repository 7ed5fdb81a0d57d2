"""What is learned from rows: against hand counts, known models and direct optimisation."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from known import draw_rows, draw_table, table_of, two_tiers, votes

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.fitting import confidence, prior
from automix_cli.fitting.confidence import fit_bins, quantile_cuts
from automix_cli.fitting.fit import fit, fit_cost
from automix_cli.fitting.fitted import Fitted, Scores
from automix_cli.fitting.router_block import Settings
from automix_cli.fitting.votes import fit_shapes, votes_log_likelihood
from automix_cli.pomdp.model import Cost, Model, TierModel
from automix_cli.pomdp.observations import (
    NO_OBSERVATIONS,
    ConfidenceObservations,
    ConsistencyObservations,
    VoteObservations,
)
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts

SETTINGS = Settings(max_votes=6)


# ------------------------------------------------------------------ the prior


def test_independent_is_the_product_of_smoothed_marginals_by_hand() -> None:
    # 3 rows: tier 0 right in 2, tier 1 right in 1; marginals 2.5/4 and 1.5/4
    counts = np.array([1.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(
        prior.independent(counts), [0.375 * 0.625, 0.625 * 0.625, 0.375 * 0.375, 0.625 * 0.375]
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_pseudo_counts_are_those_under_which_left_out_rows_are_likeliest(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, 8).astype(float)
    weights = prior.weight_grid(int(counts.sum()))
    by_hand = []
    for alpha in weights:
        total = 0.0
        for state in range(8):
            if counts[state]:
                left = counts.copy()
                left[state] -= 1
                chance = prior.shrunk(left, prior.independent(left), float(alpha))[state]
                total += counts[state] * math.log(chance)
        by_hand.append(total)
    assert prior.choose_alpha(counts) == weights[int(np.argmax(by_hand))]


def test_tiers_that_are_independent_are_drawn_harder_to_the_product_than_tiers_that_are_not() -> None:
    independent, dependent = np.array([16.0, 24.0, 24.0, 36.0]), np.array([40.0, 0.0, 0.0, 60.0])
    assert prior.choose_alpha(independent) > 10 * prior.choose_alpha(dependent)


def test_classes_alike_are_drawn_together_and_classes_apart_are_not() -> None:
    alike = np.array([[10.0, 10.0, 10.0, 70.0]] * 3)
    apart = np.array([[70.0, 10.0, 10.0, 10.0], [10.0, 10.0, 10.0, 70.0], [10.0, 70.0, 10.0, 10.0]])
    assert prior.choose_kappa(alike, 1.0) > 20 * prior.choose_kappa(apart, 1.0)


# ------------------------------------------------------------------ votes


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


def test_votes_that_could_not_be_read_give_a_smoothed_rate_and_none_gives_zero() -> None:
    model = replace(
        two_tiers(), tiers=(replace(two_tiers().tiers[0], observation=votes(1, 2, 2, 1, 0.2)), TierModel())
    )
    seen = fit(draw_table(model, 300, 0), SETTINGS).tiers[0].observation
    assert isinstance(seen, VoteObservations)
    assert seen.unparsed == pytest.approx(0.2, abs=0.03)
    clean = fit(draw_table(two_tiers(), 300, 0), SETTINGS).tiers[0].observation
    assert isinstance(clean, VoteObservations)
    assert clean.unparsed == 0.0


# ------------------------------------------------------------------ does the last tier show?


def easy_and_hard(rows: int, seed: int, *, shows: bool) -> TraceTable:
    """Wrong answers get more CORRECT votes where the large tier is right, or do not."""
    four = ((1.0, 6.0), (5.0, 2.0) if shows else (1.0, 6.0), (3.0, 1.0), (3.0, 1.0))
    small = TierModel(
        observation=VoteObservations(shapes=four), max_votes=6, answer=Cost(1.0), vote=Cost(0.1)
    )
    model = Model(tiers=(small, TierModel(answer=Cost(9.0))), priors=((0.3, 0.1, 0.3, 0.3),))
    drawn = draw_rows(model, rows, seed)
    rng = np.random.default_rng(seed)
    for row in drawn:  # `draw_rows` knows cells of the tier alone: draw these votes anew
        own, last = row["tiers"]["small"]["score"], row["tiers"]["medium"]["score"]
        chance = rng.beta(*four[2 * own + last])
        row["tiers"]["small"]["votes"] = [int(v) for v in rng.random(6) < chance]
    return table_of(drawn)


def test_the_last_tiers_rightness_enters_an_observation_only_where_it_shows() -> None:
    for shows, cells in ((True, 4), (False, 2)):
        found = [
            fit(easy_and_hard(600, seed, shows=shows), SETTINGS).tiers[0].observation for seed in range(4)
        ]
        assert [len(o.shapes) for o in found if isinstance(o, VoteObservations)] == [cells] * 4


# ------------------------------------------------------------------ bins


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
        shares = confidence._penalised(hits, rows, curve)[0]

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


def confidence_rows(rows: int, seed: int, **extra: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(rows):
        small, large = rng.random() < 0.6, rng.random() < 0.9
        value = float(rng.beta(4, 2) if small else rng.beta(2, 4))
        own = {"score": int(small), "cost": 1, "confidence": value, "vote_cost": 0.5, **extra}
        found.append({"id": i, "tiers": {"small": own, "large": {"score": int(large), "cost": 20}}})
    return found


def test_a_confidence_is_binned_and_rises_with_rightness() -> None:
    for signal, with_answer, most in (("logprob", True, 0), ("verdict", False, 1)):
        tier = fit(table_of(confidence_rows(2000, 0), signal=signal), Settings()).tiers[0]
        assert isinstance(tier.observation, ConfidenceObservations)
        assert (tier.observation.with_answer, tier.max_votes) == (with_answer, most)
        wrong, right = np.array(tier.observation.probabilities).reshape(
            2, -1, len(tier.observation.cuts) + 1
        )[:, 0]
        ratio = right / wrong
        assert ratio[-1] > 4 * ratio[len(ratio) // 2] > 16 * ratio[0]


def test_a_confidence_that_is_missing_for_wrong_answers_says_so() -> None:
    rows = confidence_rows(400, 1)
    gone = [row["tiers"]["small"] for row in rows if not row["tiers"]["small"]["score"]][:60]
    for own in gone:
        del own["confidence"]
    seen = fit(table_of(rows, signal="logprob"), Settings()).tiers[0].observation
    assert isinstance(seen, ConfidenceObservations)
    half = len(seen.missing) // 2
    assert min(seen.missing[:half]) > 0.2
    assert max(seen.missing[half:]) < 0.03


def test_samples_that_agree_are_counted_per_right_and_wrong() -> None:
    rows = confidence_rows(300, 2)
    for row in rows:
        own = row["tiers"]["small"]
        own["confidence"] = 1.0 if own["score"] else 0.4
        own["samples"] = ["x"] * 5
    tier = fit(table_of(rows), Settings()).tiers[0]
    assert isinstance(tier.observation, ConsistencyObservations)
    cells = tier.observation.probabilities
    assert min(cell[1] for cell in cells[: len(cells) // 2]) > 0.9
    assert min(cell[4] for cell in cells[len(cells) // 2 :]) > 0.9
    assert tier.max_votes == 0


# ------------------------------------------------------------------ costs and rewards


def test_a_cost_that_grows_with_the_prompt_is_a_line_and_one_that_does_not_is_its_mean() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(50, 4000, 200).astype(float)
    line = fit_cost(0.001 + 2e-6 * tokens + rng.normal(0, 1e-4, 200), tokens)
    assert line.fixed == pytest.approx(0.001, abs=1e-4)
    assert line.per_token == pytest.approx(2e-6, rel=0.05)
    noise = rng.random(200)
    assert fit_cost(noise, tokens) == Cost(float(noise.mean()))
    assert fit_cost(noise, np.full(200, 7.0)).per_token == 0
    assert fit_cost(np.array([np.nan, 2.0, 4.0]), np.full(3, np.nan)) == Cost(3.0)
    steep = fit_cost(2e-6 * tokens - 1e-4, tokens)
    assert steep.fixed == 0
    assert steep.at(float(tokens.mean())) == pytest.approx(float((2e-6 * tokens - 1e-4).mean()))


def test_planned_costs_have_the_mean_of_the_recorded_ones() -> None:
    rows = draw_rows(two_tiers(), 100, 0)
    rng = np.random.default_rng(0)
    for row in rows:
        tokens = int(rng.integers(100, 3000))
        for own in row["tiers"].values():
            own["input_tokens"], own["cost"] = tokens, own["cost"] * (0.3 + tokens / 1000)
    table = table_of(rows)
    fitted = fit(table, SETTINGS)
    for j, tier in enumerate(fitted.tiers):
        assert tier.answer.per_token > 0
        assert tier.answer.at(fitted.mean_tokens) == pytest.approx(table.mean_cost[j])


def test_mean_scores_are_shrunk_with_two_answers_of_one_and_of_zero() -> None:
    rows = [
        {"id": i, "tiers": {"s": {"score": score, "cost": 1}}}
        for i, score in enumerate([1.0, 0.7, 0.5, 0.4, 0.0])
    ]
    tier = fit(table_of(rows), Settings()).tiers[0]
    assert tier.right == Scores(2.2, 3)
    assert tier.wrong == Scores(0.4, 2)
    model = tier.model(8)
    assert model.right == pytest.approx((2.2 + 2) / 5)
    assert model.wrong == pytest.approx(0.4 / 4)


# ------------------------------------------------------------------ little data


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_few_rows_give_a_model_that_can_be_planned_with(rows: int) -> None:
    table = draw_table(two_tiers(), 12, 3)
    table = table.subset(np.arange(12)[:rows])
    fitted = fit(table, SETTINGS)
    assert fitted.rows == rows
    assert PomdpPolicy(fitted.model(0.01, SETTINGS)).forecast().value > -1
    assert fitted.tiers[0].observation == NO_OBSERVATIONS
    if rows == 0:
        assert fitted.priors() == ((0.25,) * 4,)
        assert fitted.notes == ()


def test_fewer_than_five_rows_of_a_class_and_votes_are_not_used_which_is_said() -> None:
    rows = draw_rows(two_tiers(), 400, 0)
    right = [row for row in rows if row["tiers"]["small"]["score"]]
    wrong = [row for row in rows if not row["tiers"]["small"]["score"]]
    four, five = (fit(table_of([*right, *wrong[:n]]), SETTINGS) for n in (4, 5))
    assert four.notes == ("small: votes not used: only 4 wrong answers, 5 needed",)
    assert four.tiers[0].observation == NO_OBSERVATIONS
    assert five.notes == ()
    assert isinstance(five.tiers[0].observation, VoteObservations)
    other = fit(table_of([*right[:3], *wrong]), SETTINGS)
    assert other.notes == ("small: votes not used: only 3 right answers, 5 needed",)


def test_fewer_votes_on_some_row_than_the_profile_allows_are_said() -> None:
    fitted = fit(draw_table(two_tiers(), 200, 0), Settings(max_votes=8))
    assert fitted.tiers[0].max_votes == 6
    assert fitted.notes == ("small: at most 6 votes are planned: some row holds no more",)
    assert fitted.model(0.0, Settings(max_votes=2)).tiers[0].max_votes == 2


def test_a_tier_without_any_signal_is_said() -> None:
    rows = [
        {"id": i, "tiers": {"s": {"score": i % 2, "cost": 1}, "l": {"score": 1, "cost": 2}}}
        for i in range(30)
    ]
    assert fit(table_of(rows), Settings()).notes == ("s: no confidence recorded",)


def test_costs_that_nobody_recorded_are_an_error_with_the_option_that_gives_them() -> None:
    rows = draw_rows(two_tiers(), 60, 0)
    for row in rows:
        del row["tiers"]["small"]["vote_cost"]
    with pytest.raises(DataError, match="a vote of tier 'small'") as caught:
        fit(table_of(rows), SETTINGS)
    assert caught.value.hint == "--vote-costs small=1"
    for row in rows:
        del row["tiers"]["medium"]["cost"]
    with pytest.raises(DataError, match="an answer of tier 'medium'"):
        fit(table_of(rows, vote_costs={"small": 1.0}), SETTINGS)


# ------------------------------------------------------------------ all of it


def test_what_was_fitted_survives_the_round_trip_through_json() -> None:
    for table in (
        draw_table(two_tiers(), 200, 0),
        table_of(confidence_rows(300, 0), signal="logprob"),
        easy_and_hard(600, 0, shows=True),
    ):
        fitted = fit(table, SETTINGS)
        again = Fitted.from_dict(json.loads(json.dumps(fitted.to_dict())))
        assert again == fitted
        assert again.model(0.01, SETTINGS) == fitted.model(0.01, SETTINGS)


def test_classes_have_priors_of_their_own() -> None:
    table = draw_table(two_tiers(), 400, 0)
    classes = table.score[:, 0].astype(int)
    fitted = fit(replace(table, question_classes=classes, n_classes=2), SETTINGS)
    wrong, right = (PomdpPolicy(fitted.model(0.0, SETTINGS)).model.prior(cell) for cell in (0, 1))
    assert wrong[[1, 3]].sum() < 0.1
    assert right[[1, 3]].sum() > 0.9
    assert Fitted.from_dict(fitted.to_dict()) == fitted
    policy = fitted.policy(0.01, SETTINGS)
    assert policy.action(policy.begin(Facts(question_class=0))) == Action("start", 1)
    assert policy.action(policy.begin(Facts(question_class=1))) == Action("start", 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row.pop("prior"),
        lambda row: row["prior"].pop("alpha"),
        lambda row: row["prior"].update(counts=[[1, 2, 3]]),
        lambda row: row["prior"].update(counts="many"),
        lambda row: row["observations"].update(small=None),
        lambda row: row["observations"]["small"].update(right=[1]),
        lambda row: row["observations"]["small"]["observation"].update(shapes=[]),
        lambda row: row["observations"]["small"]["costs"].update(answer=["much", 1]),
    ],
)
def test_a_router_block_that_was_tampered_with_is_refused(damage: Any) -> None:
    row = json.loads(json.dumps(fit(draw_table(two_tiers(), 100, 0), SETTINGS).to_dict()))
    damage(row)
    with pytest.raises(DataError):
        Fitted.from_dict(row)


def test_the_fit_does_not_depend_on_the_order_in_which_votes_were_recorded() -> None:
    rows = draw_rows(two_tiers(), 100, 0)
    for row in rows:
        row["tiers"]["small"]["votes"].sort()
    assert fit(table_of(rows), SETTINGS) == fit(draw_table(two_tiers(), 100, 0), SETTINGS)
