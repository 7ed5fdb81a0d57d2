"""The comparison as one HTML page: no network, no library, nothing of the rows read as markup.

Python prepares every text and number and draws the chart of cost against quality; `assets/page.js`
adds what answers to the pointer and builds the other parts. Texts of the rows travel as JSON in a
script element in which `<`, `>` and `&` are escaped, so no text can end it, and are shown through
text nodes; in the chart they are escaped attributes. A policy in the head forbids every request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from automix_cli.evaluation.bench import EscalatedRow, PolicyOutcome
from automix_cli.evaluation.health import TierHealth, agreements_of, examine
from automix_cli.evaluation.measures import DISPLAY_ORDER, MeasureSpec
from automix_cli.evaluation.settings import setting_text
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.plan import PlanRow
from automix_cli.pomdp.problem import Action
from automix_cli.texts import count_of, share_text
from automix_cli.views.bench_view import BenchView
from automix_cli.views.beside_words import agreement_words
from automix_cli.views.cells import (
    NO_VALUE,
    amount,
    behind_text,
    falls_short,
    interval_text,
    unit_text,
    value_text,
    why_blank,
)
from automix_cli.views.chart import page_svg, phone_svg
from automix_cli.views.lines import one_line
from automix_cli.views.marks import SHADES
from automix_cli.views.page_verdict import tiles_html
from automix_cli.views.plan_words import comparison_words, overlap_words, ranges

_EXAMPLE_ROWS = 8
_LEAST_SHOWN = 0.002  # branches of the plan that are rarer are not shown
_FIRST = ("quality", "cost", "edge")  # columns that stand beside the name of a policy
_COLUMNS = tuple(sorted((m for m in DISPLAY_ORDER if m.page), key=lambda m: (*_FIRST, m.key).index(m.key)))
_ON_CURVES = tuple(m for m in _COLUMNS if m.column is not None and m.column.table == "curves")
_TABLES = (
    ("At the setting chosen in training", tuple(m for m in _COLUMNS if m not in _ON_CURVES)),
    ("Over all settings", _ON_CURVES),
)


def page(view: BenchView, settings: Settings) -> str:
    """Write the whole page."""
    verdict = view.comparison.outcome(view.comparison.headline).verdict
    kind = {"route": "route", "do not route": "not"}.get(verdict.kind if verdict else "", "")
    notes = "".join(f"<li>{escape(unit_text(note))}</li>" for note in view.remarks())
    return _asset("page.html").format(
        title=escape(f"{Path(view.source).name}: comparison of routing policies"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        head=escape(view.head()),
        tiles=tiles_html(view),
        measure=escape(view.measure),
        bounds=escape(view.words("they know which answers are right")),
        reliability=escape(_health_words(view, "Share of right answers")),
        auroc=escape(_health_words(view, "a right answer has a higher confidence than a wrong one")),
        chance=escape(_health_words(view, "the chance that the answer is right")),
        effects=escape(view.words("Where escalation helped and hurt")),
        effect=escape(view.words("by what that did to the score")),
        verdict=escape(unit_text(" ".join([*view.payer_lines(), view.sentence()]))),
        kind=kind,
        notes=f"<ul>{notes}</ul>" if notes else "",
        headline=escape(view.comparison.headline),
        chart=page_svg(view),
        phone_chart=phone_svg(view),
        data=json_for_script(_data(view, settings)),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def json_for_script(value: Any) -> str:
    r"""Write JSON in which no text can end the script element that holds it.

    Example:
        >>> json_for_script("</script>")
        '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


# ------------------------------------------------------------------ the data of the script


def _data(view: BenchView, settings: Settings) -> dict[str, Any]:
    return {
        "tables": [_table(view, title, columns) for title, columns in _TABLES],
        "health": [_health(view, tier) for tier in examine(view.table, settings.pass_score)],
        "share": _health_words(view, "share right"),
        "agreements": _agreements(view, settings),
        "money": _money(view),
        "escalation": _escalation(view),
        "plan": _plan(view),
        "planless": _planless(view),
    }


def _table(view: BenchView, title: str, columns: Sequence[MeasureSpec]) -> dict[str, Any]:
    """A table of figures; what its columns mean stands in the heads and in the legend below.

    A column that shows a value of nobody is left out; why is said below.
    """
    every = {o.name: o.measures for o in view.comparison.outcomes}
    policies = {o.name: o.measures for o in view.by_kind().policies} or every
    blank = {m.title: why_blank(m, policies) for m in columns if why_blank(m, every)}
    columns = [m for m in columns if m.title not in blank]
    words = [
        {"name": unit_text(view.words(m.title)), "about": unit_text(view.words(m.definition))}
        for m in columns
    ]
    rows = [_row(view, o, columns) for o in view.comparison.outcomes]
    absent = [unit_text(view.words(f"{name} left out: {why}")) for name, why in blank.items()]
    reasons = _reasons([head["name"] for head in words], rows)
    return {"title": title, "heads": words, "rows": rows, "absent": absent, "reasons": reasons}


