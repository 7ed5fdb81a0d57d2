"""The questions that the simulated tiers can work out: arithmetic, units and dates.

    solve               a question in one of the known forms → its answer, its difficulty, its typical slips
    agrees              whether an answer in other words is the right one

Everything is computed, in exact fractions and on the real calendar; nothing is evaluated as code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from automix_cli.backends.demo.arithmetic import (
    NUMBER,
    Solution,
    count_digits,
    decimal_text,
    difficulty_of,
    numeric_solution,
    parse_number,
    solve_expression,
    solve_worded,
)
from automix_cli.errors import BadRequest
from automix_cli.records import Question

SAMPLE_QUESTIONS = (
    "What is 17 * 23?",
    "Convert 26.2 miles to km, to 1 decimal.",
    "How many days are there between 2024-01-15 and 2024-03-02?",
)


def solve(text: str) -> Solution | None:
    """Work out a question; None when it is not one of the forms known here.

    Example:
        >>> solve("What is 17 * 23?").answer, solve("What weekday is 2024-02-29?").answer
        ('391', 'Thursday')
        >>> solve("Why?") is None
        True
    """
    return _solve(" ".join(text.translate(_SYMBOLS).split())) if len(text) <= 600 else None


_SYMBOLS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "’": "'", "°": " "})


@lru_cache(maxsize=4096)
def _solve(text: str) -> Solution | None:
    """`solve` on tidy text, remembered: a question comes back with every vote."""
    text, places = _rounding(text)
    for read in (solve_expression, solve_worded, _conversion, _day_count, _weekday, _moved_date, _leap_year):
        try:
            return read(text, places)
        except (ValueError, ArithmeticError):  # not of this form, or without an answer (1 / 0)
            continue
    return None


_ROUNDING_REQUEST = re.compile(
    r"[\s,;.(?]*(?:(?:please )?(?:round(?:ed)?(?: it| the answer)?|give the (?:answer|result)) )?"
    r"\bto (?:(\d) decimals?(?: places?)?|the nearest (?:whole number|integer))\)?$",
    re.IGNORECASE,
)


def match_form(pattern: str, text: str) -> re.Match[str]:
    """A text read as a form; patterns are compiled when first needed, and kept by `re`.

    Raises:
        ValueError: the text is not of this form.
    """
    match = re.fullmatch(pattern, text, re.IGNORECASE)
    if not match:
        raise ValueError("another form")
    return match


def _rounding(text: str) -> tuple[str, int | None]:
    """The question without its request for rounding, and the decimals requested.

    Example:
        >>> _rounding("What is 10 / 3, to 2 decimals?")
        ('What is 10 / 3', 2)
    """
    text = text.rstrip("?.! ")
    match = _ROUNDING_REQUEST.search(text)
    if not match:
        return text, None
    return text[: match.start()].rstrip("?.! "), int(match.group(1) or 0)


# ---------------------------------------------------------------- units


class _Unit(NamedTuple):
    """A unit of a dimension: (number + offset)·factor in the dimension's base unit."""

    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


def _units() -> dict[str, _Unit]:
    """Units by name; in the table, "metre+" stands for metre and metres."""
    table: dict[str, _Unit] = {}
    for dimension, factor, names, *offset in _UNIT_ROWS:
        unit = _Unit(dimension, Fraction(factor), Fraction(*offset))
        for name in names.split(","):
            table |= dict.fromkeys((name.rstrip("+"), name.replace("+", "s")), unit)
    return table


_UNIT_ROWS = (
    ("length", "1", "m,meter+,metre+"),
    ("length", "0.001", "mm,millimeter+,millimetre+"),
    ("length", "0.01", "cm,centimeter+,centimetre+"),
    ("length", "1000", "km,kms,kilometer+,kilometre+"),
    ("length", "0.0254", "inch,inches"),
    ("length", "0.3048", "ft,foot,feet"),
    ("length", "0.9144", "yard+"),
    ("length", "1609.344", "mi,mile+"),
    ("length", "1852", "nautical mile+"),
    ("mass", "1", "kg,kgs,kilo+,kilogram+"),
    ("mass", "0.001", "g,gram+"),
    ("mass", "1000", "tonne+"),
    ("mass", "0.45359237", "lb,lbs,pound+"),
    ("mass", "0.028349523125", "oz,ounce+"),
    ("mass", "6.35029318", "stone,stones"),
    ("volume", "1", "l,liter+,litre+"),
    ("volume", "0.001", "ml,milliliter+,millilitre+"),
    ("volume", "3.785411784", "gallon+,us gallon+"),
    ("volume", "0.473176473", "pint+,us pint+"),
    ("volume", "0.2365882365", "cup+,us cup+"),
    ("time", "1", "s,second+"),
    ("time", "60", "min,mins,minute+"),
    ("time", "3600", "h,hour+"),
    ("time", "86400", "day+"),
    ("time", "604800", "week+"),
    ("speed", "5/18", "km/h,kmh,kph,kilometres per hour,kilometers per hour"),
    ("speed", "0.44704", "mph,miles per hour"),
    ("speed", "1", "m/s,metres per second,meters per second"),
    ("speed", "463/900", "knot+"),
    ("area", "1", "square meter+,square metre+"),
    ("area", "10000", "hectare+"),
    ("area", "4046.8564224", "acre+"),
    ("energy", "1", "kj,kilojoule+"),
    ("energy", "4.184", "kcal,kilocalorie+"),
    ("temperature", "1", "c,celsius,degrees c,degrees celsius", "273.15"),
    ("temperature", "5/9", "f,fahrenheit,degrees f,degrees fahrenheit", "459.67"),
    ("temperature", "1", "k,kelvin"),
)
_UNITS = _units()
_U = "(?:" + "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True)) + ")"
_Q = rf"(?P<sign>-?)(?P<much>{NUMBER}) ?(?P<unit>{_U})(?: (?:and )?(?P<more>{NUMBER}) ?(?P<of>{_U}))?"
_CONVERSIONS = (
    rf"how many (?P<to>{_U}) (?:are|is|make|make up)(?: there)?(?: in)? {_Q}",
    rf"(?:convert|change) {_Q} (?:to|into|in) (?P<to>{_U})",
    rf"(?:(?:what is|what's|how much is) )?{_Q} (?:in|to|into|as) (?P<to>{_U})",
)


