"""Recorded samples: the score and the cost of the plurality of k of them."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from trace_rows import draw_sample_rows, numbered, read_samples, sample_row

from automix_cli.data.read_traces import read_table
from automix_cli.data.samples import Samples, judge
from automix_cli.errors import DataError, UsageError
from automix_cli.scoring import SCORERS, plurality, score

# ------------------------------------------------------------------ scores


def expected_score(
    texts: list[str], k: int, wanted: str, scorer: str, choices: tuple[str, ...] = ()
) -> float:
    """The mean score of the plurality of the first k, over every order of the samples."""
    orders = list(permutations(texts, k))
    said = [plurality(list(order), scorer, choices).answer for order in orders]
    return float(np.mean([score(answer, [wanted], scorer, choices) for answer in said]))


@pytest.mark.parametrize(
    ("texts", "k", "wanted"),
    [
        (["7", "8", "9"], 1, 1 / 3),
        (["7", "8", "8"], 3, 0.0),
        (["7", "8", "8"], 2, 1 / 3),  # 7 first of two that differ: 7 8, 7 8 of six orders
        (["8", "7.0", "It is 7"], 3, 1.0),
        (["8", "7"], 2, 0.5),  # of equals the first drawn
        (["8", "9", "7", "7", "8", "7"], 6, 1.0),
        (["7", "7", "8", "8"], 3, 0.5),
        (["7"], 1, 1.0),
    ],
)
def test_the_commonest_of_k_counts_in_expectation_and_of_equals_the_first_drawn(
    texts: list[str], k: int, wanted: float
) -> None:
    samples = Samples.of([judge(texts, ["7"], "numeric")], np.array([np.nan]))
    assert samples.plurality_scores(k).tolist() == pytest.approx([wanted], abs=1e-12)


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_expectation_is_the_mean_over_every_ordered_draw_of_the_texts(scorer: str) -> None:
    texts, choices = ["A", "(B)", "B.", "A", "C"], ("Rome", "Paris", "Oslo")
    samples = Samples.of([judge(texts, ["B"], scorer, choices)], np.array([np.nan]))
    for k in range(1, 6):
        assert samples.plurality_scores(k)[0] == pytest.approx(
            expected_score(texts, k, "B", scorer, choices), abs=1e-12
        )


@pytest.mark.parametrize("seed", range(12))
def test_the_expectation_is_the_mean_over_every_ordered_draw_of_random_samples(seed: int) -> None:
    """Answers in several wordings of different scores, some of them equally frequent."""
    rng = random.Random(seed)
    texts = [rng.choice(["7", "7.0", "8", "9", "8.0", "red blue", "red"]) for _ in range(rng.randint(1, 6))]
    for scorer, wanted in (("numeric", "7"), ("f1", "red")):
        samples = Samples.of([judge(texts, [wanted], scorer)], np.array([np.nan]))
        for k in range(1, len(texts) + 1):
            exact = expected_score(texts, k, wanted, scorer)
            assert samples.plurality_scores(k)[0] == pytest.approx(exact, abs=1e-12)


def test_the_chance_of_a_majority_is_that_of_the_binomial() -> None:
    table = read_samples(draw_sample_rows(2_000))
    chance = {
        1: 0.6,
        3: 0.6**3 + 3 * 0.6**2 * 0.4 + 0.6 * 2 * 0.2 * 0.2,
    }  # three that differ: the first drawn
    for k, wanted in chance.items():
        assert table.by_majority("small", k).score[:, 0].mean() == pytest.approx(wanted, abs=0.02)


def test_the_order_of_samples_and_of_rows_changes_nothing() -> None:
    rows = [sample_row(i, ["7"] * 3 + ["8"] * (1 + i % 3)) for i in range(50)]
    turned = [sample_row(i, (["7"] * 3 + ["8"] * (1 + i % 3))[::-1]) for i in range(50)][::-1]
    for k in (1, 2, 4):
        first, again = (read_samples(r).by_majority("small", k).score[:, 0] for r in (rows, turned))
        np.testing.assert_allclose(again[::-1], first, rtol=0, atol=1e-15)
        assert len(set(first.round(9))) == 3


def test_a_part_of_a_table_and_other_orders_of_tiers_keep_their_samples() -> None:
    table = read_samples(draw_sample_rows(600))  # more than one chunk
    whole = table.by_majority("small", 3).score[:, 0]
    rows = np.arange(7, 500, 3)
    assert table.subset(rows).by_majority("small", 3).score[:, 0].tolist() == whole[rows].tolist()
    picked = table.pick(["large", "small"]).by_majority("small", 3)
    assert picked.score[:, 1].tolist() == whole.tolist()


def test_a_tier_that_is_sampled_late_and_rows_of_different_lengths_are_counted() -> None:
    rows = [sample_row(i, None) for i in range(300)] + [
        sample_row(300 + i, ["7"] * (3 + i)) for i in range(4)
    ]
    table = read_samples(rows)
    assert table.fewest_samples == (0, 0)
    late = table.subset(np.arange(300, 304))
    assert late.fewest_samples == (3, 0)
    assert late.by_majority("small", 3).score[:, 0].tolist() == [1.0] * 4
    with pytest.raises(UsageError, match="fewer than 4 samples of small"):
        late.by_majority("small", 4)


def test_a_row_on_which_the_tier_failed_scores_nothing_and_needs_no_samples() -> None:
    rows = [sample_row(i, ["7"] * 3) for i in range(4)]
    rows[2]["tiers"]["small"] = {"failed": "no_text", "cost": 0.25}
    table = read_samples(rows)
    assert table.fewest_samples == (3, 0)
    assert table.signals[0] == "consistency"
    majority = table.by_majority("small", 3)
    assert majority.score[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert majority.cost[:, 0].tolist() == [3.0, 3.0, 0.25, 3.0]


def test_without_a_scorer_or_samples_a_table_holds_none() -> None:
    assert read_samples(draw_sample_rows(3), scorer=None).samples == ()
    assert read_samples([sample_row(i, None) for i in range(3)]).samples == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            {"samples": [None, "7"]},
            "line 2: tiers.small.samples: expected text or a list of texts, got a list",
        ),
        ({"samples": "777"}, "line 2: tiers.small.samples: expected a list of texts, got text"),
        ({"sample_cost": -1}, "line 2: tiers.small.sample_cost: expected a finite number 0 or more, got -1"),
    ],
)
def test_samples_that_cannot_be_read_are_refused_with_their_line(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as refused:
        read_samples([sample_row(0, ["7", "7"]), sample_row(1, **{"samples": ["7"], **bad})])
    assert str(refused.value) == said


# ------------------------------------------------------------------ costs


@pytest.mark.parametrize(
    ("cell", "k", "dollars"),
    [
        ({"cost": 2.0}, 3, 6.0),  # the price of one answer
        ({"cost": 5.0, "sample_cost": 1.0}, 3, 3.0),  # five, each a call of its own
        ({"cost": 5.0, "sample_cost": 0.5}, 3, 4.0),  # 2.5 of it is the prompt, paid once
        ({"cost": 1.0, "sample_cost": 1.0}, 4, 4.0),  # the price of one answer, said twice
    ],
)
def test_k_answers_cost_k_answers_and_a_shared_prompt_once(
    cell: dict[str, float], k: int, dollars: float
) -> None:
    table = read_samples([sample_row(0, ["7"] * 5, **cell)])
    assert table.by_majority("small", k).cost[0].tolist() == [dollars, 20.0]


def test_a_cost_that_is_given_is_that_of_one_answer() -> None:
    rows = [sample_row(0, ["7"] * 5, cost=5, sample_cost=0.5)]
    table = read_table(numbered(rows), costs={"small": 2}, scorer="exact")
    assert table.by_majority("small", 3).cost[0, 0] == 6.0
