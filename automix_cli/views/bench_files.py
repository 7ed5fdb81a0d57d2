"""The comparison as plain values: `summary.json`, `summary.csv` and the lines of `runs.jsonl`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from automix_cli.data.jsonl import dumps
from automix_cli.evaluation.bench import CurvePoint, PolicyOutcome
from automix_cli.evaluation.curves import LEVEL, Measure
from automix_cli.evaluation.measures import MEASURES
from automix_cli.evaluation.play import Run
from automix_cli.evaluation.settings import setting_text
from automix_cli.views.against_words import against_dict
from automix_cli.views.bench_view import BenchView
from automix_cli.views.verdict_words import alternative_dict, loss_dict, measure_of, verdict_dict

BENCH_SCHEMA = "automix.bench/1"

# ------------------------------------------------------------------ summary.json


def summary(view: BenchView) -> dict[str, Any]:
    """Everything as plain values."""
    result = view.comparison
    grouping, own = view.table.grouping, view.reach()
    return {
        "schema": BENCH_SCHEMA,
        "source": view.source,
        "sha256": view.sha256,
        "rows": len(view.table),
        "questions": grouping.n_questions,
        "groups": len(grouping),
        "tiers": list(result.tiers),
        "small": result.small,
        "large": result.large,
        "measure": view.measure,
        "held_out": view.held_out_labels(),
        "level": LEVEL,
        "objective": result.objective._asdict(),
        "reach": None if own is None else own._asdict(),
        "splits": list(_splits(view)),
        "policies": {o.name: _policy(view, o) for o in result.outcomes},
        "headline": result.headline,
        "verdict": verdict_dict(result.outcome(result.headline).verdict),
        "loss": loss_dict(result.loss),
        "payer": view.payer_lines(),
        "alternative": alternative_dict(result.alternative),
        "left_out": [one._asdict() for one in result.left_out],
        "sentence": view.sentence(),
        "against": against_dict(view.against),
        "notes": view.remarks(),
        "definitions": {spec.key: view.words(spec.definition) for spec in MEASURES},
    }


def _splits(view: BenchView) -> Iterator[dict[str, Any]]:
    grouping = view.table.grouping
    for cut, twins in zip(view.comparison.partitions, view.comparison.duplicates, strict=True):
        train, test = grouping.subset(cut.train), grouping.subset(cut.test)
        yield {
            "seed": cut.seed,
            "train": len(cut.train),
            "test": len(cut.test),
            "labels": {"train": view.labels_of(cut.train), "test": view.labels_of(cut.test)},
            "questions": {"train": train.n_questions, "test": test.n_questions},
            "groups": {"train": len(train), "test": len(test)},
            "duplicates": {"exact": len(twins.exact), "near": len(twins.near), "share": twins.share},
        }


def _policy(view: BenchView, o: PolicyOutcome) -> dict[str, Any]:
    by_split: dict[str, Any] = {}
    if len(view.comparison.partitions) > 1:
        by_split["by_split"] = {key: list(values) for key, values in o.by_split.items()}
        by_split["curve_by_split"] = [[_curve_point(p) for p in curve] for curve in o.curves]
    return {
        "group": o.group,
        "chosen": [
            {"setting": c.setting.to_dict(), "trained": list(c.point), "met": c.is_met} for c in o.choices
        ],
        **{spec.key: _in_words(view, o.measures[spec.key]) for spec in MEASURES},
        **by_split,
        "curve": [_curve_point(p) for p in o.curve],
        "datasets": {
            name: {key: _in_words(view, m) for key, m in part.items()} for name, part in o.slices.items()
        },
        "money": {s.tier: {"answers": s.answers, "votes": s.votes} for s in o.spending},
        "decision_seconds": o.seconds,
        "verdict": verdict_dict(o.verdict),
    }


def _in_words(view: BenchView, m: Measure) -> dict[str, Any]:
    """A measure as plain values, its reason in the words of these rows."""
    return measure_dict(m._replace(reason=view.words(m.reason)))


def _curve_point(point: CurvePoint) -> dict[str, Any]:
    return {
        "setting": point.setting.to_dict(),
        "trained": list(point.training),
        "cost": measure_dict(point.cost),
        "quality": measure_dict(point.quality),
    }


def measure_dict(m: Measure) -> dict[str, Any]:
    """A measure as plain values; the reason only where something is missing."""
    row: dict[str, Any] = {"value": m.value, "low": m.low, "high": m.high}
    return {**row, "reason": m.reason} if m.reason and (m.value is None or m.low is None) else row


# ------------------------------------------------------------------ summary.csv


def summary_csv(view: BenchView) -> str:
    """A line per policy; each measure with its bounds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [f"{spec.key}{end}" for spec in MEASURES for end in ("", "_low", "_high")]
    writer.writerow(["policy", "group", "setting", *bounds])
    for o in view.comparison.outcomes:
        writer.writerow([o.name, o.group, setting_text(o.choices[0].setting), *_csv_cells(o)])
    return out.getvalue()


def _csv_cells(o: PolicyOutcome) -> Iterator[str]:
    for spec in MEASURES:
        measure = o.measures[spec.key]
        yield from ("" if x is None else repr(x) for x in (measure.value, measure.low, measure.high))


# ------------------------------------------------------------------ runs.jsonl


def run_lines(run: Run) -> Iterator[str]:
    """The lines of one policy at one setting: one per row, in the order of the table.

    There may be millions of them. What many rows share is therefore serialised once, and the
    line is joined from text. The first line of the setting chosen also holds how it was chosen.
    """
    out, table = run.outcome, run.table
    setting = ",".join(f"{dumps(key)}:{dumps(value)}" for key, value in run.setting.to_dict().items())
    measure = "" if table.relative is None else f',"measure":{dumps(measure_of(table))}'
    start = f'{{"policy":{dumps(run.policy)},"setting":{{{setting}}},"role":"{run.role}","seed":{run.seed}'
    start += measure
    tiers = [dumps(name) for name in table.tiers]
    choice = "" if run.luck is None else f',"choice":{dumps(run.luck.to_dict())}'
    actions: dict[bytes, str] = {}
    rows = zip(
        table.ids[out.rows],
        table.grouping.row_keys[out.rows].tolist(),
        np.hstack([out.reports, out.asks, out.votes]),
        out.score.tolist(),
        out.cost.tolist(),
        out.latency.tolist(),
        out.escalated.tolist(),
        strict=True,
    )
    for ident, question, chances, score, cost, latency, escalated in rows:
        key = chances.tobytes()
        if key not in actions:
            actions[key] = _actions(tiers, chances.tolist())
        seconds = "null" if latency != latency else repr(latency)
        figures = f'"escalated":{escalated:.14g},"score":{score!r},"cost":{cost!r},"latency":{seconds}'
        yield f'{start},"id":{dumps(ident)},"key":"{question:016x}",{actions[key]},{figures}{choice}}}\n'
        choice = ""


def _actions(tiers: Sequence[str], actions: Sequence[float]) -> str:
    """The chances of each tier to be reported and to be asked, and its expected votes, as JSON."""
    n = len(tiers)
    keys = zip(("report", "asked", "votes"), (actions[:n], actions[n : 2 * n], actions[2 * n :]), strict=True)
    return ",".join(f'"{key}":{{{_numbers(tiers, own)}}}' for key, own in keys)


def _numbers(tiers: Sequence[str], values: Sequence[float]) -> str:
    return ",".join(f"{name}:{x:.14g}" for name, x in zip(tiers, values, strict=True) if x)
