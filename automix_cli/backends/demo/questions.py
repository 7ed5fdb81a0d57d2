"""The questions that the simulated tiers can work out: arithmetic, units and dates.

    solve               a question in one of the known forms → its answer, its difficulty, its typical slips
    agrees              whether an answer in other words is the right one
    generate_questions  the labelled questions that ship as `profiles/demo-questions.jsonl`

Everything is computed, in exact fractions and on the real calendar; nothing is evaluated as code.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from automix_cli.errors import BadRequest
from automix_cli.records import Question

EXAMPLES = (
    "What is 17 * 23?",
    "Convert 26.2 miles to km, to 1 decimal.",
    "How many days are there between 2024-01-15 and 2024-03-02?",
)


class Solution(NamedTuple):
    """The right answer, how hard it is to find (0 to 1), and the answers of those who slip."""

    answer: str
    difficulty: float
    slips: tuple[str, ...]


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
    for read in (_expression, _worded, _conversion, _day_count, _weekday, _moved_date, _leap_year):
        try:
            return read(text, places)
        except (ValueError, ArithmeticError):  # not of this form, or without an answer (1 / 0)
            continue
    return None


_ROUNDING = re.compile(
    r"[\s,;.(?]*(?:(?:please )?(?:round(?:ed)?(?: it| the answer)?|give the (?:answer|result)) )?"
    r"\bto (?:(\d) decimals?(?: places?)?|the nearest (?:whole number|integer))\)?$",
    re.IGNORECASE,
)


def _form(pattern: str, text: str) -> re.Match[str]:
    """A text read as a form; patterns are compiled when first needed, and kept by `re`.

    Raises:
        ValueError: the text is not of this form.
    """
    found = re.fullmatch(pattern, text, re.IGNORECASE)
    if not found:
        raise ValueError("another form")
    return found


def _rounding(text: str) -> tuple[str, int | None]:
    """The question without its wish for rounding, and the decimals wished.

    Example:
        >>> _rounding("What is 10 / 3, to 2 decimals?")
        ('What is 10 / 3', 2)
    """
    text = text.rstrip("?.! ")
    found = _ROUNDING.search(text)
    if not found:
        return text, None
    return text[: found.start()].rstrip("?.! "), int(found.group(1) or 0)


def _difficulty(effort: float) -> float:
    """Effort, counted in steps a person would take, on the scale from 0 to 1."""
    return 1 - math.exp(-effort / 12)


# ---------------------------------------------------------------- numbers


def _decimal(value: Fraction, places: int | None) -> str:
    """A number as text, halves rounded away from zero; without `places`, at most 4 decimals.

    Example:
        >>> _decimal(Fraction(1, 8), 2), _decimal(Fraction(1, 8), None), _decimal(Fraction(-1, 3), None)
        ('0.13', '0.125', '-0.3333')
    """
    shown = 4 if places is None else places
    scaled = abs(value) * 10**shown
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    text = f"{units // 10**shown}.{units % 10**shown:0{shown}d}" if shown else str(units)
    if places is None:
        text = text.rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and units else text


def _number(text: str) -> Fraction:
    """A number as written; longer ones than a person would work with are refused."""
    if len(text) > 16:
        raise ValueError("a number too long")
    return Fraction(text.replace(",", ""))


def _digits(value: Fraction) -> int:
    """Significant digits a person has to carry.

    Example:
        >>> _digits(Fraction(1200)), _digits(Fraction("3.25"))
        (2, 3)
    """
    return max(1, len(_decimal(value, None).replace(".", "").strip("-0")))


def _numeric(
    value: Fraction, places: int | None, effort: float, misread: Iterable[Fraction] = ()
) -> Solution:
    """The solution of a question whose answer is a number; `misread` are its typical blunders."""
    right = _decimal(value, places)
    step = Fraction(1, 10 ** len(right.partition(".")[2]))
    near = [value + k * step for k in _NEAR if abs(k) == 1 or abs(k * step) < abs(value)]
    wrong = [v for v in (*misread, *near, _swapped(right)) if (v < 0) == (value < 0)]
    texts = dict.fromkeys(_decimal(v, places) for v in wrong)
    return Solution(right, _difficulty(effort), tuple(t for t in texts if t != right)[:8])


_NEAR = (10, -10, 1, -1, 2, -2, 100, -100)


def _swapped(text: str) -> Fraction:
    """A number with two neighbouring digits exchanged, where two differ."""
    found = re.search(r"(\d)(?!\1)(\d)(\D*)$", text)
    return Fraction(f"{text[: found.start()]}{found[2]}{found[1]}{found[3]}" if found else text)


# ---------------------------------------------------------------- arithmetic

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_N = rf"({_PLAIN})"
_TOKEN = re.compile(rf"{_N}|mod|[-+*/^()%]")
_LEAD = re.compile(r"(?:what is|what's|calculate|compute|evaluate|work out|how much is|find) ", re.IGNORECASE)
_OPERATORS = (
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b|(?<=\d) ?x ?(?=\d)"), "*"),
    (re.compile(r"\b(?:divided by|over)\b"), "/"),
    (re.compile(r"\b(?:raised )?to the power(?: of)?\b|\*\*"), "^"),
    (re.compile(r"\bsquared\b"), "^2"),
    (re.compile(r"\bcubed\b"), "^3"),
    (re.compile(r"(?:%| ?\bper ?cent\b) of\b"), "% *"),
    (re.compile(r"\bper ?cent\b"), "%"),
)


def _expression(text: str, places: int | None) -> Solution:
    """An expression, in symbols or in words: "17 * 23", "15 percent of 240", "(3 plus 4) squared"."""
    found = _LEAD.match(text)
    body = (text[found.end() :] if found else text).lower().rstrip("= ")
    for pattern, symbol in _OPERATORS:
        body = pattern.sub(symbol, body)
    return _reckon(body, places)


def _reckon(expression: str, places: int | None) -> Solution:
    """Evaluate an expression in symbols."""
    tokens = [m.group() for m in _TOKEN.finditer(expression)]
    if not 1 <= len(tokens) <= 60 or "".join(tokens) != expression.replace(" ", ""):
        raise ValueError("no expression")
    reckoner = _Reckoner(tokens)
    value = reckoner.result()
    return _numeric(value, places, reckoner.effort, reckoner.misread)


class _Reckoner:
    """Recursive descent over an expression, in exact fractions.

    sum := product (± product)*       product := signed (* / mod signed)*
    signed := -signed | power         power := atom (^ signed)?       atom := number %* | ( sum ) %*
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [*tokens, ""]
        self.at = 0
        self.effort = 0.0
        self.misread: list[Fraction] = []

    def result(self) -> Fraction:
        """The value of the whole expression."""
        value = self._sum()
        if self.tokens[self.at]:
            raise ValueError(f"unexpected {self.tokens[self.at]}")
        return value

    def _take(self, *wanted: str) -> str:
        """The next token if it is one of those wanted, else nothing."""
        token = self.tokens[self.at]
        if token not in wanted:
            return ""
        self.at += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            self.effort += 0.6 * max(_digits(value), _digits(other))
            value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while sign := self._take("*", "/", "mod"):
            value = self._multiplied(value, sign, self._signed())
        return value

    def _multiplied(self, a: Fraction, sign: str, b: Fraction) -> Fraction:
        self.effort += _digits(a) * _digits(b)
        if sign == "*":
            self.misread += [a * (b + 1), a * (b - 1)] if len(self.tokens) == 4 else []
            return a * b
        self.effort += 1
        return a / b if sign == "/" else a % b

    def _signed(self) -> Fraction:
        return -self._signed() if self._take("-") else self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = self._signed()
        # Bounded before it is computed: 9^9^9 has 369 million digits.
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        if exponent.denominator != 1 or abs(exponent) > 256 / bits:
            raise ValueError("a power out of reach")
        value = base ** int(exponent)
        self.effort += _digits(base) * _digits(value)
        self.misread.append(base * exponent)
        return Fraction(value)

    def _atom(self) -> Fraction:
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise ValueError("a bracket is open")
        else:
            value = _number(self.tokens[self.at])
            self.at += 1
        while self._take("%"):
            self.effort += 0.5
            value /= 100
        return value


