"""The choice among recorded signals: by gain on rows that neither the plan nor the choice saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known import table_of
from msgspec.structs import replace

from automix_cli.data.recorded_signals import with_recorded
from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.calibrate import calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.signal_choice import SignalComparison, Signals
from automix_cli.fitting.router_block import Settings
from automix_cli.profile.router import check_signal
from automix_cli.profile.search import profile_of_models
from automix_cli.views.calibration_view import CalibrationView
from automix_cli.views.signal_words import signal_words

SETTINGS = Settings(max_votes=2)
CROSSFIT = Crossfit(folds=3, repeats=1, grid=CostGrid(weights=16, spending_steps=8))
OBJECTIVE = Objective("budget", 0.008)


def rows(count: int, seed: int = 0, *, telling: bool = True, copy: bool = False) -> list[dict[str, Any]]:
    """A confidence that says little, another that says much or is a copy, and votes that say nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        small, large = rng.random() < 0.6, rng.random() < 0.9
        weak = float(rng.beta(3, 2) if small or not telling else rng.beta(2, 3))
        strong = float(rng.beta(6, 2) if small or not telling else rng.beta(2, 6))
        own = {"score": int(small), "cost": 0.001, "confidence": weak, "conf_b": weak if copy else strong}
        made.append({"id": i, "tiers": {"small": own, "large": {"score": int(large), "cost": 0.02}}})
    return made


def table(count: int = 300, seed: int = 0, **options: bool) -> TraceTable:
    return table_of(rows(count, seed, **options), confidences="auto")


def signals(own: TraceTable) -> Signals:
    return Signals.of(own, SETTINGS, CROSSFIT)


def test_the_signal_that_says_most_is_taken_and_named_with_its_lead() -> None:
    own = table()
    comparison = signals(own).compare(np.ones(len(own), bool))
    assert comparison.name == "conf_b"
    assert list(comparison.gains) == ["none", "confidence", "conf_b"]
    assert comparison.gains["none"] < comparison.gains["confidence"] < comparison.gains["conf_b"]
    assert comparison.best_other == "confidence"
    points, error = comparison.above["confidence"]
    assert points == pytest.approx(comparison.gains["conf_b"] - comparison.gains["confidence"])
    assert 0 < error < points


def test_of_equal_signals_the_cheaper_is_taken() -> None:
    own = table(copy=True)
    comparison = signals(own).compare(np.ones(len(own), bool))
    assert comparison.name == "confidence"
    assert comparison.above["conf_b"] == (0.0, 0.0)


@pytest.mark.parametrize(
    ("gains", "inverted", "name"),
    [
        ((0.0, 1.0, 1.2, 9.0), "", ["none", "conf_b", "votes"]),
        ((0.0, 1.2, 1.0, 0.0), "", ["none", "confidence", "votes"]),
        ((0.0, 1.2, 1.2, 0.0), "", ["none", "confidence", "votes"]),
        ((0.0, 1.2, 1.2, 0.0), "confidence", ["none", "conf_b", "votes"]),
        ((0.0, 1.3, 1.2, 0.0), "confidence", ["none", "confidence", "votes"]),
    ],
    ids=["more", "less", "equal", "equal, upside down", "upside down and more"],
)
def test_at_one_cost_the_higher_gain_is_taken_and_of_equals_one_that_is_not_upside_down(
    gains: tuple[float, ...], inverted: str, name: list[str]
) -> None:
    parts = {key: table(20) for key in ("none", "confidence", "conf_b", "votes")}
    if inverted:
        parts[inverted] = replace(parts[inverted], confidence=1 - parts[inverted].confidence)
    own = signals(table(20))
    assert own.best_of_each_cost(parts, dict(zip(parts, gains, strict=True))) == name


def test_a_signal_that_is_as_good_at_the_same_cost_is_not_called_cheaper() -> None:
    gains = {"none": 0.0, "confidence": 1.2, "conf_b": 1.204, "votes": 1.3}
    above = {"none": (1.2, 0.1), "conf_b": (-0.004, 0.1)}
    same = signal_words(SignalComparison("confidence", gains, above))
    assert same.startswith("signal: confidence, +0.00 ± 0.10 points above conf_b (")
    dearer = signal_words(SignalComparison("confidence", gains, {**above, "votes": (-0.1, 0.2)}))
    assert "the cheaper of two that are as good: -0.10 ± 0.20 points above votes" in dearer


def test_where_no_signal_says_anything_none_is_taken_nearly_always() -> None:
    names = [
        signals(own := table(200, seed, telling=False)).compare(np.ones(200, bool)).name for seed in range(8)
    ]
    assert names.count("none") >= 6
    assert len(own) == 200


def test_rows_outside_the_mask_change_no_choice() -> None:
    learn = np.arange(300) < 200
    mixed = table_of([*rows(300)[:200], *rows(300, 9, telling=False)[200:]], confidences="auto")
    assert signals(table(300)).compare(learn) == signals(mixed).compare(learn)


def test_too_few_questions_keep_the_signal_that_rows_are_read_with() -> None:
    own = table(12)
    comparison = signals(own).compare(np.ones(12, bool))
    assert comparison.gains == {}
    assert with_recorded(own, comparison.name).signals == own.signals


@pytest.fixture(scope="module")
def own() -> TraceTable:
    return table()


def test_calibrate_chooses_the_signal_writes_it_and_says_by_how_much(own: TraceTable) -> None:
    result = calibrate(own, SETTINGS, OBJECTIVE, options=CROSSFIT, compare_signals=True)
    fixed = calibrate(with_recorded(own, "conf_b"), SETTINGS, OBJECTIVE, options=CROSSFIT)
    assert result.signal is not None
    assert result.fitted == fixed.fitted
    assert result.choice == fixed.choice
    assert result.router()["fitted"]["evidence"] == "conf_b"
    view = CalibrationView(result, with_recorded(own, "conf_b"), "rows")
    assert view.signal_line().startswith("signal: conf_b, +")
    assert " points above confidence (cross-fitted gain area: none " in view.signal_line()
    assert view.to_dict()["signal"]["name"] == "conf_b"


def test_bench_chooses_the_signal_on_the_training_rows_of_each_split(own: TraceTable) -> None:
    entries = pick_policies("pomdp", all_policies(own.tiers, "none"))
    partitions = tuple(partitions_of(own, 0.5, repeat=2))
    compared, plain = (
        bench(
            table_,
            entries,
            SETTINGS,
            OBJECTIVE,
            partitions=partitions,
            options=CROSSFIT,
            compare_signals=compares,
        )
        for table_, compares in ((own, True), (with_recorded(own, "conf_b"), False))
    )
    assert [comparison.name for comparison in compared.signals] == ["conf_b", "conf_b"]
    assert plain.signals == ()
    for name in ("pomdp", "always:small"):
        assert compared.outcome(name).measures == plain.outcome(name).measures


LIVE = {
    "votes": ("votes", ""),
    "none": ("none", ""),
    "a confidence of answers": ("confidence", "looks at the confidence of answers"),
    "a key of the user's": ("conf_b", "looks at conf_b, which ask cannot record"),
}


@pytest.mark.parametrize(("name", "problem"), LIVE.values(), ids=LIVE)
def test_a_router_is_written_for_a_profile_only_that_asks_for_its_signal(name: str, problem: str) -> None:
    profile = profile_of_models(["demo/small", "demo/large"])
    if not problem:
        check_signal(profile, name)
        return
    with pytest.raises(UsageError, match=problem):
        check_signal(profile, name)
