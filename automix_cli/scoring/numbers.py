r"""Read the number that a text gives as its answer.

The number is the first one after the last "answer is", "Answer:", `####` or `\boxed{` (behind
the last "=" of that line), else the last one of the text. Read are 1,234.5, -3, .5, 1e3,
3 x 10^8, 3/4, 1 1/2, $5, 50%, 1.5 million, and LaTeX's spelling of them; ASCII digits only, so no NaN
and no infinity. Whole numbers must agree exactly. Others may differ by one part in 10⁹, or by
rounding: a number written with two or more decimals stands for all that round to it. When
only one of two numbers is a percentage, 50% is both 50 and 0.5.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from automix_cli.texts import lazy_pattern

PLAIN_MARKS = str.maketrans("‘’‚“”„«»‐‑‒–—−", '\'\'\'"""""------')
"""Typographic quotes and dashes, and what they are in ASCII."""

_MARKER = lazy_pattern(r"\\boxed\s*\{|####|\banswer\W{0,4}(?:\bis\b|\bwas\b|:|=)", re.IGNORECASE)
_LATEX = (
    (lazy_pattern(r"(?<=[0-9])\\[dt]?frac"), r" \\frac"),
    (lazy_pattern(r"\\[dt]?frac\s*\{([0-9]+)\}\s*\{([0-9]+)\}"), r"\1/\2"),
    (lazy_pattern(r"\{,\}|,?\\[,!]"), ","),
    (lazy_pattern(r"\\([$%])"), r"\1"),
    (lazy_pattern(r"\\(?:times|cdot)"), "x"),
)
_QUANTITY = lazy_pattern(
    r"""
    (?<![\w./]) (?<![A-Za-z]-) (?<![0-9]:)    # not inside a word, a date, GPT-4 or 2:30
    (?P<sign>[-+]?) (?:[$€£¥]\s?)?
    (?: (?P<ones>[0-9]+) \s+ (?=[0-9]+/[1-9]) )?          # the 1 of 1 1/2
    (?P<digits> (?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+) (?:\.[0-9]+)? | \.[0-9]+ )
    (?:
        [eE](?P<exponent>[-+]?[0-9]{1,3})
      | \s? [x×*] \s? 10 \s? \^ \s? [{(]? (?P<power>[-+]?[0-9]{1,3}) [})]?
      | \s?/\s? (?P<below>[1-9][0-9]*) (?! [0-9] | / | \.[0-9] )
    )?
    (?: [ -]? (?P<scale>thousand|million|billion|trillion)\b )?
    (?P<percent> \s? (?:% | percent\b) )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


class Quantity(NamedTuple):
    """A number read from text, and half a unit of its last decimal place (0 when it has fewer than two)."""

    value: int | float
    half: float = 0.0
    percent: bool = False

    def times(self, factor: float) -> Quantity:
        """The number and its place multiplied."""
        return Quantity(self.value * factor, self.half * abs(factor), self.percent)


def read_number(text: str) -> Quantity | None:
    """Read the number that a text gives as its answer, if it has one.

    Example:
        >>> read_number("5 - 2 = 3, so the answer is $1,250.50."), read_number("none")
        (Quantity(value=1250.5, half=0.005, percent=False), None)
    """
    plain = text.translate(PLAIN_MARKS)
    for pattern, replacement in _LATEX:
        plain = pattern.sub(replacement, plain)
    rest = after_marker(plain)
    match = _QUANTITY.search(rest.rpartition("=")[2]) or _QUANTITY.search(rest)
    if match is None:
        match = next(reversed(list(_QUANTITY.finditer(plain))), None)
    return None if match is None else _number(match)


def after_marker(text: str) -> str:
    """The rest of the line after the last marker such as "answer is"; empty without one."""
    markers = list(_MARKER.finditer(text))
    return text[markers[-1].end() :].lstrip().partition("\n")[0] if markers else ""


def _number(match: re.Match[str]) -> Quantity | None:
    """The value of a match of `_QUANTITY`; None when it is too large to be compared."""
    digits = match["digits"].replace(",", "")
    decimals = len(digits.partition(".")[2])
    try:
        number = Quantity(
            float(digits) if decimals else int(digits),
            0.5 / 10**decimals if decimals > 1 else 0.0,
            bool(match["percent"]),
        )
        if match["below"]:
            number = number._replace(value=number.value / int(match["below"]) + int(match["ones"] or 0))
        if exponent := int(match["exponent"] or match["power"] or 0):
            number = number.times(10.0**exponent)
        if match["scale"]:
            number = number.times(_SCALES[match["scale"].lower()])
        if match["sign"] == "-":
            number = number.times(-1)
        return number if math.isfinite(number.value) else None
    except (ValueError, OverflowError):
        return None


def same_number(a: Quantity, b: Quantity) -> bool:
    """Whether two numbers are one, rounding and percentages allowed for.

    Example:
        >>> same_number(Quantity(0.5), Quantity(50, percent=True)), same_number(Quantity(3), Quantity(4))
        (True, False)
    """
    if a.percent != b.percent:
        part, whole = (a, b) if a.percent else (b, a)
        return _close(part, whole) or _close(part.times(0.01), whole)
    return _close(a, b)


def _close(a: Quantity, b: Quantity) -> bool:
    if isinstance(a.value, int) and isinstance(b.value, int):
        return a.value == b.value
    slack = max(a.half, b.half) * (1 + 1e-9)  # so that 0.125 still rounds to 0.13 in binary
    return math.isclose(a.value, b.value, rel_tol=1e-9, abs_tol=slack)
