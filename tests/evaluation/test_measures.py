"""The list of measures: every entry is computed, shown and named in one way only."""

import csv
import json
from collections import Counter
from io import StringIO

import pytest
from known import draw_table, two_tiers

from automix_cli.errors import UsageError
from automix_cli.evaluation.bench import Bench, bench
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.gates import read_gates
from automix_cli.evaluation.measures import DISPLAY_ORDER, MEASURE_BY_KEY, MEASURES
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.fitting.router_block import Settings
from automix_cli.views.bench_files import summary, summary_csv
from automix_cli.views.bench_markdown import report_markdown
from automix_cli.views.bench_view import BenchView

TABLE = draw_table(two_tiers(), 80, 0)


@pytest.fixture(scope="module")
def comparison() -> Bench:
    objective = Objective("keep", 0.95)
    entries = pick_policies("threshold", all_policies(TABLE.tiers))
    return bench(
        TABLE,
        entries,
        Settings(max_votes=4),
        objective,
        partitions=partitions_of(TABLE, 0.5),
        options=Crossfit(folds=2),
    )


@pytest.fixture
def view(comparison: Bench) -> BenchView:
    return BenchView(comparison=comparison, table=TABLE, source="rows.jsonl", sha256="0" * 64)


def test_keys_and_headings_are_unique_and_name_each_other() -> None:
    heads = [(m.column.table, m.column.head) for m in MEASURES if m.column]
    for names in ([m.key for m in MEASURES], [m.title for m in MEASURES], heads):
        assert max(Counter(names).values()) == 1
    assert all(m.column.behind in MEASURE_BY_KEY for m in MEASURES if m.column and m.column.behind)
    assert sorted(m.key for m in DISPLAY_ORDER) == sorted(MEASURE_BY_KEY)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.key)
def test_a_measure_is_computed_from_rows_or_by_a_figure(measure: object) -> None:
    assert measure.rows is not None or measure.figure is not None
    assert measure.unit == "USD per question" or f"{0.5:{measure.form}}"


def test_every_measure_stands_in_the_files(view: BenchView) -> None:
    plain = json.loads(json.dumps(summary(view)))
    head = next(csv.reader(StringIO(summary_csv(view))))
    for measure in MEASURES:
        assert plain["definitions"][measure.key] == measure.definition
        assert {"value", "low", "high"} <= set(plain["policies"]["threshold"][measure.key])
        assert [name for name in head if name.removesuffix("_low").removesuffix("_high") == measure.key] == [
            measure.key,
            f"{measure.key}_low",
            f"{measure.key}_high",
        ]


def test_the_report_has_a_column_for_each_measure_that_asks_for_one(view: BenchView) -> None:
    head = next(line for line in report_markdown(view).splitlines() if line.startswith("| policy"))
    titles = [measure.title for measure in DISPLAY_ORDER if measure.markdown != "no"]
    assert head == f"| policy | setting | {' | '.join(titles)} |"


def test_a_measure_has_an_interval_unless_it_says_why_not(comparison: Bench) -> None:
    measures = comparison.outcome("threshold").measures
    for measure in MEASURES:
        own = measures[measure.key]
        if measure.without_interval and own.value is not None:
            assert (own.low, own.reason) == (None, measure.without_interval)
        elif own.value is not None:
            assert own.low is not None or own.reason, measure.key
    assert measures["quality"].low is not None


def test_every_measure_can_be_a_gate() -> None:
    gates = read_gates(",".join(f"{measure.key}>=0" for measure in MEASURES))
    assert [gate.figure for gate in gates] == [measure.key for measure in MEASURES]
    with pytest.raises(UsageError, match="no figure 'qualty'; did you mean quality"):
        read_gates("qualty>=0")
