"""Signals that can be believed, plans that stand on their head."""

from __future__ import annotations

from typing import Any

import pytest
from known import draw_rows, table_of, two_tiers

from automix_cli.data.read_traces import read_table
from automix_cli.evaluation.health import agreements_of, alarms, examine, signal_of
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.observations import Counts
from automix_cli.pomdp.plan import PlanRow
from automix_cli.pomdp.problem import Action

SETTINGS = Settings(max_votes=6)


def four_rows(signal: list[Any]) -> list[dict[str, Any]]:
    scores = [(1, 1), (1, 0), (0, 1), (0, 0)]
    return [
        {"id": i, "tiers": {"s": {"score": a, "cost": 1, **seen}, "l": {"score": b, "cost": 2}}}
        for i, ((a, b), seen) in enumerate(zip(scores, signal, strict=True))
    ]


def test_health_of_votes_by_hand() -> None:
    recorded_votes = [[1, 1, None], [1, 0, 1], [1, 0, 0], [0, 0, None]]
    (small,) = examine(table_of(four_rows([{"votes": b} for b in recorded_votes])))
    assert (small.tier, small.signal, small.rows) == ("s", "votes", 4)
    assert small.auroc.value == 1.0  # 1 and 2/3 against 1/3 and 0
    assert small.auroc_next is not None
    assert small.auroc_next.value == 1.0  # among wrong: 1/3 where the large tier is right, 0 where it is not
    assert small.unparsed == pytest.approx(2 / 12)
    assert [row.rows for row in small.table] == [1, 1, 1, 1]


def test_health_of_a_confidence_counts_what_is_missing() -> None:
    (small,) = examine(
        table_of(four_rows([{"confidence": 0.9}, {}, {"confidence": 0.9}, {"confidence": 0.2}]))
    )
    assert (small.signal, small.rows, small.unparsed) == ("logprob", 3, 0.25)
    assert small.auroc.value == 0.75


def test_a_row_without_a_vote_that_can_be_read_has_no_signal() -> None:
    signal = signal_of(
        table_of(four_rows([{"votes": [None, None]}, {"votes": [1, 1]}, *[{"votes": [0, 1]}] * 2])), 0
    )
    assert str(signal.tolist()) == "[nan, 1.0, 0.5, 0.5]"


def test_no_tier_with_a_signal_gives_no_health() -> None:
    assert examine(table_of(four_rows([{}] * 4))) == ()


def row(value: int, parsed: int, action: Action, probability: float = 0.2) -> PlanRow:
    return PlanRow(0, Counts(value, parsed, parsed), action, probability, 0.5)


UP, KEEP = Action("escalate", 1), Action("report", 0)


@pytest.mark.parametrize(
    ("rows", "alarmed"),
    [
        ([row(4, 4, KEEP), row(1, 4, UP)], False),
        ([row(4, 4, UP), row(1, 4, KEEP)], True),
        ([row(4, 4, UP), row(1, 4, UP)], False),
        ([row(4, 4, UP, 1e-6), row(3, 4, KEEP), row(1, 4, UP)], False),
        ([row(0, 0, UP), row(1, 4, KEEP)], False),
    ],
)
def test_a_plan_that_escalates_its_most_confident_answers_raises_an_alarm(
    rows: list[PlanRow], alarmed: bool
) -> None:
    assert bool(alarms(rows, ("s", "l"))) == alarmed


def test_answers_without_a_confidence_are_not_the_most_confident() -> None:
    rows = [row(0, 1, UP), row(1, 1, KEEP), row(2, 1, UP)]
    assert alarms(rows, ("s", "l"), lambda tier: ()) != ()
    assert alarms(rows, ("s", "l"), lambda tier: (0.5,)) == ()


def test_votes_turned_upside_down_raise_the_alarm_and_honest_ones_do_not() -> None:
    drawn = draw_rows(two_tiers(), 400, 0)
    for turned in (False, True):
        table = table_of(drawn)
        rows = fit(table, SETTINGS).policy(0.008, SETTINGS).plan().rows()
        found = alarms(rows, table.tiers)
        assert bool(found) == turned
        for r in drawn:
            r["tiers"]["small"]["votes"] = [1 - v for v in r["tiers"]["small"]["votes"]]
    assert found == ("small: the plan escalates its most confident answers and reports less confident ones",)


def test_how_often_neighbouring_tiers_agree_and_are_right_then() -> None:
    answers = [("7", "7", 1), ("7", "8", 0), ("9", "9", 1), ("5", "5", 0), ("4", None, 1)]
    rows = [
        {
            "id": i,
            "tiers": {
                "small": {"score": right, "answer": small, "cost": 1},
                "large": {"failed": "no_text", "cost": 2}
                if large is None
                else {"score": 1, "answer": large, "cost": 2},
            },
        }
        for i, (small, large, right) in enumerate(answers)
    ]
    table = read_table(enumerate(rows, 1), compare="exact")
    (pair,) = agreements_of(table)
    assert (pair.rows, pair.equal, pair.right, pair.right_apart) == (4, 3, 2 / 3, 0.0)