_THINGS = r"[a-z]+(?: [a-z]+)?"
_ENDS = r"\. how (?:much|many|far)\b.*"
_GAINS, _LOSES = "(?:buys|finds|gets)", "(?:gives away|loses|eats|sells)"
_COSTS = rf"an? {_THINGS} costs {_N} [a-z]+\. what do {_N} {_THINGS} cost"
_TRAVELS = rf"an? {_THINGS} travels at {_N} (?:km/h|mph) for {_N} hours?"
_SHARED = rf"{_N} {_THINGS} are shared equally among {_N} {_THINGS}\. how many"
_WORDED = {
    rf"what is the sum of {_N} and {_N}": "{0}+{1}",
    rf"what is the difference between {_N} and {_N}": "{0}-{1}",
    rf"what is the product of {_N} and {_N}": "{0}*{1}",
    rf"what is the quotient of {_N} and {_N}": "{0}/{1}",
    rf"what is the (?:average|mean) of {_N} and {_N}": "({0}+{1})/2",
    rf"what is the (?:average|mean) of {_N}, {_N},? and {_N}": "({0}+{1}+{2})/3",
    rf"what is the remainder when {_N} is divided by {_N}": "{0} mod {1}",
    rf"what percent(?:age)? of {_N} is {_N}": "100*{1}/{0}",
    rf"(?:what is {_N} increased|increase {_N}) by {_N}(?:%| percent)": "{0}*(1+{1}%)",
    rf"(?:what is {_N} decreased|(?:decrease|reduce) {_N}) by {_N}(?:%| percent)": "{0}*(1-{1}%)",
    rf"[a-z]+ has {_N} {_THINGS}, {_GAINS} {_N} more and {_LOSES} {_N}{_ENDS}": "{0}+{1}-{2}",
    rf"[a-z]+ has {_N} {_THINGS}, {_LOSES} {_N} and {_GAINS} {_N} more{_ENDS}": "{0}-{1}+{2}",
    _COSTS: "{1}*{0}",
    rf"{_COSTS},? with {_N} [a-z]+ off": "{1}*{0}-{2}",
    rf"{_COSTS},? with an? {_N}% discount": "{1}*{0}*(1-{2}%)",
    rf"{_TRAVELS}{_ENDS}": "{0}*{1}",
    rf"{_TRAVELS} and {_N} minutes?{_ENDS}": "{0}*({1}+{2}/60)",
    rf"{_SHARED} does each get": "{0}/{1}",
    rf"{_SHARED} are left over": "{0} mod {1}",
}


