"""How values and intervals are written, the same in every table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import ROUNDING_ERROR
from automix_cli.texts import DUST, TOO_FEW_LABELS, lazy_pattern, share_text

if TYPE_CHECKING:
    from automix_cli.evaluation.measures import MeasureSpec

NO_VALUE = "–"
_FELL_SHORT = "settings that just reached this in training, without a margin, kept less on held-out rows"
_VERDICT_APART = "the verdict's setting is chosen apart"
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


def unit_text(text: str) -> str:
    """A text of a page in which no line ends before a per cent sign.

    Example:
        >>> unit_text("saves at 99 %") == "saves at 99\N{NO-BREAK SPACE}%"
        True
    """
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)


_BEFORE_UNIT = lazy_pattern(r"(?<=\S) (?=%)")


def amount(dollars: float) -> str:
    """Write dollars in four digits, without an exponent however dear.

    Example:
        >>> amount(0.0041666), amount(1.79), amount(20123.4)
        ('0.004167', '1.79', '20,123')
    """
    return f"{dollars:,.0f}" if abs(dollars) >= 1000 else f"{dollars:.4g}"


def number_text(spec: MeasureSpec, value: float) -> str:
    """Write a number in the form of its measure; dollars are per 1,000 questions."""
    if spec.unit == "USD per question":
        return amount(1000 * value)
    if spec.unit in ("score", "share"):
        return _without_sign_of_nothing(share_text(value, spec.form), spec.form)
    return _without_sign_of_nothing(f"{value:{spec.form}}", spec.form)


def _without_sign_of_nothing(text: str, form: str) -> str:
    """A number as it was written; what rounds to nothing has no sign."""
    is_nothing = text.startswith("-") and not any(digit in text for digit in "123456789")
    return f"{0.0:{form}}" if is_nothing else text


def bounds_texts(low: float, high: float, form: str) -> tuple[str, str]:
    """Write both bounds of a share, rounded outwards where they would come to all, or to nothing.

    Example:
        >>> bounds_texts(0.9997, 1.0, ".3f"), bounds_texts(0.0, 0.0002, ".1%")
        (('0.999', '1.000'), ('0.0%', '0.1%'))
    """
    texts = share_text(low, form), share_text(high, form)
    own, other = (f"{bound:{form}}" for bound in (low, high))
    return (
        texts[0].removeprefix(">") if texts[0].startswith(">") else own,
        texts[1].removeprefix("<") if texts[1].startswith("<") else other,
    )


def value_text(spec: MeasureSpec, measure: Measure) -> str:
    """Write a value; a dash where there is none, and a mark where too few labels stand behind it."""
    if measure.value is None:
        return NO_VALUE
    return number_text(spec, measure.value) + ("?" if lacks_labels(measure) else "")


def behind_text(spec: MeasureSpec, measures: Mapping[str, Measure]) -> str:
    """Write the measure that stands behind a value; "" where there is none."""
    behind = spec.column.behind if spec.column else ""
    if not behind or (value := measures[behind].value) is None:
        return ""
    from automix_cli.evaluation.measures import MEASURE_BY_KEY  # here, because `calibrate` needs none

    if falls_short(spec, measures):  # rounded down: it must not look as if it did not
        return value_text(
            MEASURE_BY_KEY[behind], measures[behind]._replace(value=math.floor(1e3 * value) / 1e3)
        )
    return value_text(MEASURE_BY_KEY[behind], measures[behind])


def falls_short(spec: MeasureSpec, measures: Mapping[str, Measure]) -> bool:
    """Whether what stands behind a value is less than its name says, so that the value is not shown."""
    place = spec.column
    if place is None or not place.behind:
        return False
    level = measures[place.behind].value
    return level is not None and level < place.least - ROUNDING_ERROR


def lacks_labels(measure: Measure) -> bool:
    """Whether too few labels stand behind a value."""
    return measure.value is not None and measure.reason == TOO_FEW_LABELS


def why_blank(spec: MeasureSpec, policies: Mapping[str, Mapping[str, Measure]]) -> str:
    """Why no policy has a value to show; "" where one has.

    Args:
        spec: the measure.
        policies: all measures of each, by name.
    """
    why: dict[str, list[str]] = {}
    for name, measures in policies.items():
        if falls_short(spec, measures):
            why.setdefault(_FELL_SHORT, []).append(f"{name} {behind_text(spec, measures)}")
        elif measures[spec.key].value is None:
            why.setdefault(measures[spec.key].reason, [])
        else:
            return ""
    if _FELL_SHORT in why:
        why[_VERDICT_APART] = []
    parts = (reason + (f" ({', '.join(names)})" if names else "") for reason, names in why.items())
    return "; ".join(filter(None, parts))


def interval_text(spec: MeasureSpec, measure: Measure, between: str | None = None) -> str:
    """Write an interval; "" where there is none, or one without width: what is so by definition has none.

    Args:
        spec: the measure.
        measure: its value.
        between: what joins the bounds: a dash by default, "to" where signs would hide it.
    """
    if measure.low is None or measure.high is None:
        return ""
    low, high = measure.low, measure.high
    if high - low <= DUST * (abs(high) if spec.unit == "USD per question" else 1):
        return ""
    between = between or (" to " if "+" in spec.form or low < 0 else "–")
    if spec.unit in ("score", "share"):
        own = bounds_texts(low, high, spec.form)
        return between.join(_without_sign_of_nothing(text, spec.form) for text in own)
    own = number_text(spec, low), number_text(spec, high)
    if own[0] == own[1] and spec.unit == "USD per question":  # narrower than its digits
        return ""
    return between.join(own)


def value_with_interval(spec: MeasureSpec, measure: Measure) -> str:
    """Write a value, and its interval in brackets behind it."""
    bounds = interval_text(spec, measure)
    return value_text(spec, measure) + (f" ({bounds})" if bounds else "")
