"""Arithmetic as the simulated tiers do it: exact fractions, in symbols and in short stories."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple


class Solution(NamedTuple):
    """The right answer, how hard it is to find (0 to 1), and typical wrong answers."""

    answer: str
    difficulty: float
    slips: tuple[str, ...]


def difficulty_of(effort: float) -> float:
    """Effort, counted in steps a person would take, on the scale from 0 to 1."""
    return 1 - math.exp(-effort / 12)


# ---------------------------------------------------------------- numbers


def decimal_text(value: Fraction, places: int | None) -> str:
    """A number as text, halves rounded away from zero; without `places`, at most 4 decimals.

    Example:
        >>> [decimal_text(Fraction(1, 8), 2), decimal_text(Fraction(1, 8), None)]
        ['0.13', '0.125']
        >>> decimal_text(Fraction(-1, 3), None)
        '-0.3333'
    """
    decimals = 4 if places is None else places
    scaled_value = abs(value) * 10**decimals
    units = (2 * scaled_value.numerator + scaled_value.denominator) // (2 * scaled_value.denominator)
    text = f"{units // 10**decimals}.{units % 10**decimals:0{decimals}d}" if decimals else str(units)
    if places is None:
        text = text.rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and units else text


def parse_number(text: str) -> Fraction:
    """A number as written; longer ones than a person would work with are refused."""
    if len(text) > 16:
        raise ValueError("a number too long")
    return Fraction(text.replace(",", ""))


def count_digits(value: Fraction) -> int:
    """Significant digits a person has to carry.

    Example:
        >>> count_digits(Fraction(1200)), count_digits(Fraction("3.25"))
        (2, 3)
    """
    return max(1, len(decimal_text(value, None).replace(".", "").strip("-0")))


def numeric_solution(
    value: Fraction, places: int | None, effort: float, misread: Iterable[Fraction] = ()
) -> Solution:
    """The solution of a question whose answer is a number; `misread` are its typical blunders."""
    right = decimal_text(value, places)
    step = Fraction(1, 10 ** len(right.partition(".")[2]))
    near = [value + k * step for k in _NEAR if abs(k) == 1 or abs(k * step) < abs(value)]
    wrong = [v for v in (*misread, *near, _swap_digits(right)) if (v < 0) == (value < 0)]
    texts = dict.fromkeys(decimal_text(v, places) for v in wrong)
    return Solution(right, difficulty_of(effort), tuple(t for t in texts if t != right)[:8])


_NEAR = (10, -10, 1, -1, 2, -2, 100, -100)


def _swap_digits(text: str) -> Fraction:
    """A number with two neighbouring digits exchanged, where two differ."""
    match = re.search(r"(\d)(?!\1)(\d)(\D*)$", text)
    return Fraction(f"{text[: match.start()]}{match[2]}{match[1]}{match[3]}" if match else text)


# ---------------------------------------------------------------- arithmetic

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_N = rf"({NUMBER})"
_EXPRESSION_TOKEN = re.compile(rf"{_N}|mod|[-+*/^()%]")
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


def solve_expression(text: str, places: int | None) -> Solution:
    """An expression, in symbols or in words: "17 * 23", "15 percent of 240", "(3 plus 4) squared"."""
    match = _LEAD.match(text)
    body = (text[match.end() :] if match else text).lower().rstrip("= ")
    for pattern, symbol in _OPERATORS:
        body = pattern.sub(symbol, body)
    return _reckon(body, places)


def _reckon(expression: str, places: int | None) -> Solution:
    """Evaluate an expression in symbols."""
    tokens = [m.group() for m in _EXPRESSION_TOKEN.finditer(expression)]
    if not 1 <= len(tokens) <= 60 or "".join(tokens) != expression.replace(" ", ""):
        raise ValueError("no expression")
    reckoner = _Reckoner(tokens)
    value = reckoner.result()
    return numeric_solution(value, places, reckoner.effort, reckoner.misread)


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

    def _take(self, *options: str) -> str:
        """The next token if it is one of these, else nothing."""
        token = self.tokens[self.at]
        if token not in options:
            return ""
        self.at += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            self.effort += 0.6 * max(count_digits(value), count_digits(other))
            value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._unary()
        while sign := self._take("*", "/", "mod"):
            value = self._multiply(value, sign, self._unary())
        return value

    def _multiply(self, a: Fraction, sign: str, b: Fraction) -> Fraction:
        self.effort += count_digits(a) * count_digits(b)
        if sign == "*":
            self.misread += [a * (b + 1), a * (b - 1)] if len(self.tokens) == 4 else []
            return a * b
        self.effort += 1
        return a / b if sign == "/" else a % b

    def _unary(self) -> Fraction:
        return -self._unary() if self._take("-") else self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = self._unary()
        # Bounded before it is computed: 9^9^9 has 369 million digits.
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        if exponent.denominator != 1 or abs(exponent) > 256 / bits:
            raise ValueError("a power out of reach")
        value = base ** int(exponent)
        self.effort += count_digits(base) * count_digits(value)
        self.misread.append(base * exponent)
        return Fraction(value)

    def _atom(self) -> Fraction:
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise ValueError("a bracket is open")
        else:
            value = parse_number(self.tokens[self.at])
            self.at += 1
        while self._take("%"):
            self.effort += 0.5
            value /= 100
        return value


_THINGS = r"[a-z]+(?: [a-z]+)?"
_HOW_MANY = r"\. how (?:much|many|far)\b.*"
_GAINS, _LOSES = "(?:buys|finds|gets)", "(?:gives away|loses|eats|sells)"
_COSTS = rf"an? {_THINGS} costs {_N} [a-z]+\. what do {_N} {_THINGS} cost"
_TRAVELS = rf"an? {_THINGS} travels at {_N} (?:km/h|mph) for {_N} hours?"
_SHARED = rf"{_N} {_THINGS} are shared equally among {_N} {_THINGS}\. how many"
_WORDED_FORMS = {
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
    rf"[a-z]+ has {_N} {_THINGS}, {_GAINS} {_N} more and {_LOSES} {_N}{_HOW_MANY}": "{0}+{1}-{2}",
    rf"[a-z]+ has {_N} {_THINGS}, {_LOSES} {_N} and {_GAINS} {_N} more{_HOW_MANY}": "{0}-{1}+{2}",
    _COSTS: "{1}*{0}",
    rf"{_COSTS},? with {_N} [a-z]+ off": "{1}*{0}-{2}",
    rf"{_COSTS},? with an? {_N}% discount": "{1}*{0}*(1-{2}%)",
    rf"{_TRAVELS}{_HOW_MANY}": "{0}*{1}",
    rf"{_TRAVELS} and {_N} minutes?{_HOW_MANY}": "{0}*({1}+{2}/60)",
    rf"{_SHARED} does each get": "{0}/{1}",
    rf"{_SHARED} are left over": "{0} mod {1}",
}


def solve_worded(text: str, places: int | None) -> Solution:
    """A word problem of a fixed form, turned into an expression."""
    for pattern, expression in _WORDED_FORMS.items():
        if match := re.fullmatch(pattern, text, re.IGNORECASE):
            return _reckon(expression.format(*(n for n in match.groups() if n)), places)
    raise ValueError("no word problem")
