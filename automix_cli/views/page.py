"""The comparison as one HTML page: no network, no library, nothing of the rows read as markup.

Python prepares every text and number; `assets/page.js` only draws. What comes from the rows
travels as JSON in a script element in which `<`, `>` and `&` are escaped, so no text can end
it, and is shown through text nodes. A policy in the head forbids every request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from automix_cli.evaluation.bench import Moved, Outcome
from automix_cli.evaluation.metrics import Measure
from automix_cli.evaluation.settings import setting_text
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.plan import PlanRow
from automix_cli.views.bench_view import DEFINITIONS, BenchView, amount
from automix_cli.views.calibration_view import ranges
from automix_cli.views.plots import Axis, Series, axes, frontier_svg, series, single_hull
from automix_cli.views.report import one_line

_EXAMPLES = 8
_RARE = 0.002  # of a plan's chances: what hardly happens is not shown
_SHADES = ("#56b4e9", "#0072b2", "#e69f00", "#d55e00", "#8fb339", "#4c8c2b", "#cc79a7", "#8b4f7d")

_COLUMNS = (
    ("quality", "quality", ".3f", 1.0),
    ("cost", "USD per 1,000", "", 1000.0),
    ("escalated", "escalated", ".0%", 1.0),
    ("votes", "votes", ".1f", 1.0),
    ("helped", "helped", ".0%", 1.0),
    ("hurt", "hurt", ".0%", 1.0),
    ("edge", "edge", "+.1f", 1.0),
    ("lead", "lead", "+.1f", 1.0),
    ("ibc_lift", "ΔIBC %", "+.0f", 1.0),
    ("aiq", "AIQ", ".3f", 1.0),
    ("apgr", "APGR", ".2f", 1.0),
    ("cpt_50", "CPT(50)", ".2f", 1.0),
    ("cpt_80", "CPT(80)", ".2f", 1.0),
    ("gain_area", "gain area", "+.2f", 1.0),
    ("savings_at_99", "saves at 99 %", ".0%", 1.0),
    ("savings_at_95", "saves at 95 %", ".0%", 1.0),
    ("router_latency", "own time", ".1%", 1.0),
)


def page(view: BenchView, settings: Settings) -> str:
    """The whole page."""
    verdict = view.found.outcome(view.found.headline).verdict
    kind = {"route": "route", "do not route": "not"}.get(verdict.kind if verdict else "", "")
    notes = "".join(f"<li>{escape(note)}</li>" for note in view.remarks())
    words = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in DEFINITIONS.items())
    return _asset("page.html").format(
        title=escape(f"{view.source}: comparison of routing policies"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        head=escape(view.head()),
        verdict=escape(view.sentence()),
        kind=kind,
        notes=f"<ul>{notes}</ul>" if notes else "",
        words=words,
        headline=escape(view.found.headline),
        still=frontier_svg(view),
        data=embedded(_data(view, settings)),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    r"""JSON that no text in it can end, whatever element it stands in.

    Example:
        >>> embedded("</script>")
        '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


# ------------------------------------------------------------------ what the page draws


def _data(view: BenchView, settings: Settings) -> dict[str, Any]:
    found = series(view)
    cost, quality = axes(found)
    return {
        "measure": view.measure,
        "axes": {"cost": _axis(cost), "quality": _axis(quality)},
        "hull": [list(point) for point in single_hull(found)],
        "series": [_series(s, view) for s in found],
        "table": {
            "heads": [
                {"name": "policy", "about": ""},
                *({"name": title, "about": DEFINITIONS[name]} for name, title, _, _ in _COLUMNS),
            ],
            "rows": [_row(o, view.found.headline) for o in view.found.outcomes],
        },
        "health": [_health(tier) for tier in view.health(settings.pass_score)],
        "money": _money(view),
        "escalation": _escalation(view),
        "plan": _plan(view),
        "planless": _planless(view),
    }


def _axis(found: Axis) -> dict[str, Any]:
    return {"low": found.low, "high": found.high, "ticks": list(found.ticks)}