def _worded(text: str, places: int | None) -> Solution:
    """A word problem of a fixed form, turned into an expression."""
    for pattern, expression in _WORDED.items():
        if found := re.fullmatch(pattern, text, re.IGNORECASE):
            return _reckon(expression.format(*(n for n in found.groups() if n)), places)
    raise ValueError("no word problem")


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
_Q = rf"(?P<sign>-?)(?P<much>{_PLAIN}) ?(?P<unit>{_U})(?: (?:and )?(?P<more>{_PLAIN}) ?(?P<of>{_U}))?"
_CONVERSIONS = (
    rf"how many (?P<to>{_U}) (?:are|is|make|make up)(?: there)?(?: in)? {_Q}",
    rf"(?:convert|change) {_Q} (?:to|into|in) (?P<to>{_U})",
    rf"(?:(?:what is|what's|how much is) )?{_Q} (?:in|to|into|as) (?P<to>{_U})",
)


def _conversion(text: str, places: int | None) -> Solution:
    """A quantity in another unit: "Convert 26.2 miles to km", "How many minutes are 3 h and 5 min"."""
    found = next((m for p in _CONVERSIONS if (m := re.fullmatch(p, text, re.IGNORECASE))), None)
    if found is None:
        raise ValueError("no conversion")
    given = found.groupdict()
    parts = [(_number(given["much"]) * (-1 if given["sign"] else 1), _UNITS[given["unit"].lower()])]
    if given["more"]:
        parts.append((_number(given["more"]), _UNITS[given["of"].lower()]))
    return _converted(parts, _UNITS[given["to"].lower()], places)


