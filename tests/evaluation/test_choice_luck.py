"""The luck of training answers in the choice of a setting, and what it does to a gate."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comparisons import compared
from known import draw_rows, table_of, two_tiers

from automix_cli.errors import DataError
from automix_cli.evaluation.against import Change, compare_runs
from automix_cli.evaluation.choice_luck import SIZES, ChoiceLuck, luck_of_two, luck_size
from automix_cli.evaluation.gates import read_gates
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.paired import PairedSums, chance_to_catch, paired_interval, smallest_loss_caught
from automix_cli.evaluation.run_lines import RunLines
from automix_cli.views.against_words import against_lines
from automix_cli.views.bench_files import run_lines

KEEP = Objective("keep", 0.95)


def run_of(seed: int, objective: Objective = KEEP, questions: int = 240) -> RunLines:
    """A run of `threshold` on the same questions, with answers of a seed."""
    rows = [{**row, "question": f"What is {row['id']}?"} for row in draw_rows(two_tiers(), questions, seed)]
    own = RunLines("run")

    def take(run: Any) -> None:
        for line in run_lines(run):
            own.add(json.loads(line), "run")

    compared(table_of(rows), "threshold", objective, runs="chosen", on_run=take)
    return own


def change(here: RunLines, there: RunLines, gate: str = "quality_delta>=0") -> Change:
    groups = {key: i for i, key in enumerate(sorted(here.keys()))}
    return compare_runs(here, there, read_gates(gate), "threshold", groups).changes[0]


@pytest.fixture(scope="module")
def two() -> tuple[RunLines, RunLines]:
    return run_of(0), run_of(1)


def luck(run: RunLines) -> ChoiceLuck:
    (own,) = run.choices["threshold"].values()
    return own


def test_the_same_training_answers_have_no_luck(two: tuple[RunLines, RunLines]) -> None:
    again = run_of(0)
    own = change(two[0], again)
    assert luck_size(two[0].choices["threshold"], again.choices["threshold"]) == 0
    assert (own.value, own.luck, own.knows_luck) == (0.0, None, True)


def test_other_training_answers_widen_the_interval_of_policies_that_are_trained_alone(
    two: tuple[RunLines, RunLines],
) -> None:
    own = change(*two)
    given = [RunLines("given", policies=run.policies) for run in two]
    without = change(given[0], given[1])
    assert own.luck is not None
    assert own.luck.low < 0 < own.luck.high
    assert own.interval is not None
    assert without.interval is not None
    assert own.interval.high - own.interval.low > without.interval.high - without.interval.low
    tier = "always:small.quality_delta>=0"
    assert (change(*two, tier).luck, change(*two, tier).knows_luck) == (None, True)


def test_an_earlier_run_without_its_choices_is_read_and_that_is_said(two: tuple[RunLines, RunLines]) -> None:
    here, there = two
    earlier = RunLines("main/runs.jsonl", policies=there.policies, seeds=there.seeds)
    own = change(here, earlier)
    assert (own.luck, own.knows_luck) == (None, False)
    groups = {key: i for i, key in enumerate(sorted(here.keys()))}
    lines = against_lines(compare_runs(here, earlier, (), "threshold", groups))
    assert "main/runs.jsonl does not tell how threshold was chosen" in lines[-1]
    words = against_lines(compare_runs(here, there, (), "threshold", groups))[-1]
    assert "by their luck alone threshold.quality_delta moves by -" in words


@pytest.mark.parametrize(
    "objective", [KEEP, Objective("budget", 8.0), Objective("ibc"), Objective("cost_weight", 0.02)], ids=str
)
def test_draws_of_no_size_choose_what_was_chosen_and_larger_ones_choose_more(objective: Objective) -> None:
    run = run_of(0, objective)
    own = luck(run)
    assert own.chances[0].tolist() == np.eye(len(own.settings))[own.chances[0].argmax()].tolist()
    assert own.chances.sum(axis=1) == pytest.approx(np.ones(len(SIZES)), abs=1e-5)
    assert (own.chances > 0).sum(axis=1)[-1] > 1
    lines = run.policies["threshold"].values()
    chosen = own.figures["quality"][own.chances[0].argmax()]
    assert chosen == pytest.approx(np.mean([one.means[0] for one in lines]))
    assert not own.shifts("quality", 0.0).any()
    assert ChoiceLuck.of_dict(own.to_dict()).to_dict() == own.to_dict()


def test_runs_that_share_no_training_row_have_all_of_the_luck(two: tuple[RunLines, RunLines]) -> None:
    first, second = (luck(run) for run in two)
    apart = ChoiceLuck(
        settings=second.settings,
        chances=second.chances,
        figures=second.figures,
        values={f"other {key}": value for key, value in second.values.items()},
    )
    assert luck_size({"0": first}, {"0": apart}) == pytest.approx(1)
    assert luck_size({"0": first}, {"0": second}) <= 1
    moves, effect = luck_of_two({"0": first}, {"0": apart}, "quality")
    assert 0 < effect.std() < moves.std(), "draws around a lucky choice draw it back"


def test_a_choice_that_is_broken_is_refused_with_its_line() -> None:
    line = {"policy": "pomdp", "role": "chosen", "key": "a", "score": 1.0, "cost": 1.0, "votes": {}}
    with pytest.raises(DataError, match="x:7: the choice of its setting cannot be read"):
        RunLines("x").add({**line, "choice": {"chances": [[1]]}}, "x:7")


def test_more_held_out_rows_narrow_all_but_the_luck() -> None:
    change = np.array([-1.0] * 10 + [1.0] * 10 + [0.0] * 380)
    moves = np.random.default_rng(1).normal(0, 0.02, 2_000)
    sums = PairedSums(change, np.ones(400), 1.0, 1.0, moves)
    low, high = paired_interval(sums, times=1_000)
    assert (low, high) == pytest.approx(np.quantile(moves, (0.025, 0.975)), abs=0.003)


@pytest.mark.parametrize(("loss", "spread"), [(0.05, 0.015), (0.0, 0.02)])
def test_the_power_beside_luck_is_what_simulated_gates_catch(loss: float, spread: float) -> None:
    rng, rows, differing, caught = np.random.default_rng(3), 300, 0.12, 0
    moves = rng.normal(0, spread, 2_000)
    for move in rng.normal(0, spread, 100).tolist():
        own = np.clip(loss - move, -differing, differing)
        counts = rng.multinomial(rows, [(differing + own) / 2, (differing - own) / 2, 1 - differing])
        drawn = np.repeat([-1.0, 1.0, 0.0], counts)
        caught += paired_interval(PairedSums(drawn, np.ones(rows), 1.0, 1.0, moves)).high < 0
    stated = chance_to_catch(rows, differing, loss, luck=moves)
    assert caught / 100 == pytest.approx(
        stated, abs=3 * np.sqrt(max(stated * (1 - stated), 0.01) / 100) + 0.02
    )
    alone = smallest_loss_caught(rows, differing)
    assert alone is not None
    assert (smallest_loss_caught(rows, differing, luck=moves) or 1.0) > alone
