"""Gates of `bench --fail-under`."""

from __future__ import annotations

import pytest
from comparisons import compared
from known import draw_table, two_tiers

from automix_cli.errors import UsageError
from automix_cli.evaluation.bench import Bench
from automix_cli.evaluation.gates import Gate, missed_gates, read_gates


@pytest.fixture(scope="module")
def played() -> Bench:
    return compared(draw_table(two_tiers(), 200, 0), "pomdp,oracle")


@pytest.mark.parametrize(
    ("text", "gates"),
    [
        ("quality>=0.8", (Gate("", "quality", ">=", 0.8),)),
        (
            " savings_at_95 >= .3 , quality>0",
            (Gate("", "savings_at_95", ">=", 0.3), Gate("", "quality", ">", 0.0)),
        ),
        ("always:a.b.cost<1e-3", (Gate("always:a.b", "cost", "<", 0.001),)),
        ("pomdp+query.edge<=-1.5", (Gate("pomdp+query", "edge", "<=", -1.5),)),
    ],
)
def test_gates_are_read(text: str, gates: tuple[Gate, ...]) -> None:
    assert read_gates(text) == gates


@pytest.mark.parametrize(
    "text", ["", "quality", "quality=0.8", "quality>=high", "quality>=0.8,", "quality>=nan", "a b>=1"]
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_gates(text)


def test_figures_that_do_not_exist_are_refused_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="did you mean quality"):
        read_gates("qualty>=1")


def test_gates_hold_or_say_by_how_much_they_do_not(played: Bench) -> None:
    result = played
    assert missed_gates(read_gates("quality>0.5,oracle.quality>=0.5,cost<1e9"), result) == []
    missed = missed_gates(read_gates("quality>=1.01,always:small.aiq>=0"), result)
    assert missed[0].startswith("pomdp.quality is 0.")
    assert missed[0].endswith("not >= 1.01")
    assert missed[1] == "always:small.aiq is undefined: a single tier draws no curve"
    with pytest.raises(UsageError, match="no policy 'nobody' took part"):
        missed_gates(read_gates("nobody.quality>=0"), result)
