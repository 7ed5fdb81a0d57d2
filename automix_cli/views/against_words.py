"""A run of `bench` beside an earlier one, in words: sentences, Markdown and plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automix_cli.evaluation.against import Against, Change
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.texts import count_of, share_text
from automix_cli.views.cells import amount
from automix_cli.views.lines import one_line

CAUGHT = "in 8 of 10 runs"


def against_lines(against: Against) -> list[str]:
    """What a terminal shows: which rows are compared, then a line per change."""
    return [head(against), *map(change_line, against.changes), *_power(against), *_luck(against)]


def head(against: Against) -> str:
    """Which rows are compared.

    Those that one run alone has are counted, and so is what makes the two hold out other rows.
    """
    parts = [f"against {against.source}: {count_of(against.rows, 'row')} in both"]
    if against.questions != against.rows:
        parts.append(count_of(against.questions, "question"))
    if against.groups != against.questions:
        parts.append(count_of(against.groups, "group"))
    if against.only_here or against.only_there:
        parts.append(f"{against.only_here:,} only here, {against.only_there:,} only there")
    if not against.same_seeds:
        parts.append("other seeds, so that other rows are held out")
    if against.by == "id":
        parts.append("paired by id, for that file has no question keys")
    return ", ".join(parts)


def change_name(change: Change) -> str:
    """The figure with its policy, or with both where they differ."""
    also = "" if change.policy == change.earlier else f" (against {change.earlier} there)"
    return f"{change.policy}.{change.gate.name}{also}"


def change_words(change: Change) -> str:
    """A change with its interval, and what its gate says.

    Example: "-1.0 points (95 %: -2.6 to +0.6): >= -1 points cannot be told, for the bar lies inside"
    """
    own = value_words(change)
    if not change.gate.sign:
        return f"{own or '–'}{f' ({change.why})' if change.why else ''}"
    bar = bar_words(change)
    if change.verdict != "cannot tell":
        return f"{own}: {bar} is {change.verdict}"
    why = change.why or f"the bar lies inside{_more_rows(change)}"
    return f"{own}{': ' if own else ''}{bar} cannot be told, for {why}"


def _more_rows(change: Change) -> str:
    if change.more_rows is None:
        return "; no number of rows is likely to tell"
    size = 10 ** max(0, len(str(change.more_rows)) - 2)
    return f"; about {round(change.more_rows / size) * size:,} more rows may tell, if they come out alike"


def value_words(change: Change) -> str:
    """A change and its interval; "" where it is undefined."""
    if change.value is None or change.interval is None:
        return ""
    low, high = (_number(change, bound) for bound in change.interval)
    level = f"{change.gate.level:g} %"
    return f"{_number(change, change.value)}{_unit(change)} ({level}: {low} to {high})"


def bar_words(change: Change) -> str:
    """What a gate asks for, in the unit of the change; "" without one."""
    gate, unit = change.gate, MEASURE_BY_KEY[change.gate.figure].unit
    if not gate.sign:
        return ""
    if gate.form == "ratio":
        return f"{gate.sign} {gate.value:g}"
    scale = 100 if unit in ("score", "share") else 1000 if unit == "USD per question" else 1
    return f"{gate.sign} {scale * gate.value:+.10g}{_unit(change)}"


def _number(change: Change, value: float) -> str:
    spec = MEASURE_BY_KEY[change.gate.figure]
    if change.gate.form == "ratio":
        return share_text(value, ".3f")
    if spec.unit in ("score", "share"):
        return f"{100 * value:+.1f}"
    if spec.unit == "USD per question":
        return f"{'-' if value < 0 else '+'}{amount(1000 * abs(value))}"
    return f"{value:+.2f}"


def _luck_number(change: Change, value: float) -> str:
    """A move of a change; of a ratio with its sign."""
    return f"{value:+.3f}" if change.gate.form == "ratio" else _number(change, value)


def _unit(change: Change) -> str:
    unit = MEASURE_BY_KEY[change.gate.figure].unit
    if change.gate.form == "ratio":
        return ""
    words = {"score": " points", "share": " points", "USD per question": " USD per 1,000"}
    return words.get(unit, f" {unit}")


def _power(against: Against) -> Iterator[str]:
    """How large a loss this many rows can show."""
    own = next((c for c in against.changes if c.gate.figure == "quality" and c.gate.form == "delta"), None)
    if own is None or own.interval is None or own.why or not own.differing:
        return
    differing = f"{share_text(own.differing, '.0%')} of {count_of(against.rows, 'row')} score otherwise"
    if own.catchable is None:
        yield f"{differing}: with so few, no loss is sure to be caught"
        return
    level = "" if own.gate.level == 95 else f" at {own.gate.level:g} %"
    yield f"{differing}: a loss of {100 * own.catchable:.1f} points is caught{level} {CAUGHT}"


def _luck(against: Against) -> Iterator[str]:
    """What the luck of training alone may do, of the figure that the power is about, else of the first."""
    unknown = dict.fromkeys(change.policy for change in against.changes if not change.knows_luck)
    if unknown:
        yield (
            f"{against.source} does not tell how {', '.join(unknown)} was chosen: the luck of training "
            "answers is not in the interval; run bench there again"
        )
    lucky = [change for change in against.changes if change.luck is not None]
    change = next((own for own in lucky if own.gate.figure == "quality"), lucky[0] if lucky else None)
    if change is not None and change.luck is not None:
        low, high = (_luck_number(change, bound) for bound in change.luck)
        yield (
            f"training answers differ, and by their luck alone {change_name(change)} moves by {low} to {high}"
            f"{_unit(change)} ({change.gate.level:g} %), however many rows are held out"
        )


def change_line(change: Change) -> str:
    """The name of a figure, its change, and what its gate says."""
    return f"{change_name(change)}: {change_words(change)}"


# ------------------------------------------------------------------ Markdown


def against_markdown(against: Against) -> Iterator[str]:
    """The comparison as lines of Markdown: a row per change, the power, the questions lost."""
    yield from (f"{escape_markdown(head(against))}.", "")
    yield "| figure | change | bar | verdict |"
    yield "|---|--:|---|---|"
    for change in against.changes:
        yield f"| {' | '.join(map(escape_markdown, _markdown_cells(change)))} |"
    yield from ("", *(f"{escape_markdown(line)}." for line in (*_power(against), *_luck(against))))
    if against.losses:
        rows = ", ".join(
            f"{escape_markdown(one_line(row.ids))} ({100 * row.change:+.0f})" for row in against.losses
        )
        yield from ("", f"Lost most, by id, in points: {rows}.")


def _markdown_cells(change: Change) -> tuple[str, str, str, str]:
    bar = bar_words(change)
    mark = {"met": "✅ met", "missed": "❌ missed", "cannot tell": "⚠️ cannot be told", "": ""}[change.verdict]
    why = change.why or (_more_rows(change).lstrip("; ") if change.verdict == "cannot tell" else "")
    return change_name(change), value_words(change) or "–", bar, f"{mark}{f': {why}' if why else ''}"


def escape_markdown(text: str) -> str:
    """Text that no Markdown or HTML is read in."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


# ------------------------------------------------------------------ plain values


def against_dict(against: Against | None) -> dict[str, Any] | None:
    """The comparison as plain values."""
    if against is None:
        return None
    return {
        "source": against.source,
        "paired_by": against.by,
        "rows": against.rows,
        "questions": against.questions,
        "groups": against.groups,
        "only_here": against.only_here,
        "only_there": against.only_there,
        "same_seeds": against.same_seeds,
        "changes": [_change_dict(change) for change in against.changes],
        "losses": [row._asdict() for row in against.losses],
    }


def _change_dict(change: Change) -> dict[str, Any]:
    low, high = change.interval or (None, None)
    return {
        "figure": change.gate.name,
        "policy": change.policy,
        "earlier_policy": change.earlier,
        "value": change.value,
        "low": low,
        "high": high,
        "level": change.gate.share,
        "sign": change.gate.sign or None,
        "bar": change.gate.value if change.gate.sign else None,
        "verdict": change.verdict or None,
        "reason": change.why or None,
        "differing": change.differing,
        "more_rows": change.more_rows,
        "loss_caught_in_8_of_10": change.catchable,
        "training_luck": None if change.luck is None else list(change.luck),
        "training_luck_known": change.knows_luck,
    }