def _converted(parts: Sequence[tuple[Fraction, _Unit]], to: _Unit, places: int | None) -> Solution:
    """The parts of one quantity, added up, in another unit of their dimension."""
    amount, unit = parts[0]
    shifted = any(u.offset for _, u in parts) or to.offset != 0
    if {u.dimension for _, u in parts} != {to.dimension} or (shifted and len(parts) > 1):
        raise ValueError("units that do not go together")
    ratio = unit.factor / to.factor
    value = sum(((n + u.offset) * u.factor for n, u in parts), Fraction(0)) / to.factor - to.offset
    effort = 1 + 0.7 * _digits(amount) * min(5, _digits(ratio)) + 2 * (len(parts) - 1 + shifted)
    return _numeric(value, places, effort, _misconverted(amount, ratio, shifted))


def _misconverted(amount: Fraction, ratio: Fraction, shifted: bool) -> list[Fraction]:
    """A coarse factor, the factor the wrong way round, the forgotten 32 of Fahrenheit."""
    coarse = Fraction(f"{float(ratio):.1e}")
    return [amount * coarse, amount * ratio if shifted else amount / ratio]


# ---------------------------------------------------------------- dates

_MONTH = "(?:january|february|march|april|may|june|july|august|september|october|november|december)"
_MONTHS = _MONTH[3:-1].split("|")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_D = rf"(\d{{4}}-\d\d-\d\d|\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
_TODAY = date(2024, 1, 1)  # weekdays near this day are easy


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
    found = _form(rf"how many days {verb}(?:between|from) {_D} (?:and|to|until) {_D}", text)
    days = abs((_date(found[2]) - _date(found[1])).days)
    return _numeric(Fraction(days), None, 2 + 2.2 * _span_effort(days), [Fraction(days + 1)])


def _weekday(text: str, places: int | None) -> Solution:
    """The weekday of a date: "What weekday is 2024-02-29"."""
    verb = "(?:is|was|will be|does|did)"
    found = _form(
        rf"(?:on )?(?:what|which) (?:weekday|day of the week) {verb} {_D}(?: fall(?: on)?| be)?", text
    )
    day = _date(found[1])
    slips = tuple(_WEEKDAYS[(day.weekday() + k) % 7] for k in (1, -1, 2, -2))
    effort = 3 + 1.6 * _span_effort((day - _TODAY).days)
    return Solution(_WEEKDAYS[day.weekday()], _difficulty(effort), slips)


def _moved_date(text: str, places: int | None) -> Solution:
    """A date some time away: "What date is 45 days after 2024-01-15"."""
    what = r"what (?:date|day) (?:is|was|will be)"
    found = _form(rf"{what} (\d{{1,6}}) (day|week)s? (after|before|from) {_D}", text)
    days = int(found[1]) * (7 if found[2].lower() == "week" else 1)
    day = _date(found[4]) + timedelta(-days if found[3].lower() == "before" else days)
    slips = tuple((day + timedelta(k)).isoformat() for k in (1, -1, 2, -2, 7, 30))
    return Solution(day.isoformat(), _difficulty(2 + 2 * math.log2(1 + days / 10)), slips)


def _leap_year(text: str, places: int | None) -> Solution:
    """Whether a year is a leap year: "Is 1900 a leap year"."""
    year = int(_form(r"(?:is|was|will)(?: the year)? (\d{4})(?: be)? a leap year", text)[1])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    right, wrong = ("Yes", "No") if leap else ("No", "Yes")
    return Solution(right, _difficulty(3 if year % 100 else 8), (wrong,))


