"""What is said where answers are compared with a baseline's: nothing of right, wrong and quality."""

import re

import numpy as np
import pytest
from comparisons import compared, view_of

from automix_cli.data.labelled import TableOptions
from automix_cli.data.relative import TableReader
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import Calibration
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.objective import Objective, SettingChoice
from automix_cli.evaluation.settings import Always
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.views.bench_files import summary
from automix_cli.views.bench_markdown import report_markdown
from automix_cli.views.beside_words import all_alike_words, answer_words, worse_words
from automix_cli.views.calibration_view import CalibrationView

ROWS = 80


def table_with(labels: int, every: int = 2) -> TraceTable:
    """On one row in so many the small tier's answer is the large one's; the first rows have a label."""
    rows = [
        {
            "id": n,
            "question": f"question {n}",
            "tiers": {
                "small": {
                    "answer": "a" if n % every == 0 else "b",
                    "cost": 1,
                    "vote_cost": 1,
                    "votes": [1, n % 2, 1],
                },
                "large": {"answer": "a", "cost": 9},
            },
            **({"expected": "a"} if n < labels else {}),
        }
        for n in range(ROWS)
    ]
    reader = TableReader(lambda: enumerate(rows, 1), TableOptions(), "rows.jsonl", "exact")
    return reader.table(labels_from=None, baseline="large", say=lambda text: None)


@pytest.mark.parametrize("every", [2, ROWS + 1], ids=["half are equal", "hardly any is equal"])
def test_calibrate_speaks_of_answers_that_are_equal_or_differ(every: int) -> None:
    table = table_with(0, every)
    result = Calibration(
        tiers=table.tiers,
        settings=Settings(),
        fitted=fit(table, Settings()),
        objective=Objective(),
        choice=SettingChoice(Always("large"), Point(9.0, 1.0)),
        single="large",
    )
    view = CalibrationView(result, table, "rows.jsonl", "large")
    text = "\n".join([*view.health_lines(), *view.notes()])
    assert "agrees by confidence" in text
    assert not re.search(r"\b(right|wrong|quality|worse|accuracy)\b", text)


@pytest.mark.parametrize("labels", [0, 30])
def test_bench_says_how_many_labels_stand_behind_its_figures(labels: int) -> None:
    table = table_with(labels)
    view = view_of(compared(table, "always"), table, baseline="large")
    own = summary(view)
    [cut] = view.comparison.partitions
    held_out = {"labels": int((np.asarray(cut.test) < labels).sum()), "rows": len(cut.test)}
    assert own["held_out"] == held_out
    assert sum(own["splits"][0]["labels"].values()) == labels
    words = f"{held_out['labels']} of {held_out['rows']} rows held out have a label"
    assert words in view.head()
    report = report_markdown(view)
    assert words in report
    assert ("| quality |" in report) == (labels > 0)
    assert ("| agreement |" in report) == (labels == 0)


def test_without_a_baseline_right_and_wrong_are_what_they_were() -> None:
    assert answer_words("no right answers", None) == "no right answers"
    assert (
        all_alike_words("small", None, right=True) == "every answer of small is right: nothing to tell apart"
    )
    assert worse_words("mid", "small", None) == "mid costs more than small and is worse on these rows"