def _reasons(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Why cells hold no value, or one that is not sure: a sentence for each reason and its columns.

    Example:
        >>> cell = {"value": "–", "reason": "the line is flat"}
        >>> _reasons(["gain", "lead"], [{"name": "knn", "cells": [cell, cell]}])
        ['gain, lead of knn: the line is flat']
    """
    names: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for head, cell in zip(heads, row["cells"], strict=True):
            if cell["reason"]:
                names.setdefault((head, cell["reason"]), []).append(row["name"])
    columns: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (head, reason), own in names.items():
        columns.setdefault((reason, tuple(own)), []).append(head)
    return [f"{', '.join(own)} of {', '.join(who)}: {reason}" for (reason, who), own in columns.items()]


def _row(view: BenchView, o: PolicyOutcome, columns: Sequence[MeasureSpec]) -> dict[str, Any]:
    kind = "ours" if o.name == view.comparison.headline else "bound" if o.group == "bound" else ""
    return {"name": o.name, "kind": kind, "cells": [_cell(view, o, spec) for spec in columns]}


def _cell(view: BenchView, o: PolicyOutcome, spec: MeasureSpec) -> dict[str, str]:
    measure = o.measures[spec.key]
    if falls_short(spec, o.measures):
        reason = view.words("below that share of the best tier's quality on held-out rows")
        return {"value": NO_VALUE, "range": f"(it kept {behind_text(spec, o.measures)})", "reason": reason}
    bounds = interval_text(spec, measure)
    return {
        "value": value_text(spec, measure),
        "range": f"({bounds})" if bounds else "",
        "reason": view.words(measure.reason),
    }


def _health_words(view: BenchView, text: str) -> str:
    """A text about right answers; about equal ones where answers are compared with a baseline's."""
    return text if view.table.beside is None else agreement_words(text, view.table.beside)


def _health(view: BenchView, tier: TierHealth) -> dict[str, Any]:
    bins = [
        {
            **{key: getattr(row, key) for key in ("confidence", "right", "low", "high", "rows")},
            "text": _health_words(
                view,
                f"confidence {share_text(row.confidence, '.2f')}: "
                f"{share_text(row.right, '.0%')} of {row.rows:,} right",
            ),
        }
        for row in tier.table
    ]
    auroc = "AUROC undefined" if tier.auroc.value is None else f"AUROC {share_text(tier.auroc.value, '.2f')}"
    return {"tier": tier.tier, "signal": tier.signal, "auroc": auroc, "table": bins}


def _agreements(view: BenchView, settings: Settings) -> list[str]:
    """How often neighbouring tiers agree, and what that says; nothing where answers are not compared."""
    if not (settings.agreement and view.table.compares_answers):
        return []
    return [pair.text for pair in agreements_of(view.table, settings.pass_score)]


def _money(view: BenchView) -> dict[str, Any]:
    keys = [f"{tier}: {what}" for tier in view.comparison.tiers for what in ("answers", "votes")]
    rows: list[dict[str, Any]] = []
    for o in view.comparison.outcomes:
        parts = [1000 * part for tier in o.spending for part in (tier.answers, tier.votes)]
        texts = [f"{amount(part)} USD per 1,000" for part in parts]
        rows.append({"name": o.name, "parts": parts, "texts": texts, "text": f"{amount(sum(parts))} USD"})
    legend = [{"name": name, "colour": SHADES[k % len(SHADES)]} for k, name in enumerate(keys)]
    places = [k for k in range(len(keys)) if any(row["parts"][k] for row in rows)]
    for row in rows:
        row |= {"parts": [row["parts"][k] for k in places], "texts": [row["texts"][k] for k in places]}
    return {"keys": [legend[k] for k in places], "rows": rows}


# ------------------------------------------------------------------ escalation


_EFFECTS = (("helped", "good", "#1a8a48"), ("made no difference", "", "#858b92"), ("hurt", "bad", "#d73027"))


def _escalation(view: BenchView) -> dict[str, Any]:
    """Expected numbers of rows per dataset, and the rows on which it changed most."""
    escalated_rows = view.comparison.escalated_rows
    datasets = [str(view.table.datasets[m.row] or "all rows") for m in escalated_rows]
    rows = []
    for name in sorted(set(datasets)):
        own = [m for m, dataset in zip(escalated_rows, datasets, strict=True) if dataset == name]
        parts = [sum(m.chance for m in own if _effect(m) == effect) for effect, _, _ in _EFFECTS]
        texts = [f"{_expected(part)} rows" for part in parts]
        rows.append(
            {"name": one_line(name), "parts": parts, "texts": texts, "text": f"{_expected(sum(parts))} rows"}
        )
    return {
        "none": "Too few rows have a label." if view.table.has_some_labels else "No row was escalated.",
        "keys": [{"name": view.words(effect), "colour": colour} for effect, _, colour in _EFFECTS],
        "rows": rows,
        "examples": [e for effect, css, _ in _EFFECTS if css and (e := _examples(view, effect, css))],
    }


def _expected(rows: float) -> str:
    """An expected number of rows.

    Example:
        >>> _expected(12.0), _expected(1234.56)
        ('12', '1,234.6')
    """
    return f"{rows:,.1f}".removesuffix(".0")


def _effect(m: EscalatedRow) -> str:
    if abs(m.after - m.before) < 1e-9:
        return "made no difference"
    return "helped" if m.after > m.before else "hurt"


def _examples(view: BenchView, effect: str, css: str) -> dict[str, Any] | None:
    own = [m for m in view.comparison.escalated_rows if _effect(m) == effect]
    if not own:
        return None
    rows = [
        {
            "id": one_line(str(view.table.ids[m.row]), 40),
            "question": one_line(str(view.table.texts[m.row]), 120),
            "change": _change_words(m),
        }
        for m in own[:_EXAMPLE_ROWS]
    ]
    expected = _expected(sum(m.chance for m in own))
    return {
        "title": f"{view.words(effect)}: {expected} rows expected, for example",
        "kind": css,
        "rows": rows,
    }


def _change_words(m: EscalatedRow) -> str:
    """Both scores of a row, and the chance that it is escalated."""
    before, after = (share_text(score, ".2g") for score in (m.before, m.after))
    return f"{m.first} {before} → {m.last} {after}, chance {share_text(m.chance, '.0%')}"


# ------------------------------------------------------------------ the plan


def _planless(view: BenchView) -> str:
    setting = setting_text(view.comparison.outcome(view.comparison.headline).choices[0].setting)
    return f"There is no plan to show: {view.comparison.headline} is set to {setting}."


def _plan(view: BenchView) -> list[dict[str, Any]]:
    """Tier, then votes bought, then what is done at which counts."""
    rows = [row for row in view.comparison.plan if row.probability >= _LEAST_SHOWN]
    return [
        _branch(f"ask {name}", own, list(_rounds(own, view, tier)))
        for tier, name in enumerate(view.comparison.tiers)
        if (own := [row for row in rows if row.tier == tier])
    ]


def _branch(label: str, rows: Sequence[PlanRow], children: list[dict[str, Any]]) -> dict[str, Any]:
    first = min(row.counts.n_votes for row in rows)  # later counts are reached through the first
    chance = min(sum(row.probability for row in rows if row.counts.n_votes == first), 1.0)
    return {"label": label, "chance": f"{share_text(chance, '.0%')} of questions", "children": children}


def _rounds(rows: Sequence[PlanRow], view: BenchView, tier: int) -> Iterator[dict[str, Any]]:
    for count in sorted({row.counts.n_votes for row in rows}):
        own = [row for row in rows if row.counts.n_votes == count]
        evidence = f"{count_of(count, 'vote')} bought" if count else "the answer is there"
        if count and view.comparison.plan_cuts[tier]:
            evidence = "its confidence is known"
        label = f"{evidence}{overlap_words(own, view.comparison.tiers)}"
        yield _branch(
            label, own, [_leaf(view, tier, action, own) for action in dict.fromkeys(r.action for r in own)]
        )


def _leaf(view: BenchView, tier: int, action: Action, rows: Sequence[PlanRow]) -> dict[str, Any]:
    own = [row for row in rows if row.action == action]
    chance = sum(row.probability for row in own)
    belief = sum(row.probability * row.confidence for row in own) / chance
    parts = (
        comparison_words(own, rows, view.comparison.tiers),
        _condition(own, view.comparison.plan_cuts[tier]),
    )
    condition = ", ".join(filter(None, parts))
    words = _action_words(view, action, tier)
    label = f"{condition}: {words}" if condition else words
    own_chance = _health_words(
        view, f"{share_text(chance, '.1%')}, right with chance {share_text(belief, '.2f')}"
    )
    return {"label": label, "chance": own_chance, "children": []}


def _action_words(view: BenchView, action: Action, tier: int) -> str:
    names = view.comparison.tiers
    if action.kind == "vote":
        return f"buy {count_of(action.votes, 'vote')}"
    if action.kind == "escalate":
        return f"go on to {names[action.tier]}"
    if action.kind == "report" and action.tier != tier:
        return f"report the answer of {names[action.tier]}"
    return "report the answer" if action.kind == "report" else action.kind


def _condition(rows: Sequence[PlanRow], cuts: Sequence[float]) -> str:
    """The counts, as ranges; of a confidence, its bins; "" without any observation."""
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
