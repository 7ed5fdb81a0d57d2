"""The labelled questions that ship with the demo profile, made from templates."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import timedelta

from automix_cli.backends.demo.questions import TODAY, solve

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


class SeededChoices:
    """Seeded choices that come out the same on every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, options: Sequence[str]) -> str:
        """One of the options."""
        return options[self.between(0, len(options) - 1)]

    def fill(self, template: str) -> str:
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
            return (TODAY + timedelta(self.between(int(first), int(last)))).isoformat()
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
    draws = SeededChoices(seed)
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < n:
        dataset = draws.pick(_SHARES)
        question = draws.fill(draws.pick(_TEMPLATES[dataset]))
        solution = solve(question)
        if question in rows or solution is None:
            continue
        row = {"id": f"demo-{len(rows) + 1:04d}", "question": question}
        rows[question] = {**row, "expected": solution.answer, "dataset": dataset}
    return list(rows.values())
