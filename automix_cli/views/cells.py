"""How values and intervals are written, the same in every table."""

from __future__ import annotations

from collections.abc import Iterable

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.measures import MeasureSpec
from automix_cli.texts import TOO_FEW_LABELS

NO_VALUE = "–"
MARKED = f"? {TOO_FEW_LABELS}"
"""What the mark behind a value means."""


def left_out(names: Iterable[str]) -> str:
    """Name the columns for which a terminal is too narrow; "" where there are none.

    Example:
        >>> left_out(["votes", "abstained"])
        'left out on this width: votes, abstained'
    """
    words = ", ".join(dict.fromkeys(names))
    return f"left out on this width: {words}" if words else ""


def amount(dollars: float) -> str:
    """Write dollars in four digits, without an exponent however dear.

    Example:
        >>> amount(0.0041666), amount(1.79), amount(20123.4)
        ('0.004167', '1.79', '20,123')
    """
    return f"{dollars:,.0f}" if abs(dollars) >= 1000 else f"{dollars:.4g}"


def number_text(spec: MeasureSpec, value: float) -> str:
    """Write a number in the form of its measure; dollars are per 1,000 questions."""
    return amount(1000 * value) if spec.unit == "USD per question" else f"{value:{spec.form}}"


def value_text(spec: MeasureSpec, measure: Measure) -> str:
    """Write a value; a dash where there is none, and a mark where too few labels stand behind it."""
    if measure.value is None:
        return NO_VALUE
    return number_text(spec, measure.value) + ("?" if lacks_labels(measure) else "")


def lacks_labels(measure: Measure) -> bool:
    """Whether too few labels stand behind a value."""
    return measure.value is not None and measure.reason == TOO_FEW_LABELS


def interval_text(spec: MeasureSpec, measure: Measure, between: str | None = None) -> str:
    """Write an interval; "" where there is none.

    Args:
        spec: the measure.
        measure: its value.
        between: what joins the bounds: a dash by default, "to" where signs would hide it.
    """
    if measure.low is None or measure.high is None:
        return ""
    between = between or (" to " if "+" in spec.form else "–")
    return f"{number_text(spec, measure.low)}{between}{number_text(spec, measure.high)}"


def value_with_interval(spec: MeasureSpec, measure: Measure) -> str:
    """Write a value, and its interval in brackets behind it."""
    bounds = interval_text(spec, measure)
    return value_text(spec, measure) + (f" ({bounds})" if bounds else "")