def _series(s: Series, view: BenchView) -> dict[str, Any]:
    outcome = view.found.outcome(s.name)
    drawn = sorted(outcome.curve, key=lambda p: p.cost.value or 0) if s.curve else []
    return {
        "name": s.name,
        "group": s.group,
        "ours": s.name == view.found.headline,
        "colour": s.colour,
        "shape": s.shape,
        "cost": s.cost._asdict(),
        "quality": s.quality._asdict(),
        "setting": setting_text(outcome.chosen[0].setting),
        "text": _hover(outcome.measures["quality"], outcome.measures["cost"]),
        "curve": [
            {
                "cost": 1000 * (p.cost.value or 0),
                "quality": p.quality.value or 0,
                "setting": setting_text(p.setting),
                "text": _hover(p.quality, p.cost),
            }
            for p in drawn
        ],
    }


def _hover(quality: Measure, cost: Measure) -> str:
    a, b = _cell(quality, ".3f", 1.0), _cell(cost, "", 1000.0)
    return f"quality {a['value']} {a['range']}\n{b['value']} {b['range']} USD per 1,000"


def _cell(m: Measure, form: str, scale: float) -> dict[str, str]:
    """A figure and its interval; dollars where there is no format."""

    def written(value: float) -> str:
        return f"{scale * value:{form}}" if form else amount(scale * value)

    if m.value is None:
        return {"value": "–", "range": "", "reason": m.reason}
    bounds = "" if m.low is None or m.high is None else f"({written(m.low)} to {written(m.high)})"
    return {"value": written(m.value), "range": bounds, "reason": m.reason}


def _row(o: Outcome, headline: str) -> dict[str, Any]:
    kind = "ours" if o.name == headline else "bound" if o.group == "bound" else ""
    return {
        "name": o.name,
        "kind": kind,
        "cells": [_cell(o.measures[n], form, scale) for n, _, form, scale in _COLUMNS],
    }


def _health(tier: dict[str, Any]) -> dict[str, Any]:
    bins = [
        {
            **{key: row[key] for key in ("confidence", "right", "low", "high", "rows")},
            "text": f"confidence {row['confidence']:.2f}: {row['right']:.0%} of {row['rows']:,} right",
        }
        for row in tier["table"]
    ]
    auroc = "AUROC undefined" if tier["auroc"] is None else f"AUROC {tier['auroc']:.2f}"
    return {"tier": tier["tier"], "signal": tier["signal"], "auroc": auroc, "table": bins}


def _money(view: BenchView) -> dict[str, Any]:
    keys = [f"{tier}: {what}" for tier in view.found.tiers for what in ("answers", "votes")]
    rows = []
    for o in view.found.outcomes:
        parts = [1000 * part for spent in o.spent for part in (spent.answers, spent.votes)]
        texts = [f"{amount(part)} USD per 1,000" for part in parts]
        rows.append({"name": o.name, "parts": parts, "texts": texts, "text": amount(sum(parts))})
    colours = [_SHADES[k % len(_SHADES)] for k in range(len(keys))]
    return {"keys": [{"name": n, "colour": c} for n, c in zip(keys, colours, strict=True)], "rows": rows}


# ------------------------------------------------------------------ escalation


_KINDS = (("helped", "good", "#1a9850"), ("made no difference", "", "#9aa0a6"), ("hurt", "bad", "#d73027"))


def _escalation(view: BenchView) -> dict[str, Any]:
    """Counts per dataset, and the rows on which it changed most."""
    moved = view.found.moved
    datasets = [str(view.table.datasets[m.row] or "all rows") for m in moved]
    rows = []
    for name in sorted(set(datasets)):
        own = [_kind(m) for m, at in zip(moved, datasets, strict=True) if at == name]
        parts = [own.count(kind) for kind, _, _ in _KINDS]
        texts = [f"{part:,} rows" for part in parts]
        rows.append({"name": one_line(name), "parts": parts, "texts": texts, "text": f"{sum(parts):,}"})
    return {
        "keys": [{"name": kind, "colour": colour} for kind, _, colour in _KINDS],
        "rows": rows,
        "examples": [e for kind, css, _ in _KINDS if css and (e := _examples(view, kind, css))],
    }


