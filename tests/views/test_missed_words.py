"""What `bench` says where its policy reached less on held-out rows than was asked for."""

from __future__ import annotations

import pytest

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.objective import Objective
from automix_cli.views.missed_words import compare_with_objective, missed_words

KEEP, BUDGET = Objective("keep", 0.98), Objective("budget", 0.002)


def words(
    objective: Objective,
    quality: float | None = 0.9,
    best: float = 0.9,
    gain: Measure | None = None,
    cost: Measure | None = None,
    beside: str | None = None,
) -> str:
    own = compare_with_objective(objective, cost or Measure(0.001), Measure(quality), best, gain)
    return missed_words(own, objective, beside)


@pytest.mark.parametrize(
    ("objective", "given", "sentence"),
    [
        (KEEP, {"quality": 0.882}, ""),
        (KEEP, {"quality": 0.95}, ""),
        (
            KEEP,
            {"quality": 0.81},
            "--keep 0.98 was missed: on these rows it keeps 90 % of the best tier's quality.",
        ),
        (
            KEEP,
            {"quality": 0.87, "gain": Measure(-3.0, "", -5.0, -1.9)},
            "--keep 0.98 was missed: on these rows it keeps 96.7 % of the best tier's quality.",
        ),
        (
            KEEP,
            {"quality": 0.87, "gain": Measure(-3.0, "", -5.0, -1.7)},
            "--keep 0.98 was missed: on these rows it keeps 96.7 % of the best tier's quality, which chance "
            "alone may do.",
        ),
        (
            KEEP,
            {"quality": 0.95, "best": 1.0, "beside": "large"},
            "--keep 0.98 was missed: on these rows it loses 5 points against large.",
        ),
        (BUDGET, {"cost": Measure(0.002)}, ""),
        (
            BUDGET,
            {"cost": Measure(0.0031, "", 0.0025, 0.0038)},
            "--budget 2 was missed: on these rows it costs $3.10 per 1,000 questions.",
        ),
        (
            BUDGET,
            {"cost": Measure(0.0021, "", 0.0018, 0.0024)},
            "--budget 2 was missed: on these rows it costs $2.10 per 1,000 questions, which chance alone "
            "may do.",
        ),
        (KEEP, {"quality": None}, ""),
        (KEEP, {"best": 0.0}, ""),
        (Objective("ibc"), {"quality": 0.1}, ""),
        (Objective("cost_weight", 3.0), {"quality": 0.1}, ""),
    ],
)
def test_an_objective_that_was_missed_is_named_with_what_was_reached(
    objective: Objective, given: dict[str, object], sentence: str
) -> None:
    assert words(objective, **given) == (sentence and f" But {sentence}")
