"""What is said where answers are compared with a baseline's: nothing of right, wrong and quality."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from comparisons import compared, view_of
from msgspec.structs import replace
from rich.console import Console

from automix_cli.data.labelled import TableOptions
from automix_cli.data.relative import TableReader
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.baseline_policies import Oracle
from automix_cli.evaluation.beside import single_reports
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.calibrate import Calibration, Figures
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.loss import LossAgainst, loss_of
from automix_cli.evaluation.objective import Objective, SettingChoice
from automix_cli.evaluation.policy_entry import why_unable
from automix_cli.evaluation.settings import Always
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.texts import TOO_FEW_LABELS
from automix_cli.views.bench_files import summary
from automix_cli.views.bench_markdown import report_markdown
from automix_cli.views.bench_tables import bench_parts
from automix_cli.views.bench_view import BenchView
from automix_cli.views.beside_words import all_alike_words, answer_words, worse_words
from automix_cli.views.calibration_view import CalibrationView
from automix_cli.views.chart import frontier_svg
from automix_cli.views.page import page
from automix_cli.views.terminal_plot import terminal_plot

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


def calibration_of(table: TraceTable) -> Calibration:
    """A calibration that came to the baseline alone."""
    return Calibration(
        tiers=table.tiers,
        settings=Settings(),
        fitted=fit(table, Settings()),
        objective=Objective(),
        choice=SettingChoice(Always("large"), Point(9.0, 1.0)),
        single="large",
    )


@pytest.mark.parametrize("every", [2, ROWS + 1], ids=["half are equal", "hardly any is equal"])
def test_calibrate_speaks_of_answers_that_are_equal_or_differ(every: int) -> None:
    table = table_with(0, every)
    view = CalibrationView(calibration_of(table), table, "rows.jsonl", "large")
    text = "\n".join([*view.health_lines(), *view.notes()])
    assert "agrees by confidence" in text
    assert not re.search(r"\b(right|wrong|quality|worse|accuracy)\b", text)


@pytest.mark.parametrize("lacks", [False, True], ids=["agreement", "few labels"])
def test_calibrate_shows_no_verdict_and_no_quality_where_labels_are_too_few(lacks: bool) -> None:
    table = table_with(0)
    result = replace(
        calibration_of(table),
        verdict=None if lacks else RoutingVerdict("not enough rows", 0.0, -0.01, 0.02, 100),
        lacks_labels=lacks,
        figures=tuple(
            Figures(f"always:{t}", Measure(c), Measure(1.0)) for t, c in (("small", 1), ("large", 9))
        ),
        loss=LossAgainst(baseline="large", differing=0.3, most=0.4, labels=(9 * lacks, 4), by_labels=None),
    )
    values = CalibrationView(result, table, "rows.jsonl", "large").to_dict()
    assert (values["verdict"] is None) == (values["written"]["quality"] is None) == lacks
    assert "Not enough" not in values["sentence"]


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


@pytest.mark.parametrize("splits", [1, 3])
def test_a_loss_of_one_of_several_splits_is_called_one(splits: int) -> None:
    table = table_with(30)
    result = compared(table, "threshold", Objective("cost_weight", 1.0))
    view = view_of(replace(result, partitions=result.partitions * splits), table, baseline="large")
    one = ", in the split of 3 where most can be lost" if splits > 1 else ""
    assert f"threshold{one}: at most " in view.sentence()


def page_words(view: BenchView) -> str:
    """What a page shows, and the texts in its data."""
    text = page(view, Settings())
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    shown = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    keys = re.sub(r"<dt>.*?</dt>", "", shown)  # the names of figures in JSON, which stay as they are
    return re.sub(r'"\w+":', "", f"{re.sub('<[^>]*>', ' ', keys)} {json.dumps(data)}") + " ".join(
        re.findall(r'data-text="([^"]*)"', shown)
    )


def texts_in(value: Any) -> Iterator[str]:
    """The texts in JSON, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)


def texts_of(view: BenchView) -> dict[str, str]:
    """All that `bench` shows, by form."""
    console = Console(width=200, file=io.StringIO(), color_system=None)
    for part in bench_parts(view, 200):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return {
        "terminal": console.file.getvalue(),
        "plot": terminal_plot(view),
        "Markdown": report_markdown(view),
        "chart": " ".join(re.findall(r">([^<]+)<", frontier_svg(view))),
        "page": page_words(view),
        "JSON": " ".join(texts_in(summary(view))),
    }


@pytest.mark.parametrize(
    ("objective", "loses"), [(Objective("keep", 0.98), False), (Objective("cost_weight", 1.0), True)]
)
def test_without_a_label_bench_speaks_of_agreement_and_of_points_lost(
    objective: Objective, loses: bool
) -> None:
    table = table_with(0)
    result = compared(table, "threshold,pomdp,oracle", objective)
    view = view_of(result, table, baseline="large")
    for form, text in texts_of(view).items():
        words = re.search(r".*\b(right|wrong|quality|score|helped|hurt|accuracy|best tier)\b.*", text)
        assert not words, (form, words and words[0])
        if form not in ("page", "chart"):
            assert "agreement with large" in text
    assert view.comparison.loss is not None
    words = re.search(r"at most \d+\.\d points below large on new questions", view.sentence())
    assert bool(words) == loses, "large alone loses nothing against itself"
    assert summary(view)["loss"]["most_points"] == 100 * view.comparison.loss.most


def test_bench_withholds_what_too_few_labels_cannot_tell() -> None:
    table = table_with(6)
    view = view_of(compared(table, "threshold,oracle"), table, baseline="large")
    own = view.comparison.outcome("always:small").measures
    assert own["quality"].value is not None
    for key in ("quality", "edge"):
        assert (own[key].low, own[key].reason) == (None, TOO_FEW_LABELS)
    assert own["helped"].reason == "it takes a label of every row"
    assert own["cost"].low is not None
    assert view.comparison.outcome("always:large").measures["quality"][2:] == (1.0, 1.0)
    assert view.comparison.gains["always:small", "large"] == Measure(None, TOO_FEW_LABELS)
    assert "too few rows held out have the label that tells what is lost" in view.sentence()
    assert why_unable(Oracle(), table) == "it takes a label of every row"


def test_an_interval_of_bench_is_that_of_the_loss_by_labels() -> None:
    """Seven of eight rows have a label: the small tier's answer is wrong wherever it differs."""
    table = table_with(70)
    result = compared(table, "threshold")
    [cut], own = result.partitions, result.outcome("always:small").measures["quality"]
    test = table.subset(cut.test)
    loss = loss_of(test, single_reports(test, "small"), Resamples.of_table(test, cut.seed))
    assert loss is not None
    assert loss.by_labels is not None
    assert own.value == pytest.approx(1 - loss.by_labels.value)
    assert own.low is not None
    assert own.high is not None
    width = loss.by_labels.high - loss.by_labels.low
    assert own.high - own.low == pytest.approx(width, rel=0.1)  # percentiles of draws of that width
    plain = Resamples.of_table(test, cut.seed).means(test.worth[:, 0]).std() * 2 * 1.96
    assert width > 1.05 * plain


def test_without_a_baseline_right_and_wrong_are_what_they_were() -> None:
    assert answer_words("no right answers", None) == "no right answers"
    words = all_alike_words("small", None, right=True)
    assert words.startswith("small is right on every row, so nothing shows when to escalate: ")
    assert worse_words("mid", "small", None) == "mid costs more than small and is worse on these rows"