def _conversion(text: str, places: int | None) -> Solution:
    """A quantity in another unit: "Convert 26.2 miles to km", "How many minutes are 3 h and 5 min"."""
    match = next((m for p in _CONVERSIONS if (m := re.fullmatch(p, text, re.IGNORECASE))), None)
    if match is None:
        raise ValueError("no conversion")
    fields = match.groupdict()
    parts = [
        (
            parse_number(fields["much"]) * (-1 if fields["sign"] else 1),
            _UNITS[fields["unit"].lower()],
        )
    ]
    if fields["more"]:
        parts.append((parse_number(fields["more"]), _UNITS[fields["of"].lower()]))
    return _convert(parts, _UNITS[fields["to"].lower()], places)


def _convert(parts: Sequence[tuple[Fraction, _Unit]], to: _Unit, places: int | None) -> Solution:
    """The parts of one quantity, added up, in another unit of their dimension."""
    amount, unit = parts[0]
    has_offset = any(u.offset for _, u in parts) or to.offset != 0
    if {u.dimension for _, u in parts} != {to.dimension} or (has_offset and len(parts) > 1):
        raise ValueError("units that do not go together")
    ratio = unit.factor / to.factor
    value = sum(((n + u.offset) * u.factor for n, u in parts), Fraction(0)) / to.factor - to.offset
    effort = 1 + 0.7 * count_digits(amount) * min(5, count_digits(ratio)) + 2 * (len(parts) - 1 + has_offset)
    return numeric_solution(value, places, effort, _slips_of_conversion(amount, ratio, has_offset))


def _slips_of_conversion(amount: Fraction, ratio: Fraction, has_offset: bool) -> list[Fraction]:
    """A coarse factor, the factor the wrong way round, the forgotten 32 of Fahrenheit."""
    coarse = Fraction(f"{float(ratio):.1e}")
    return [amount * coarse, amount * ratio if has_offset else amount / ratio]


# ---------------------------------------------------------------- dates

_MONTH = "(?:january|february|march|april|may|june|july|august|september|october|november|december)"
_MONTHS = _MONTH[3:-1].split("|")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_D = rf"(\d{{4}}-\d\d-\d\d|\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
TODAY = date(2024, 1, 1)  # weekdays near this day are easy


def _date(text: str) -> date:
    """A date as written: 2024-02-29, 29 February 2024 or February 29, 2024."""
    if text[:4].isdigit():
        return date.fromisoformat(text)
    words = text.lower().replace(",", "").split()
    day, month = (words[0], words[1]) if words[0].isdigit() else (words[1], words[0])
    return date(int(words[2]), _MONTHS.index(month) + 1, int(day))


def _span_effort(days: int) -> float:
    """How many times one doubles a month to span the days."""
    return math.log2(1 + abs(days) / 30)


def _day_count(text: str, places: int | None) -> Solution:
    """The days of a span: "How many days are there between 2024-01-15 and 2024-03-02"."""
    verb = "(?:are there |are |lie |pass )?"
    match = match_form(rf"how many days {verb}(?:between|from) {_D} (?:and|to|until) {_D}", text)
    days = abs((_date(match[2]) - _date(match[1])).days)
    return numeric_solution(Fraction(days), None, 2 + 2.2 * _span_effort(days), [Fraction(days + 1)])


def _weekday(text: str, places: int | None) -> Solution:
    """The weekday of a date: "What weekday is 2024-02-29"."""
    verb = "(?:is|was|will be|does|did)"
    match = match_form(
        rf"(?:on )?(?:what|which) (?:weekday|day of the week) {verb} {_D}(?: fall(?: on)?| be)?", text
    )
    day = _date(match[1])
    slips = tuple(_WEEKDAYS[(day.weekday() + k) % 7] for k in (1, -1, 2, -2))
    effort = 3 + 1.6 * _span_effort((day - TODAY).days)
    return Solution(_WEEKDAYS[day.weekday()], difficulty_of(effort), slips)


