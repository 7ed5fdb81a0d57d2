"""The chances that answers of tiers are equal: a law of partitions, recovered from rows drawn by it."""

import json
from itertools import product

import numpy as np
import pytest
from recorded import DATA

from automix_cli.data.read_traces import read_table
from automix_cli.fitting.agreement import Answers, fit_agreement, log_likelihood
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.agreement import AgreementModel, AnswerClass, Pair
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.model import answer_classes
from automix_cli.pomdp.problem import Visit


def law(tiers: int, both_wrong: float) -> AgreementModel:
    """One law for all pairs."""
    return AgreementModel(
        pairs=tuple(tuple(Pair(0.9, both_wrong) for _ in range(j)) for j in range(tiers)),
        groups=(0.5,) * tiers,
        one_right=0.02,
    )


def partitions(tiers: int) -> list[list[int]]:
    """Every way in which answers can be equal: for each tier the first one with an equal answer."""
    ways: list[list[int]] = [[]]
    for j in range(tiers):
        ways = [[*way, first] for way in ways for first in [*sorted(set(way)), j]]
    return ways


@pytest.mark.parametrize(("tiers", "count"), [(1, 1), (2, 2), (3, 5), (4, 15)])
def test_the_chances_of_all_partitions_sum_to_one_in_every_state(tiers: int, count: int) -> None:
    ways = partitions(tiers)
    assert len(ways) == count
    for state in product((0, 1), repeat=tiers):
        logs = [log_likelihood(law(tiers, 0.1), Answers(np.array([way]), np.array([state]))) for way in ways]
        assert np.exp(logs).sum() == pytest.approx(1, abs=1e-12)


def drawn(model: AgreementModel, rows: int, seed: int = 0) -> Answers:
    """Rows drawn by a law; tiers are right on about two thirds."""
    rng = np.random.default_rng(seed)
    right = (rng.random((rows, len(model.groups))) < 0.65).astype(np.intp)
    return Answers(np.array([draw_row(model, own, rng) for own in right]), right)


def draw_row(model: AgreementModel, right: Ints, rng: np.random.Generator) -> list[int]:
    first: list[int] = []
    state = int(right @ (1 << np.arange(len(right))))
    for j in range(len(right)):
        classes: list[AnswerClass] = answer_classes(list(enumerate(first)))
        chances = model.chances(j, classes)[:, state]
        first.append([*(members[0] for members in classes), j][rng.choice(len(chances), p=chances)])
    return first


def folds(rows: int) -> Ints:
    return np.arange(rows) % 5


def test_the_law_is_found_again() -> None:
    """Each chance within four standard errors of a share of the rows it is seen on."""
    model = fit_agreement(drawn(law(3, 0.2), 2000), folds(2000))
    assert model is not None
    for pair in (pair for tier in model.pairs for pair in tier):
        assert pair.both_right == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / (2000 * 0.65**2)) + 0.02)
        assert pair.both_wrong == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / (2000 * 0.35**2)))


def test_equal_answers_that_say_nothing_are_not_used() -> None:
    """A law of its own for right and wrong must foretell rows left out; here answers are equal by chance."""
    rows = drawn(law(3, 0.2), 400)
    by_chance = np.random.default_rng(1).permutation(rows.first_equal)
    assert fit_agreement(rows._replace(first_equal=by_chance), folds(400)) is None


def test_few_rows_give_no_law() -> None:
    rows = drawn(law(2, 0.2), 4)
    assert fit_agreement(rows, folds(4)) is None


THREE_TIERS = {
    "zeroeval_math_l5": ("Qwen2.5-7B-Instruct", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
    "cruxeval_output": ("Qwen2.5-7B-Instruct", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"),
    "mmlupro_confidence": ("qwen2.5-7b-instruct", "qwen2.5-32b-instruct", "gpt-4o-2024-08-06"),
}


@pytest.mark.parametrize("name", THREE_TIERS)
def test_three_equal_answers_are_right_as_often_as_the_law_says(name: str) -> None:
    """Three equal answers are one fact, not three: two standard errors, of the rows that the law is of."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded answers at {path}; set AUTOMIX_DATA")
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:  # answers alone, without what vouches for them
        for tier in row["tiers"].values():
            tier.pop("confidence", None)
    table = read_table(enumerate(rows, 1), tiers=THREE_TIERS[name], compare="exact").require_scores(drop=True)
    table = table.with_costs(dict.fromkeys(THREE_TIERS[name], 1.0), {})
    settings = Settings(max_votes=0)
    model = fit(table, settings).model(0.0, settings)
    visits = tuple(Visit(tier, joins=0) for tier in range(3))
    belief = model.weigh(0, visits)
    promise = belief[7] / belief.sum()
    agree = (table.first_equal == 0).all(axis=1)
    right = table.score[agree, 0] >= 0.5
    assert right.mean() == pytest.approx(promise, abs=2 * np.sqrt(promise * (1 - promise) / len(right)))
