"""One run of `bench` beside an earlier one, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automix_cli.errors import AutomixError, DataError, UsageError
from automix_cli.evaluation.against import Against, compare_runs
from automix_cli.evaluation.gates import read_gates
from automix_cli.evaluation.measures import LINE_MEASURES
from automix_cli.evaluation.run_lines import RunLines, read_runs

Lines = list[dict[str, Any]]


def run_of(scores: list[float], policy: str = "pomdp", cost: float = 0.001, **more: Any) -> Lines:
    """The lines of a run: a question for each score."""
    shared = {"policy": policy, "setting": {"cost_weight": 1.0}, "role": "chosen", "seed": 0}
    actions = {"report": {"small": 1}, "asked": {"small": 1}, "votes": {}, "escalated": 0.0}
    figures = {"cost": cost, "latency": 1.0, **actions, **more}
    return [
        {**shared, "id": i, "key": f"{i:016x}", "score": float(score), **figures}
        for i, score in enumerate(scores)
    ]


def file_of(lines: Lines, tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def runs(lines: Lines, tmp_path: Path) -> RunLines:
    return read_runs(file_of(lines, tmp_path))


def compared(here: Lines, there: Lines, tmp_path: Path, gates: str = "quality_delta>=-0.01") -> Against:
    own, earlier = runs(here, tmp_path), runs(there, tmp_path)
    groups = {key: i for i, key in enumerate(sorted(own.keys()))}
    return compare_runs(own, earlier, read_gates(gates) if gates else (), "pomdp", groups)


def verdict(against: Against) -> str:
    return against.changes[0].verdict


ALL = [1.0] * 400


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (ALL, ALL, "met"),
        ([0.0] * 40 + ALL[40:], ALL, "missed"),
        (ALL, [0.0] * 40 + ALL[40:], "met"),
        ([0.0] * 3 + ALL[3:], ALL, "cannot tell"),
        ([0.0] * 400, ALL, "missed"),
        (ALL[:100], ALL[:100], "cannot tell"),
        ([0.5] * 400, [0.6] * 400, "missed"),
        (ALL[:29], ALL[:29], "cannot tell"),
        ([0.0], [1.0], "cannot tell"),
    ],
)
def test_a_gate_goes_by_the_whole_interval(
    here: list[float], there: list[float], expected: str, tmp_path: Path
) -> None:
    against = compared(run_of(here), run_of(there), tmp_path)
    change = against.changes[0]
    assert change.verdict == expected
    assert change.value == pytest.approx(np.mean(here) - np.mean(there))
    if expected == "cannot tell" and not change.why:
        assert change.more_rows is not None
        assert change.more_rows > 0


def test_fewer_than_thirty_questions_tell_nothing(tmp_path: Path) -> None:
    change = compared(run_of([0.0] * 29), run_of(ALL[:29]), tmp_path).changes[0]
    assert (change.verdict, change.why) == ("cannot tell", "29 questions, and at least 30 are needed")


def test_neither_the_order_of_rows_nor_other_ids_change_anything(tmp_path: Path) -> None:
    here, there = run_of([0.0] * 9 + ALL[9:]), run_of(ALL)
    before = compared(here, there, tmp_path)
    moved = [{**line, "id": f"row {i}"} for i, line in enumerate(reversed(there))]
    assert compared(here, moved, tmp_path).changes == before.changes


def test_rows_of_one_run_alone_are_counted_and_left_out(tmp_path: Path) -> None:
    against = compared(run_of(ALL[:90]), run_of([0.0] * 200)[50:], tmp_path)
    assert (against.rows, against.only_here, against.only_there) == (40, 50, 110)
    with pytest.raises(UsageError, match="no row is held out in both runs"):
        compared(run_of(ALL[:90]), run_of(ALL)[90:], tmp_path)


def test_copies_of_a_question_are_one_question(tmp_path: Path) -> None:
    """Two rows of each question: as sure as one row each, not surer."""
    scores = [0.0] * 12 + ALL[12:200]
    one = compared(run_of(scores), run_of(ALL[:200]), tmp_path)
    here, there = ([*run_of(s), *run_of(s, id="copy")] for s in (scores, ALL[:200]))
    two = compared(here, there, tmp_path)
    assert (two.rows, two.questions) == (400, 200)
    assert two.changes[0].interval == pytest.approx(one.changes[0].interval)


def test_repeated_splits_count_each_question_once(tmp_path: Path) -> None:
    scores = [0.0] * 12 + ALL[12:200]
    one = compared(run_of(scores), run_of(ALL[:200]), tmp_path)
    here, there = ([*run_of(s), *run_of(s, seed=1)] for s in (scores, ALL[:200]))
    two = compared(here, there, tmp_path)
    assert two.changes == one.changes
    assert not compared(run_of(scores), run_of(ALL[:200], seed=1), tmp_path).same_seeds


def test_costs_are_compared_as_a_difference_and_as_a_ratio(tmp_path: Path) -> None:
    gates = "cost_delta<=0.0005,cost_ratio<=1.1,cost_ratio<=1.3"
    changes = compared(run_of(ALL, cost=0.0012), run_of(ALL), tmp_path, gates).changes
    assert [c.verdict for c in changes] == ["met", "missed", "met"]
    assert changes[1].value == pytest.approx(1.2)
    free = compared(run_of(ALL), run_of(ALL, cost=0.0), tmp_path, "cost_ratio<=1").changes[0]
    assert (free.verdict, free.why) == ("cannot tell", "the earlier cost is 0, and has no ratio")


def test_a_measure_that_a_run_lacks_cannot_be_told(tmp_path: Path) -> None:
    change = compared(run_of(ALL), run_of(ALL, latency=None), tmp_path, "latency_delta<=1").changes[0]
    assert (change.verdict, change.why) == ("cannot tell", "no latency is recorded on some rows")


def test_every_measure_of_single_rows_can_be_compared(tmp_path: Path) -> None:
    gates = ",".join(f"{spec.key}_{form}>=-1" for spec in LINE_MEASURES for form in ("delta", "ratio"))
    changes = compared(run_of(ALL), run_of(ALL), tmp_path, gates).changes
    assert len(changes) == 2 * len(LINE_MEASURES)
    assert all(c.verdict == "met" or "has no ratio" in c.why for c in changes)


def test_the_policy_of_the_same_name_is_compared_else_the_only_one_that_routes(tmp_path: Path) -> None:
    there = [*run_of(ALL, "threshold"), *run_of(ALL, "always:big")]
    assert compared(run_of(ALL), there, tmp_path).changes[0].earlier == "threshold"
    with pytest.raises(UsageError, match="always:large did not take part"):
        compared(run_of(ALL, "always:large"), there, tmp_path, "always:large.quality_delta>=0")
    with pytest.raises(UsageError, match="pomdp did not take part") as refused:
        compared(run_of(ALL), [*there, *run_of(ALL, "kmeans")], tmp_path)
    assert "threshold, always:big, kmeans" in refused.value.hint


def test_agreement_with_a_baseline_is_no_quality(tmp_path: Path) -> None:
    there = run_of(ALL, measure="agreement with large")
    with pytest.raises(UsageError, match="agreement with large there or here, and no quality"):
        compared(run_of(ALL), there, tmp_path)
    assert verdict(compared(run_of(ALL), there, tmp_path, "cost_delta<=0")) == "met"


def test_a_file_without_keys_is_paired_by_id(tmp_path: Path) -> None:
    there = [{k: v for k, v in line.items() if k != "key"} for line in run_of(ALL)]
    earlier = runs(there, tmp_path)
    assert earlier.by == "id"
    assert earlier.keys() == {str(i) for i in range(400)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no line of a chosen setting"),
        ('{"policy":"pomdp","role":"curve","score":1}', "no line of a chosen setting"),
        ('{"policy":"pomdp","role":"cho', ":1: not JSON"),
        ('{"policy":"pomdp","role":"chosen","id":1,"score":NaN}', ":1: NaN is not a JSON number"),
        ('{"policy":"pomdp","role":"chosen","id":1,"score":null}', ":1: the score is missing"),
        ('{"policy":"pomdp","role":"chosen","id":1,"score":"1"}', ":1: quality is no number"),
        (
            '{"policy":"pomdp","role":"chosen","id":1,"score":1,"votes":{"a":"x"}}',
            ":1: a number is wanted where there is none",
        ),
        ('{"policy":"pomdp","role":"chosen","score":1}', 'for want of "policy" or "id"'),
        ('{"question":"What?","tiers":{}}', '"role" is needed'),
        ("[1]", '"role" is needed'),
    ],
)
def test_what_is_no_run_is_refused_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AutomixError) as refused:
        read_runs(path)
    assert isinstance(refused.value, DataError)
    assert message in refused.value.message


def test_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":401: a second run begins"):
        runs([*run_of(ALL), *run_of(ALL, setting={"cost_weight": 2.0})], tmp_path)


def test_a_file_that_is_absent_is_named_with_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as refused:
        read_runs(tmp_path / "none.jsonl")
    assert "without --runs none" in refused.value.hint