def _kind(m: Moved) -> str:
    if abs(m.after - m.before) < 1e-9:
        return "made no difference"
    return "helped" if m.after > m.before else "hurt"


def _examples(view: BenchView, kind: str, css: str) -> dict[str, Any] | None:
    own = [m for m in view.found.moved if _kind(m) == kind]
    if not own:
        return None
    rows = [
        {
            "id": one_line(str(view.table.ids[m.row]), 40),
            "question": one_line(str(view.table.texts[m.row]), 120),
            "change": f"{m.first} {m.before:.2g} → {m.last} {m.after:.2g}",
        }
        for m in own[:_EXAMPLES]
    ]
    return {"title": f"{kind}: {len(own):,} rows, for example", "kind": css, "rows": rows}


# ------------------------------------------------------------------ the plan


def _planless(view: BenchView) -> str:
    setting = setting_text(view.found.outcome(view.found.headline).chosen[0].setting)
    return f"There is no plan to show: {view.found.headline} is set to {setting}."


def _plan(view: BenchView) -> list[dict[str, Any]]:
    """Tier, then votes bought, then what is done at which counts."""
    rows = [row for row in view.found.plan if row.probability >= _RARE]
    return [
        _branch(f"ask {name}", own, list(_rounds(own, view, tier)))
        for tier, name in enumerate(view.found.tiers)
        if (own := [row for row in rows if row.tier == tier])
    ]


def _branch(label: str, rows: Sequence[PlanRow], children: list[dict[str, Any]]) -> dict[str, Any]:
    reached = min(
        sum(row.probability for row in rows if row.counts.bought == min(r.counts.bought for r in rows)), 1.0
    )
    return {"label": label, "chance": f"{reached:.0%} of questions", "children": children}


def _rounds(rows: Sequence[PlanRow], view: BenchView, tier: int) -> Iterator[dict[str, Any]]:
    for bought in sorted({row.counts.bought for row in rows}):
        own = [row for row in rows if row.counts.bought == bought]
        what = f"{bought} vote{'s' if bought > 1 else ''} bought" if bought else "the answer is there"
        yield _branch(
            what, own, [_leaf(view, tier, action, own) for action in dict.fromkeys(r.action for r in own)]
        )


def _leaf(view: BenchView, tier: int, action: Any, rows: Sequence[PlanRow]) -> dict[str, Any]:
    own = [row for row in rows if row.action == action]
    chance = sum(row.probability for row in own)
    belief = sum(row.probability * row.confidence for row in own) / chance
    where = _where(own, view.found.plan_cuts[tier])
    label = f"{where}: {_do(view, action, tier)}" if where else _do(view, action, tier)
    return {"label": label, "chance": f"{chance:.1%}, right with {belief:.2f}", "children": []}


def _do(view: BenchView, action: Any, tier: int) -> str:
    names = view.found.tiers
    if action.kind == "vote":
        return f"buy {action.votes} vote{'s' if action.votes > 1 else ''}"
    if action.kind == "escalate":
        return f"go on to {names[action.tier]}"
    if action.kind == "report" and action.tier != tier:
        return f"report the answer of {names[action.tier]}"
    return "report the answer" if action.kind == "report" else action.kind


def _where(rows: Sequence[PlanRow], cuts: Sequence[float]) -> str:
    """The counts, as ranges; of a confidence, its bins; "" where nothing was seen."""
    if not any(row.counts.parsed for row in rows):
        return ""
    if cuts:
        edges = ("0", *(f"{cut:.3g}" for cut in cuts), "1")
        bins = [
            r.partition("–") for r in ranges({r.counts.value for r in rows if r.counts.value <= len(cuts)})
        ]
        spans = [f"{edges[int(low)]} to {edges[int(high or low) + 1]}" for low, _, high in bins]
        return f"confidence {', '.join(spans)}" if spans else "no confidence"
    by_parsed: dict[int, set[int]] = {}
    for row in rows:
        by_parsed.setdefault(row.counts.parsed, set()).add(row.counts.value)
    return ", ".join(f"{r} of {n} correct" for n, values in sorted(by_parsed.items()) for r in ranges(values))
