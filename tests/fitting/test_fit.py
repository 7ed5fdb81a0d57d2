"""The fit of whole tables: against hand counts and the models that rows are drawn from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from known import confidence_rows, draw_rows, draw_table, easy_and_hard, table_of, two_tiers, votes
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.fitting.fit import fit, fit_cost
from automix_cli.fitting.fitted import Fitted, Scores
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.model import Cost, TierModel
from automix_cli.pomdp.observations import (
    NO_OBSERVATIONS,
    ConfidenceObservations,
    ConsistencyObservations,
    VoteObservations,
)
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Action, Facts

SETTINGS = Settings(max_votes=6)


# ------------------------------------------------------------------ signals


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


def test_the_last_tiers_rightness_enters_an_observation_only_where_it_shows() -> None:
    for shows, cells in ((True, 4), (False, 2)):
        found = [
            fit(easy_and_hard(600, seed, shows=shows), SETTINGS).tiers[0].observation for seed in range(4)
        ]
        assert [len(o.shapes) for o in found if isinstance(o, VoteObservations)] == [cells] * 4


@pytest.mark.parametrize("rows", [80, 400])
def test_copies_of_every_question_change_no_observation_of_a_signal(rows: int) -> None:
    """Five times the rows are no more evidence, against a prior or for the last tier's rightness."""
    tables = easy_and_hard(rows, 3, shows=True), table_of(confidence_rows(rows, 3))
    for once in tables:
        often = once.subset(np.repeat(np.arange(rows), 5))
        first, second = (fit(table, SETTINGS).tiers[0].observation for table in (once, often))
        assert type(first) is type(second)
        for name in ("shapes", "cuts", "probabilities"):
            if hasattr(first, name):
                assert np.array(getattr(first, name)) == pytest.approx(np.array(getattr(second, name)))


def test_answers_to_copies_of_a_question_are_one_answer_where_a_signal_needs_some() -> None:
    rows = draw_table(two_tiers(), 300, 0)
    wrong = np.flatnonzero(rows.score[:, 0] == 0)[:4]
    right = np.flatnonzero(rows.score[:, 0] == 1)[:40]
    few = rows.subset(np.concatenate([np.repeat(wrong, 9), right]))
    assert "only 4 questions with wrong answers, 5 needed" in " ".join(fit(few, SETTINGS).notes)


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


# ------------------------------------------------------------------ failures


def with_failures(rows: list[dict[str, Any]], chance: float, seed: int, tier: str = "small") -> TraceTable:
    """The rows, on some of which a tier gave no answer and cost nothing."""
    rng = np.random.default_rng(seed)
    for row in rows:
        if rng.random() < chance:
            row["tiers"][tier] = {"failed": "no_text", "cost": 0.0}
    return table_of(rows)


def test_a_fit_finds_how_often_a_tier_fails_and_what_it_is_worth_where_it_does_not() -> None:
    table = with_failures(draw_rows(two_tiers(), 4000, 0), 0.25, 1)
    fitted = fit(table, SETTINGS)
    n_failed = int(table.failed[:, 0].sum())
    small, large = fitted.tiers
    assert small.failed == (n_failed + 0.5) / 4001
    assert small.failed == pytest.approx(0.25, abs=0.03)
    assert large.failed == 0.0
    assert small.right.answers + small.wrong.answers == 4000 - n_failed
    assert large.right.answers + large.wrong.answers == 4000
    assert fitted.priors()[0] == pytest.approx(two_tiers().priors[0], abs=0.03)
    assert small.answer.at(0) == pytest.approx(float(table.cost[:, 0].mean()))
    assert isinstance(small.observation, VoteObservations)
    for shape, truth in zip(small.observation.shapes, ((1.2, 2.5), (4.0, 1.0)), strict=True):
        assert shape[0] / sum(shape) == pytest.approx(truth[0] / sum(truth), abs=0.03)
    assert fitted.model(0.0, SETTINGS).tiers[0].failure == small.failed


