"""Gates of `bench --fail-under`."""

from __future__ import annotations

import pytest
from comparisons import compared
from known import draw_table, two_tiers

from automix_cli.errors import UsageError
from automix_cli.evaluation.bench import Bench
from automix_cli.evaluation.gates import Gate, check_against, missed_gates, read_gates


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


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("quality_delta>=-0.01@95", Gate("", "quality", ">=", -0.01, "delta", 95.0)),
        ("pomdp.cost_ratio <= 1.1 @ 99.5", Gate("pomdp", "cost", "<=", 1.1, "ratio", 99.5)),
        ("maj@5:small.votes_delta<0", Gate("maj@5:small", "votes", "<", 0.0, "delta")),
    ],
)
def test_gates_of_two_runs_have_a_level(text: str, gate: Gate) -> None:
    assert read_gates(text) == (gate,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quality_delta", "expected >=, <=, > or <; in a shell, put quotes around the whole, got the end at"),
        ("quality_delta=>1", "got '=>1' at position 14"),
        ("quality>=0.8, cost<", "expected a number, got the end at position 20"),
        ("quality_delta>=-0.01%", "expected a comma or the end, or @95, got '%' at position 21"),
        ("quality_delta>=0@", "expected @ and per cent, like @95, got '@' at position 17"),
        ("quality_delta>=0@5", "expected a level from 50 to below 100 per cent, got '@5' at position 17"),
        ("quality>=0.8@95", "expected no @, which goes with figures of two runs"),
        ("quality>=0.8,,cost<1", "expected a figure, like quality, got ',cost<1' at position 14"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_position_and_an_example(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_gates(text)
    assert expected in refused.value.message
    assert "quality_delta>=-0.01@95" in refused.value.hint


def test_what_is_no_mean_over_rows_cannot_be_compared_row_by_row() -> None:
    with pytest.raises(UsageError, match="edge is no mean over rows") as refused:
        read_gates("edge_delta>=0")
    assert "quality_delta, cost_delta" in refused.value.hint


def test_gates_of_two_runs_need_another_run_and_a_proof_needs_such_a_gate() -> None:
    with pytest.raises(UsageError, match="quality_delta compares two runs"):
        check_against(read_gates("quality_delta>=0"), has_earlier=False, needs_proof=False)
    with pytest.raises(UsageError, match="--require-proof goes with a gate"):
        check_against(read_gates("quality>=0"), has_earlier=True, needs_proof=True)


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