# ---------------------------------------------------------------- contexts and choices

_IS = re.compile(r" (?:is|are|was|were) ", re.IGNORECASE)


def _look_up(text: str, context: str | None) -> Solution:
    """What X is where the context says "X is Y"; "unanswerable" where it does not."""
    if context is None:
        raise ValueError("no context to look it up in")
    subject = _form(r"(?:what|who) (?:is|are|was|were) (.{1,200})", text.strip("?. \n"))[1].casefold()
    sentences = re.split(r"(?<=[.;])\s|\n", context)
    facts = [
        (x[0].strip().casefold(), x[1].strip(" .;")) for s in sentences if len(x := _IS.split(s, 1)) == 2
    ]
    right = next((y for x, y in facts if x == subject), "unanswerable")
    others = dict.fromkeys([*(y for _, y in facts), "unanswerable", "unknown"])
    effort = 1 + math.log2(1 + len(context) / 100)
    return Solution(right, _difficulty(effort), tuple(y for y in others if y not in ("", right))[:8])


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
        return _chosen(solution, question.choices) if question.choices else solution
    except ValueError as exc:
        raise _refusal(question.text) from exc


def _chosen(solution: Solution, choices: Sequence[str]) -> Solution:
    """The letter of the right choice."""
    letters = {chr(65 + i): agrees(choice, solution.answer) for i, choice in enumerate(choices)}
    right = [letter for letter, fits in letters.items() if fits]
    wrong = tuple(letter for letter, fits in letters.items() if not fits)
    if not (right and wrong):
        raise ValueError("no choice is right, or all are")
    return Solution(right[0], solution.difficulty, wrong)