def _moved_date(text: str, places: int | None) -> Solution:
    """A date some time away: "What date is 45 days after 2024-01-15"."""
    what = r"what (?:date|day) (?:is|was|will be)"
    match = match_form(rf"{what} (\d{{1,6}}) (day|week)s? (after|before|from) {_D}", text)
    days = int(match[1]) * (7 if match[2].lower() == "week" else 1)
    day = _date(match[4]) + timedelta(-days if match[3].lower() == "before" else days)
    slips = tuple((day + timedelta(k)).isoformat() for k in (1, -1, 2, -2, 7, 30))
    return Solution(day.isoformat(), difficulty_of(2 + 2 * math.log2(1 + days / 10)), slips)


def _leap_year(text: str, places: int | None) -> Solution:
    """Whether a year is a leap year: "Is 1900 a leap year"."""
    year = int(match_form(r"(?:is|was|will)(?: the year)? (\d{4})(?: be)? a leap year", text)[1])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    right, wrong = ("Yes", "No") if leap else ("No", "Yes")
    return Solution(right, difficulty_of(3 if year % 100 else 8), (wrong,))


# ---------------------------------------------------------------- contexts and choices

_IS = re.compile(r" (?:is|are|was|were) ", re.IGNORECASE)


def _look_up(text: str, context: str | None) -> Solution:
    """What X is where the context says "X is Y"; "unanswerable" where it does not."""
    if context is None:
        raise ValueError("no context to look it up in")
    subject = match_form(r"(?:what|who) (?:is|are|was|were) (.{1,200})", text.strip("?. \n"))[1].casefold()
    sentences = re.split(r"(?<=[.;])\s|\n", context)
    facts = [
        (x[0].strip().casefold(), x[1].strip(" .;")) for s in sentences if len(x := _IS.split(s, 1)) == 2
    ]
    right = next((y for x, y in facts if x == subject), "unanswerable")
    others = dict.fromkeys([*(y for _, y in facts), "unanswerable", "unknown"])
    effort = 1 + math.log2(1 + len(context) / 100)
    return Solution(right, difficulty_of(effort), tuple(y for y in others if y not in ("", right))[:8])


def solve_question(question: Question) -> Solution:
    """Work out a question with its context and choices.

    Raises:
        BadRequest: when the question is of no form known here; says which are.

    Example:
        >>> solve_question(Question(text="What is 6 * 7?", choices=("36", "42"))).answer
        'B'
    """
    try:
        solution = solve(question.text) or _look_up(question.text, question.context)
        return _choose(solution, question.choices) if question.choices else solution
    except ValueError as exc:
        raise _refusal(question.text) from exc


def _choose(solution: Solution, choices: Sequence[str]) -> Solution:
    """The letter of the right choice."""
    letters = {chr(65 + i): agrees(choice, solution.answer) for i, choice in enumerate(choices)}
    right = [letter for letter, fits in letters.items() if fits]
    wrong = tuple(letter for letter, fits in letters.items() if not fits)
    if not (right and wrong):
        raise ValueError("no choice is right, or all are")
    return Solution(right[0], solution.difficulty, wrong)


def _refusal(text: str) -> BadRequest:
    quote = text if len(text) <= 80 else f"{text[:79]}…"
    examples = " ".join(f'"{e}"' for e in SAMPLE_QUESTIONS)
    return BadRequest(
        f"the demo models are simulated and cannot work out {quote!r}; "
        f"they do arithmetic, units and dates: {examples}",
        hint="a profile with real models answers anything: automix profile list",
    )


_SALIENT = re.compile(
    r"\d{4}-\d\d-\d\d|-?\d(?:[\d,]*\d)?(?:\.\d+)?|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\byes\b|\bno\b",
    re.IGNORECASE,
)


def agrees(candidate: str, answer: str) -> bool:
    """Whether a candidate says the right answer and no other.

    Example:
        >>> agrees("It is 1,391.0.", "1391"), agrees("391 or 392", "391"), agrees("a Tuesday", "Tuesday")
        (True, False, True)
    """
    tokens = _salient(candidate)
    if tokens and len(tokens) <= 8:
        return tokens == _salient(answer)
    return " ".join(candidate.casefold().split()).rstrip(".") == answer.casefold().rstrip(".")


def _salient(text: str) -> set[str]:
    """The numbers, dates, weekdays and yes or no that a text names."""
    tokens = (token.lower() for token in _SALIENT.findall(text[:2000]))
    return {decimal_text(parse_number(t), None) if _is_plain(t) else t for t in tokens}


def _is_plain(token: str) -> bool:
    return len(token) <= 16 and bool(re.fullmatch(r"-?[\d,]*\d(?:\.\d+)?", token))