def test_votes_are_fitted_beside_a_last_tier_that_fails_rarely_or_mostly() -> None:
    for chance in (0.2, 0.8):
        table = with_failures(draw_rows(two_tiers(), 1000, 0), chance, 1, "medium")
        observation = fit(table, SETTINGS).tiers[0].observation
        assert isinstance(observation, VoteObservations)
        assert [a / (a + b) for a, b in observation.shapes] == pytest.approx([1.2 / 3.7, 0.8], abs=0.05)


@pytest.mark.parametrize("signal", ["logprob", "consistency"])
def test_a_confidence_that_a_failure_lacks_is_not_a_missing_one(signal: Any) -> None:
    rows = confidence_rows(300, 0, **({"samples": ["x"] * 5} if signal == "consistency" else {}))
    plain = fit(table_of(rows[:200], signal=signal), SETTINGS)
    for row in rows[200:]:
        row["tiers"]["small"] = {"failed": True, "cost": 0.0}
    assert fit(table_of(rows, signal=signal), SETTINGS).tiers[0].observation == plain.tiers[0].observation


def test_the_profile_keeps_how_often_a_tier_fails_and_old_blocks_have_none() -> None:
    fitted = fit(with_failures(draw_rows(two_tiers(), 80, 0), 0.3, 1), SETTINGS)
    block = json.loads(json.dumps(fitted.to_dict()))
    assert Fitted.from_dict(block) == fitted
    assert "failed" not in block["observations"]["medium"]
    del block["observations"]["small"]["failed"]
    assert Fitted.from_dict(block).tiers[0].failed == 0.0


def test_a_tier_that_always_fails_leaves_the_others_as_they_are() -> None:
    rows = draw_rows(two_tiers(), 200, 0)
    fitted = fit(with_failures(rows, 1.0, 1), SETTINGS)
    assert fitted.tiers[0].failed == 200.5 / 201
    assert fitted.tiers[0].observation == NO_OBSERVATIONS
    assert sum(fitted.priors()[0][2:]) == pytest.approx(
        np.mean([row["tiers"]["medium"]["score"] for row in rows]), abs=0.01
    )


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
    assert four.notes == ("small: votes not used: only 4 questions with wrong answers, 5 needed",)
    assert four.tiers[0].observation == NO_OBSERVATIONS
    assert five.notes == ()
    assert isinstance(five.tiers[0].observation, VoteObservations)
    other = fit(table_of([*right[:3], *wrong]), SETTINGS)
    assert other.notes == ("small: votes not used: only 3 questions with right answers, 5 needed",)
    none = fit(table_of(wrong[:2]), SETTINGS)
    assert none.notes == ("small: votes not used: only 0 questions with right answers, 5 needed",)


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


UNREAD_VOTES = {
    "null": (
        [[None, None]],
        "s: votes not used: none of 60 recorded votes could be read; automix verify --explain shows a reply",
    ),
    "null on some rows": (
        [[None], []],
        "s: no confidence recorded; votes are on 15 of 30 answers, "
        "and none of 15 recorded votes could be read",
    ),
    "on some rows": ([[1, 0], []], "s: no confidence recorded; votes are on 15 of 30 answers"),
}


@pytest.mark.parametrize(("votes", "note"), UNREAD_VOTES.values(), ids=UNREAD_VOTES)
def test_votes_that_are_there_and_show_nothing_are_not_said_to_be_missing(
    votes: list[list[int | None]], note: str
) -> None:
    rows = [
        {
            "id": i,
            "tiers": {
                "s": {"score": i % 2, "cost": 1, "vote_cost": 1, "votes": votes[i % len(votes)]},
                "l": {"score": 1, "cost": 2},
            },
        }
        for i in range(30)
    ]
    assert fit(table_of(rows), Settings()).notes == (note,)


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


# ------------------------------------------------------------------ the whole table


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