def _refusal(text: str) -> BadRequest:
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    examples = " ".join(f'"{e}"' for e in EXAMPLES)
    return BadRequest(
        f"the demo models are simulated and cannot work out {shown!r}; "
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
    said = _salient(candidate)
    if said and len(said) <= 8:
        return said == _salient(answer)
    return " ".join(candidate.casefold().split()).rstrip(".") == answer.casefold().rstrip(".")


def _salient(text: str) -> set[str]:
    """The numbers, dates, weekdays and yes or no that a text names."""
    found = (token.lower() for token in _SALIENT.findall(text[:2000]))
    return {_decimal(_number(t), None) if _is_plain(t) else t for t in found}


def _is_plain(token: str) -> bool:
    return len(token) <= 16 and bool(re.fullmatch(r"-?[\d,]*\d(?:\.\d+)?", token))


# ---------------------------------------------------------------- the questions that ship

# In a template, <3> is a number of three digits, <2.1> one with a decimal, <day -9 90> a date that lies
# from 9 days before to 90 days after the first of 2024. Each list goes from easy to hard.
_TEMPLATES = {
    "arithmetic": (
        "What is <3> + <3>?",
        "What is <2> * <1>?",
        "What is <2> * <2>?",
        "What is <2>% of <3>?",
        "<name> has <2> <things>, buys <2> more and gives away <1>. How many <things> are left?",
        "A ticket costs <2> dollars. What do <2> tickets cost, with <2> dollars off?",
        "What is <5> - <4>?",
        "What is <3> * <2>?",
        "What is (<2> + <3>) * <2>?",
        "What is <2> squared plus <3>?",
        "What is <4> / <2>, to 2 decimals?",
        "What is the remainder when <4> is divided by <2>?",
        "A train travels at <3> km/h for <1> hours and <2> minutes. How far is that in km, to 1 decimal?",
        "A chair costs <3> euros. What do <2> chairs cost, with a <2>% discount, to 2 decimals?",
        "What is <3> * <3>?",
        "What is the average of <3>, <4> and <3>, to 2 decimals?",
        "What is <2.1> * <2.2>, to 2 decimals?",
        "What is <4> * <3>?",
        "What is <2> cubed minus <4>?",
        "What is <5> * <3>?",
        "What is (<3> + <2.1>) * <2.2> - <3>, to 2 decimals?",
        "What is <4> * <4>?",
    ),
    "units": (
        "How many minutes are <1> hours and <2> minutes?",
        "Convert <1> km to m.",
        "How many hours are <2> days?",
        "Convert <2> km to miles, to 1 decimal.",
        "Convert <1> gallons to litres, to 2 decimals.",
        "How many pounds are there in <2> kg, to 1 decimal?",
        "Convert <2> degrees Celsius to Fahrenheit, to 1 decimal.",
        "Convert <2> inches to cm, to 1 decimal.",
        "What is <3> degrees Fahrenheit in Celsius, to 1 decimal?",
        "Convert <2.1> miles to km, to 2 decimals.",
        "How many feet are there in <2.1> metres, to 2 decimals?",
        "Convert <2.2> ounces to grams, to 1 decimal.",
        "Convert <3.1> km/h to mph, to 2 decimals.",
        "Convert <3.1> acres to hectares, to 2 decimals.",
        "What is <3.2> stone in kg, to 2 decimals?",
    ),
    "dates": (
        "What date is <1> days after <day -90 90>?",
        "Is <year> a leap year?",
        "How many days are there between <day -40 -1> and <day 0 60>?",
        "What weekday is <day -90 90>?",
        "What date is <2> days after <day -400 400>?",
        "What date is <2> days before <day -4000 4000>?",
        "How many days are there between <day -300 -1> and <day 0 400>?",
        "What weekday is <day -800 800>?",
        "What date is <2> weeks after <day -4000 4000>?",
        "How many days are there between <day -2000 -1> and <day 0 1000>?",
        "What weekday was <day -9000 0>?",
        "What date is <3> days before <day -4000 4000>?",
        "How many days are there between <day -9000 -1> and <day 0 9000>?",
    ),
}
_SHARES = ("arithmetic", "arithmetic", "units", "dates")
_HOLE = re.compile(r"<(?:(\d)(?:\.(\d))?|day (-?\d+) (-?\d+)|year|name|things)>")


class _Draws:
    """Seeded choices that come out the same on every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, options: Sequence[str]) -> str:
        """One of the options."""
        return options[self.between(0, len(options) - 1)]

    def filled(self, template: str) -> str:
        """A template with its holes filled; the things of a question are the same throughout."""
        things = self.pick(("apples", "books", "coins", "stamps", "marbles"))
        return _HOLE.sub(lambda hole: things if hole[0] == "<things>" else self._fill(hole), template)

    def _fill(self, hole: re.Match[str]) -> str:
        digits, decimals, first, last = hole.groups()
        if digits:
            whole = self.between(10 ** (int(digits) - 1) + 1, 10 ** int(digits) - 1)
            tail = 10 ** int(decimals or 0)
            return f"{whole}.{self.between(tail // 10 + 1, tail - 1)}" if decimals else str(whole)
        if first:
            return (_TODAY + timedelta(self.between(int(first), int(last)))).isoformat()
        if hole[0] == "<year>":
            return str(self.between(15, 24) * 100 + self.between(0, 3) * self.between(1, 24))
        return self.pick(("Ana", "Bo", "Chidi", "Dana", "Emre"))


def generate_questions(n: int = 900, seed: int = 2310) -> list[dict[str, str]]:
    """Make labelled questions, all different, from easy to hard in random order.

    Example:
        >>> row = generate_questions(3)[0]
        >>> row["id"], solve(row["question"]).answer == row["expected"]
        ('demo-0001', True)
    """
    draws = _Draws(seed)
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < n:
        dataset = draws.pick(_SHARES)
        question = draws.filled(draws.pick(_TEMPLATES[dataset]))
        solution = solve(question)
        if question in rows or solution is None:
            continue
        row = {"id": f"demo-{len(rows) + 1:04d}", "question": question}
        rows[question] = {**row, "expected": solution.answer, "dataset": dataset}
    return list(rows.values())
