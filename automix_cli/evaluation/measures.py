"""Every measure of `bench`: one entry says what it means, how it is computed and where it is shown.

Tables, CSV, Markdown, the page and the gates of `--fail-under` all read this list, so a new
measure is one more entry in `MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.relative import RelativeScores
from automix_cli.evaluation import figures
from automix_cli.evaluation.beside import with_label_spread
from automix_cli.evaluation.bootstrap import Average, BootstrapFigure, ColumnMeans
from automix_cli.evaluation.curves import aiq, apgr, cpt
from automix_cli.evaluation.figures import CurveMeans, Figure, SplitResult
from automix_cli.evaluation.play import PolicyRun, SingleTiers
from automix_cli.evaluation.rates import differing_chances
from automix_cli.pomdp.arrays import Bools, Floats
from automix_cli.texts import TOO_FEW_LABELS

RunLine = Mapping[str, Any]
"""A line of `runs.jsonl`."""

_SAME_SCORE = 1e-9  # scores that differ by less are equal
PARITIES = (99, 95)  # per cent of the best tier's quality

MeasureUnit = Literal["score", "USD per question", "share", "quality points", "per cent", "votes", "seconds"]


class TableColumn(Struct, frozen=True, kw_only=True):
    """Where a measure stands in the two tables of a terminal.

    Attributes:
        table: `points` has the setting chosen in training, `curves` all settings.
        head: the heading, short.
        place: columns are sorted by it; those with equal places keep the order of `MEASURES`.
        wide: whether only wide terminals show it.
        interval: whether its interval is a column of its own, and in which terminals.
        behind: key of a measure that is written behind it in brackets.
        least: of that measure: where it is less, the value itself is not shown.
        legend: what the heading stands for, under the table; "" where the heading says it.
    """

    table: Literal["points", "curves"]
    head: str
    place: int = 0
    wide: bool = False
    interval: Literal["none", "wide", "always"] = "none"
    behind: str = ""
    least: float = 0.0
    legend: str = ""


class MeasureSpec(Struct, frozen=True, kw_only=True):
    """A measure of a policy on held-out rows.

    Attributes:
        key: its name in JSON, in CSV and in gates.
        title: its heading in Markdown and on the page.
        definition: what it means.
        unit: of the value; dollars are shown per 1,000 questions.
        form: how the value is written, as a format specification; dollars have their own.
        rows: gives one value per held-out row; their mean is the measure, unless `figure` is given.
        line: gives the same value from a line of `runs.jsonl`, so that two runs can be compared row by row;
            None where the line does not hold it. A measure without it is none of single rows.
        figure: computes the measure where it is not a mean over rows (see `figures.py`, and `curves.py`
            for the formulas).
        better: which end tables mark as the best; None marks none.
        without_interval: why it has no interval; "" where it has one.
        column: where the tables of a terminal show it, if they do.
        markdown: how the report shows it.
        page: whether the page shows it.
        by_dataset: whether it is also computed on the rows of each dataset.
        by_labels: whose labels its interval rests on: the policy's own, those of single tiers, too, or of
            its curve as well. Where too few rows have one, it is withheld.
    """

    key: str
    title: str
    definition: str
    unit: MeasureUnit
    form: str = ""
    rows: Callable[[PolicyRun, SingleTiers], Floats | Bools] | None = None
    line: Callable[[RunLine], float | None] | None = None
    figure: Figure | None = None
    better: Literal["higher", "lower"] | None = None
    without_interval: str = ""
    column: TableColumn | None = None
    markdown: Literal["no", "value", "interval"] = "no"
    page: bool = True
    by_dataset: bool = False
    by_labels: Literal["no", "own", "tiers", "curve"] = "no"

    def compute(self, result: SplitResult) -> BootstrapFigure:
        """The measure of one policy on one split."""
        figure = self.figure(result) if self.figure else result.averages[self.key].figure()
        if self.unit == "score" and self.rows is not None:
            figure = figure._replace(questions=result.questions)
        if self.without_interval and figure.value is not None:
            return BootstrapFigure(figure.value, self.without_interval, np.empty(0))
        if result.lacks_labels_of(self.by_labels) and figure.value is not None:
            return BootstrapFigure(figure.value, TOO_FEW_LABELS, np.empty(0))
        return figure


# ------------------------------------------------------------------ values of rows


def _rows_helped(run: PolicyRun, single: SingleTiers) -> Floats:
    """Of each row, the chance that the answer reported scores more than that of the tier asked first."""
    return _chance(run, score_rises(single.scores) > _SAME_SCORE)


def _rows_hurt(run: PolicyRun, single: SingleTiers) -> Floats:
    return _chance(run, score_rises(single.scores) < -_SAME_SCORE)


def _chance(run: PolicyRun, is_wanted: Bools) -> Floats:
    chances: Floats = (run.outcome.pairs * is_wanted).sum(axis=(1, 2))
    return chances


def score_rises(scores: Floats) -> Floats:
    """Of n×N scores, how much more one tier scores than another: n×N×N, the tier asked first on axis 1."""
    rises: Floats = scores[:, None, :] - scores[:, :, None]
    return rises


def _sum(line: RunLine, key: str) -> float | None:
    """The sum over the tiers of a line; tiers that it does not name count 0."""
    own = line.get(key)
    return float(sum(own.values())) if isinstance(own, Mapping) else None


def _not_reported(line: RunLine) -> float | None:
    total = _sum(line, "report")
    return None if total is None else max(0.0, 1.0 - total)


# ------------------------------------------------------------------ the list


def _savings(parity: int) -> MeasureSpec:
    return MeasureSpec(
        key=f"savings_at_{parity}",
        title=f"saves at {parity} %",
        definition=f"cost saved by the cheapest setting that just kept {parity} % of the best tier in "
        "training, without the margin of the verdict's setting",
        unit="share",
        form=".0%",
        figure=figures.savings_at(parity),
        better="higher",
        column=TableColumn(
            table="curves",
            head=f"saves@{parity}",
            place=2,
            legend="saves: by the cheapest setting that just reached that share in training, not the "
            "verdict's; in brackets what it kept of the best tier's quality; – where that is less",
            behind=f"parity_at_{parity}",
            least=parity / 100,
        ),
        markdown="interval",
    )


def _parity(parity: int) -> MeasureSpec:
    return MeasureSpec(
        key=f"parity_at_{parity}",
        title=f"parity at {parity} %",
        definition="share of the best tier's quality that this setting reaches",
        unit="share",
        form=".1%",
        figure=figures.parity_at(parity),
        by_labels="curve",
        page=False,
    )


MEASURES: tuple[MeasureSpec, ...] = (
    MeasureSpec(
        key="quality",
        title="quality",
        definition="mean score",
        unit="score",
        form=".3f",
        rows=lambda run, single: run.outcome.score,
        line=lambda line: line.get("score"),
        better="higher",
        column=TableColumn(table="points", head="quality", interval="wide"),
        markdown="interval",
        by_dataset=True,
        by_labels="own",
    ),
    MeasureSpec(
        key="cost",
        title="USD per 1,000",
        definition="dollars spent, votes included",
        unit="USD per question",
        rows=lambda run, single: run.outcome.cost,
        line=lambda line: line.get("cost"),
        better="lower",
        column=TableColumn(table="points", head="USD/1,000"),
        markdown="interval",
        by_dataset=True,
    ),
    MeasureSpec(
        key="edge",
        title="edge, points",
        definition="quality points above the best random mix of single tiers at the same cost, "
        "corrected for the bias that the bootstrap shows",
        unit="quality points",
        form="+.1f",
        figure=figures.edge,
        better="higher",
        column=TableColumn(table="points", head="edge", place=1, interval="always"),
        markdown="interval",
        by_dataset=True,
        by_labels="tiers",
    ),
    MeasureSpec(
        key="lead",
        title="lead, points",
        definition="quality points above the curve of pomdp at the policy's own cost",
        unit="quality points",
        form="+.1f",
        figure=figures.lead,
        by_labels="curve",
        column=TableColumn(table="curves", head="lead", place=1, wide=True),
    ),
    MeasureSpec(
        key="escalated",
        title="escalated",
        definition="share of questions on which more than one tier was asked",
        unit="share",
        form=".0%",
        rows=lambda run, single: run.outcome.escalated,
        line=lambda line: line.get("escalated"),
        column=TableColumn(table="points", head="escal."),
        markdown="value",
    ),
    MeasureSpec(
        key="votes",
        title="votes",
        definition="verification votes bought per question",
        unit="votes",
        form=".1f",
        rows=lambda run, single: run.outcome.votes.sum(axis=1),
        line=lambda line: _sum(line, "votes"),
        column=TableColumn(table="points", head="votes"),
        markdown="value",
    ),
    MeasureSpec(
        key="abstained",
        title="abstained",
        definition="share of questions left without an answer on purpose",
        unit="share",
        form=".0%",
        rows=lambda run, single: run.outcome.abstained,
        line=lambda line: _not_reported(line),
        page=False,
    ),
    MeasureSpec(
        key="helped",
        title="helped",
        definition="share of questions on which escalating raised the score",
        unit="share",
        form=".0%",
        rows=_rows_helped,
        figure=figures.by_every_label("helped"),
        column=TableColumn(table="points", head="helped", wide=True),
    ),
    MeasureSpec(
        key="hurt",
        title="hurt",
        definition="share of questions on which escalating lowered the score",
        unit="share",
        form=".0%",
        rows=_rows_hurt,
        figure=figures.by_every_label("hurt"),
        column=TableColumn(table="points", head="hurt", wide=True),
    ),
    MeasureSpec(
        key="ibc_lift",
        title="ΔIBC %",
        definition="how many per cent more quality a dollar buys than going from small to large (AutoMix)",
        unit="per cent",
        form="+.0f",
        figure=figures.lift,
        by_labels="tiers",
        better="higher",
        column=TableColumn(
            table="curves",
            head="ΔIBC %",
            wide=True,
            legend="ΔIBC: how many per cent more quality a dollar buys than going from small to large",
        ),
        markdown="interval",
    ),
    MeasureSpec(
        key="aiq",
        title="AIQ",
        definition="mean height of the rising hull of the curve (RouterBench); the hull makes it optimistic",
        unit="score",
        form=".3f",
        figure=figures.on_curve(aiq),
        by_labels="curve",
        better="higher",
        column=TableColumn(table="curves", head="AIQ", legend="AIQ: mean height of the curve's hull"),
        markdown="interval",
    ),
    MeasureSpec(
        key="apgr",
        title="APGR",
        definition="share of the quality gap recovered, averaged over cost (RouteLLM)",
        unit="share",
        form=".2f",
        figure=figures.on_curve(apgr),
        by_labels="curve",
        better="higher",
        column=TableColumn(
            table="curves",
            head="APGR",
            legend="APGR: share of the gap small to large recovered, mean over cost",
        ),
        markdown="interval",
    ),
    MeasureSpec(
        key="cpt_50",
        title="CPT(50)",
        definition="least cost, as a share of the range, that recovers half of the gap (RouteLLM)",
        unit="share",
        form=".2f",
        figure=figures.on_curve(cpt(0.5)),
        by_labels="curve",
        better="lower",
        column=TableColumn(
            table="curves",
            head="CPT50",
            legend="CPT50: least share of the cost range that recovers half of it",
        ),
        markdown="interval",
    ),
    MeasureSpec(
        key="cpt_80",
        title="CPT(80)",
        definition="the same for 80 % of the gap",
        unit="share",
        form=".2f",
        figure=figures.on_curve(cpt(0.8)),
        by_labels="curve",
        better="lower",
        column=TableColumn(table="curves", head="CPT80", legend="CPT80: 80 % of it"),
        markdown="interval",
    ),
    MeasureSpec(
        key="gain_area",
        title="gain area",
        definition="mean height of the curve above the random mix of single tiers, quality points; no hull "
        "of held-out points (with two tiers the mix is the line from small to large)",
        unit="quality points",
        form="+.2f",
        figure=figures.gain,
        by_labels="curve",
        better="higher",
        column=TableColumn(table="curves", head="gain", interval="wide"),
        markdown="interval",
    ),
    *map(_savings, PARITIES),
    *map(_parity, PARITIES),
    MeasureSpec(
        key="latency",
        title="latency, s",
        definition="seconds of the answers asked for",
        unit="seconds",
        form=".2f",
        rows=lambda run, single: np.nan_to_num(run.outcome.latency),
        line=lambda line: line.get("latency"),
        figure=figures.latency,
        page=False,
    ),
    MeasureSpec(
        key="router_latency",
        title="own time",
        definition="the policy's own time, as a share of the small tier's latency",
        unit="share",
        form=".1%",
        figure=figures.router_latency,
        without_interval="by the clock of this machine: no interval",
    ),
)
MEASURE_BY_KEY: Mapping[str, MeasureSpec] = {spec.key: spec for spec in MEASURES}
LINE_MEASURES = tuple(spec for spec in MEASURES if spec.line is not None)
"""The measures in which two runs can be compared row by row."""
_ROW_MEASURES = tuple(spec for spec in MEASURES if spec.rows is not None)


def _display_rank(spec: MeasureSpec) -> tuple[int, int]:
    if spec.column is None:
        return 2, 0
    return ("points", "curves").index(spec.column.table), spec.column.place


DISPLAY_ORDER = tuple(sorted(MEASURES, key=_display_rank))
"""The measures as tables show them: points, curves, and those that stand in neither table."""


# ------------------------------------------------------------------ one policy


def split_result(run: PolicyRun, single: SingleTiers, pomdp_curve: CurveMeans | None) -> SplitResult:
    """Average what measures need of a policy, over the held-out rows and in every resample.

    All columns are averaged in one matrix product: those of the chosen setting, then the scores
    and the costs of every setting of the curve.

    Args:
        run: the policy.
        single: the single tiers on the same rows.
        pomdp_curve: the curve of `pomdp`, if that took part; of `pomdp` itself it is computed here.
    """
    columns = _columns(run, single, _ROW_MEASURES)
    means = ColumnMeans.of(np.hstack([columns, run.scores, run.costs]), single.resamples)
    n, k = columns.shape[1], len(run.curve)
    test = single.split.test
    scores, lacks_labels = with_label_spread(means.part(n, n + k), run.differing, test.relative)
    curve = CurveMeans(scores, means.part(n + k, n + 2 * k), lacks_labels)
    averages = {spec.key: means.column(i) for i, spec in enumerate(_ROW_MEASURES)}
    own = differing_chances(run.outcome.reports, test.score)
    averages["quality"], lacks = _quality(averages["quality"], own, test.relative)
    return SplitResult(
        single=single,
        run=run,
        averages=averages,
        lacks_labels=lacks,
        curve=curve,
        pomdp_curve=curve if run.entry.name == "pomdp" else pomdp_curve,
    )


def _quality(own: Average, differing: Floats, relative: RelativeScores | None) -> tuple[Average, bool]:
    """A mean score whose draws are as wide as labels tell, and whether these are too few."""
    column = ColumnMeans(np.array([own.value]), own.draws[:, None])
    means, (lacks_labels,) = with_label_spread(column, differing[:, None], relative)
    return means.column(0), lacks_labels


def _columns(run: PolicyRun, single: SingleTiers, specs: Sequence[MeasureSpec]) -> Floats:
    """The values of every held-out row, a column per measure."""
    columns = [spec.rows(run, single) for spec in specs if spec.rows is not None]
    return np.column_stack(columns).astype(float)


def compute_all(result: SplitResult) -> dict[str, BootstrapFigure]:
    """Every measure of one policy on one split."""
    return {spec.key: spec.compute(result) for spec in MEASURES}


def compute_slice(result: SplitResult, rows: Bools) -> dict[str, BootstrapFigure]:
    """The measures that have `by_dataset`, on some of the held-out rows."""
    specs = [spec for spec in MEASURES if spec.by_dataset]
    row_specs = [spec for spec in specs if spec.rows is not None]
    single = result.single.on_rows(rows)
    means = ColumnMeans.of(_columns(result.run, result.single, row_specs)[rows], single.resamples)
    averages = {spec.key: means.column(i) for i, spec in enumerate(row_specs)}
    test = result.single.split.test
    relative = None if test.relative is None else test.relative.take(rows)
    own = differing_chances(result.run.outcome.reports, test.score)[rows]
    averages["quality"], lacks = _quality(averages["quality"], own, relative)
    part = replace(result, single=single, averages=averages, lacks_labels=lacks)
    return {spec.key: spec.compute(part) for spec in specs}
