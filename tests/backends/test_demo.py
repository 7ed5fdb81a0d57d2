"""The simulated tiers: right answers by arithmetic of another make, honest signals, no surprises."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.demo.generate import generate_questions
from automix_cli.backends.demo.questions import SAMPLE_QUESTIONS, agrees, solve, solve_question
from automix_cli.backends.demo.tiers import MODELS, DemoBackend
from automix_cli.data.rows import question_from_dict
from automix_cli.errors import BadRequest
from automix_cli.pomdp.problem import Facts, Observation
from automix_cli.pomdp.rules import MajorityPolicy
from automix_cli.records import Completion, Message, Question, Verdict, VoteCount
from automix_cli.usage import Price, Usage, total_usage

SHIPPED = Path(__file__).parents[2] / "profiles" / "demo-questions.jsonl"
INSTRUCTION = "Answer with the result only."
PRICES = {"demo/small": Price(input=0.10, output=0.40), "demo/large": Price(input=2.00, output=8.00)}


def ask(
    messages: Sequence[Message], model: str = "demo/small", *, n: int = 1, first: int = 0, **params: Any
) -> tuple[Completion, ...]:
    request = Request(
        model=model, messages=tuple(messages), params=tuple(sorted(params.items())), n=n, first=first
    )
    return asyncio.run(DemoBackend().complete(request))


def asked(text: str, **fields: Any) -> tuple[Message, ...]:
    return prompts.answer_messages(Question(text=text, **fields), INSTRUCTION)


def judged(text: str, answer: str, **fields: Any) -> tuple[Message, ...]:
    return prompts.verification_messages(Question(text=text, **fields), answer)


# ---------------------------------------------------------------- what can be worked out

KNOWN = {
    "What is 17 * 23?": "391",
    "17*23": "391",
    "what is 17 x 23": "391",
    "What is 17 × 23?": "391",
    "Calculate 17 times 23.": "391",
    "What is 2 + 3 * 4?": "14",
    "What is (2 + 3) * 4?": "20",
    "What is 10 - 3 - 2?": "5",
    "What is 2^3^2?": "512",
    "What is -3^2?": "-9",
    "What is (-3)^2?": "9",
    "What is 2 ** 10?": "1024",
    "What is 12 squared?": "144",
    "What is 2 to the power of 8?": "256",
    "What is 7 - -5?": "12",
    "What is 1,234 * 2?": "2468",
    "What is 0.1 + 0.2?": "0.3",
    "What is 10 / 4?": "2.5",
    "What is 10 divided by 3, to 2 decimals?": "3.33",
    "What is 1 / 8, to 2 decimals?": "0.13",
    "What is 5 / 2, to the nearest whole number?": "3",
    "What is 10 / 3? Round to 1 decimal.": "3.3",
    "What is 6 / 3, to 2 decimals?": "2.00",
    "What is 15% of 240?": "36",
    "What is 12.5 percent of 80?": "10",
    "What percentage of 80 is 20?": "25",
    "Increase 240 by 15%.": "276",
    "What is 200 decreased by 10 percent?": "180",
    "What is the sum of 12 and 30?": "42",
    "What is the difference between 12 and 30?": "-18",
    "What is the average of 3, 4 and 8?": "5",
    "What is the remainder when 1234 is divided by 17?": "10",
    "Ana has 12 apples, buys 7 more and gives away 5. How many apples are left?": "14",
    "Bo has 12 red pens, loses 5 and finds 7 more. How many pens does he have?": "14",
    "A pen costs 3 dollars. What do 12 pens cost?": "36",
    "A pen costs 3 dollars. What do 12 pens cost, with 6 dollars off?": "30",
    "A pen costs 3 dollars. What do 12 pens cost, with a 25% discount?": "27",
    "A train travels at 80 km/h for 3 hours. How far does it go?": "240",
    "A train travels at 80 km/h for 3 hours and 15 minutes. How many km is that?": "260",
    "50 sweets are shared equally among 8 children. How many are left over?": "2",
    "Convert 26.2 miles to km, to 1 decimal.": "42.2",
    "How many km are 10 miles, to 2 decimals?": "16.09",
    "What is 98.6 F in C?": "37",
    "Convert -40 degrees Celsius to Fahrenheit.": "-40",
    "What is 100 °C in °F?": "212",
    "Convert 0 K to C": "-273.15",
    "How many minutes are 3 hours and 25 minutes?": "205",
    "How many pounds are there in 3 kg, to 2 decimals?": "6.61",
    "What is 5 ft 7 inches in cm?": "170.18",
    "Convert 10 gallons to litres, to 2 decimals.": "37.85",
    "Convert 36 km/h to m/s.": "10",
    "How many hours are 2 weeks?": "336",
    "1 kcal in kJ": "4.184",
    "1 stone in kg, to 4 decimals": "6.3503",
    "1 ounce in g, to 4 decimals": "28.3495",
    "1 tonne in kg": "1000",
    "1 pint in ml, to 3 decimals": "473.176",
    "1 cup in ml, to 3 decimals": "236.588",
    "1 knot in km/h": "1.852",
    "1 mph in km/h, to 3 decimals": "1.609",
    "1 nautical mile in km": "1.852",
    "1 acre in square metres, to 2 decimals": "4046.86",
    "1 hectare in square meters": "10000",
    "1 yard in inches": "36",
    "1 mm in cm": "0.1",
    "1 day in s": "86400",
    "300 K in C": "26.85",
    "How many days are there between 2024-01-15 and 2024-03-02?": "47",
    "How many days are there between 15 January 2023 and March 2, 2023?": "46",
    "How many days are there between 2024-03-02 and 2024-01-15?": "47",
    "What weekday is 2024-02-29?": "Thursday",
    "What day of the week was 20 July 1969?": "Sunday",
    "On what weekday does 2000-01-01 fall?": "Saturday",
    "What date is 45 days after 2024-01-15?": "2024-02-29",
    "What date is 1 day before 1900-03-01?": "1900-02-28",
    "What date is 2 weeks from 31 December 2023?": "2024-01-14",
    "Is 1900 a leap year?": "No",
    "Is 2000 a leap year?": "Yes",
    "Is the year 2023 a leap year?": "No",
}


@pytest.mark.parametrize(("text", "answer"), KNOWN.items(), ids=KNOWN)
def test_a_question_has_its_known_answer(text: str, answer: str) -> None:
    solution = solve(text)
    assert solution is not None
    assert solution.answer == answer


@pytest.mark.parametrize(("text", "answer"), KNOWN.items(), ids=KNOWN)
def test_slips_are_wrong_and_difficulty_is_a_share(text: str, answer: str) -> None:
    solution = solve(text)
    assert solution is not None
    assert solution.slips
    assert not [slip for slip in solution.slips if agrees(slip, answer)]
    assert 0 <= solution.difficulty < 1


REFUSED = {
    "prose": "Why is the sky blue?",
    "division by zero": "What is 1 / 0?",
    "power tower": "What is 9^9^9?",
    "tower of trailing zeros": "What is ((10^15)^60)^60?",
    "power with a fraction": "What is 2^0.5?",
    "open bracket": "What is (2 + 3?",
    "two operators": "What is 2 * / 3?",
    "code": "What is __import__('os').getcwd()?",
    "numbers without sense": "3 4 5",
    "units of two kinds": "Convert 5 km to kg",
    "unknown unit": "Convert 5 parsecs to km",
    "temperatures do not add up": "What is 3 C and 4 C in F?",
    "no such date": "What weekday is 2023-02-30?",
    "a date out of the calendar": "What date is 999999 days after 9999-01-01?",
    "brackets without end": "What is " + "(" * 5000 + "1" + ")" * 5000,
    "a sum without end": "What is " + "1+" * 200 + "1",
    "a number without end": "What is " + "9" * 5000 + " * 2?",
    "punctuation without end": "What is 2" + "." * 100_000 + "x",
    "a lone surrogate": "What is \ud800?",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("model", MODELS)
def test_what_cannot_be_worked_out_is_refused_with_examples_and_never_retried(model: str, text: str) -> None:
    for messages in (asked(text), judged(text, "42")):
        with pytest.raises(BadRequest) as caught:
            ask(messages, model)
        assert not caught.value.retryable
        assert all(example in caught.value.message for example in SAMPLE_QUESTIONS)
        assert len(SAMPLE_QUESTIONS) == 3
        assert len(caught.value.message) < 600


def test_every_example_in_the_refusal_works() -> None:
    assert all(ask(asked(example)) for example in SAMPLE_QUESTIONS)


def test_an_unknown_model_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(BadRequest, match="demo/small, demo/medium, demo/large"):
        ask(asked("What is 2 + 2?"), "demo/huge")


AGREEMENTS = [
    ("391", "391", True),
    (" 391. ", "391", True),
    ("391.0", "391", True),
    ("It is 391.", "391", True),
    ("1,391", "1391", True),
    ("390", "391", False),
    ("391 or 392", "391", False),
    ("-391", "391", False),
    ("", "391", False),
    ("correct", "391", False),
    ("a Tuesday", "Tuesday", True),
    ("tuesday", "Tuesday", True),
    ("Tuesday or Friday", "Tuesday", False),
    ("YES", "Yes", True),
    ("yes and no", "Yes", False),
    ("2024-03-01", "2024-03-01", True),
    ("2024-03-02", "2024-03-01", False),
    ("On 2024-03-01, I think", "2024-03-01", True),
    ("Ana  Prieto", "Ana Prieto", True),
    ("9" * 5000, "391", False),
]


@pytest.mark.parametrize(("candidate", "answer", "same"), AGREEMENTS, ids=lambda v: str(v)[:20])
def test_an_answer_agrees_when_it_says_the_right_thing_and_nothing_else(
    candidate: str, answer: str, same: bool
) -> None:
    assert agrees(candidate, answer) is same


# ---------------------------------------------------------------- the questions that ship

ROWS = generate_questions()


def test_the_shipped_file_is_what_the_generator_makes_byte_for_byte() -> None:
    made = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    assert SHIPPED.read_bytes() == made.encode()


def test_running_the_module_prints_the_shipped_file() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "automix_cli.backends.demo.tiers"], capture_output=True, check=True
    )
    assert run.stdout.replace(b"\r\n", b"\n") == SHIPPED.read_bytes()
    assert run.stderr == b""


def test_the_shipped_questions_are_many_and_distinct() -> None:
    assert len(ROWS) >= 800
    assert len({row["id"] for row in ROWS}) == len({row["question"] for row in ROWS}) == len(ROWS)
    assert {row["dataset"] for row in ROWS} == {"arithmetic", "units", "dates"}
    assert min(Counter(row["dataset"] for row in ROWS).values()) >= 150


def test_the_shipped_questions_are_spread_over_difficulty() -> None:
    fifths = Counter(min(4, int(5 * solve_question(question_from_dict(r)).difficulty)) for r in ROWS)
    assert all(fifths[i] >= 0.04 * len(ROWS) for i in range(5))


def test_the_generator_depends_on_its_seed_alone() -> None:
    assert generate_questions(30) == ROWS[:30]
    assert generate_questions(30, seed=1) == generate_questions(30, seed=1)
    assert generate_questions(30, seed=1) != ROWS[:30]


def rounded(value: Fraction, places: str | None) -> str:
    """A fraction in decimals, by the standard library's own rounding."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    if places is not None:
        return str(exact.quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP))
    return f"{exact.normalize():f}"


def julian_day(iso: str) -> int:
    """The Julian day number of a date (Fliegel and Van Flandern, 1968)."""
    y, m, d = map(int, iso.split("-"))
    shift = int((m - 14) / 12)
    return (
        d - 32075 + 1461 * (y + 4800 + shift) // 4
        + 367 * (m - 2 - 12 * shift) // 12 - 3 * ((y + 4900 + shift) // 100) // 4
    )  # fmt: skip


def in_python(expression: str) -> Fraction:
    """An expression by Python's own grammar, in fractions."""
    return Fraction(eval(re.sub(r"[\d.]+", lambda n: f"Fraction('{n[0]}')", expression)))


FACTORS = {
    ("km", "m"): "1000",
    ("days", "hours"): "24",
    ("km", "miles"): "0.62137119223733",
    ("miles", "km"): "1.609344",
    ("gallons", "litres"): "3.785411784",
    ("kg", "pounds"): "2.20462262184878",
    ("inches", "cm"): "2.54",
    ("metres", "feet"): "3.28083989501312",
    ("ounces", "grams"): "28.349523125",
    ("km/h", "mph"): "0.62137119223733",
    ("acres", "hectares"): "0.40468564224",
    ("stone", "kg"): "6.35029318",
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
N, D = r"([\d.]+)", r"(\d+-\d\d-\d\d)"


def moved(iso: str, days: int, answer: str) -> str:
    """The answer, if it lies so many days after a date."""
    return answer if julian_day(answer) - julian_day(iso) == days else "another date"


#: Patterns of shipped questions with a second way to their answers: (groups, places, expected) → answer.
ORACLES: dict[str, Callable[[tuple[str, ...], str | None, str], str]] = {
    r"What is ([\d.()+* -]+)": lambda g, p, _: rounded(in_python(g[0]), p),
    rf"What is {N} / {N}": lambda g, p, _: rounded(Fraction(g[0]) / Fraction(g[1]), p),
    rf"What is {N}% of {N}": lambda g, p, _: rounded(Fraction(g[0]) * Fraction(g[1]) / 100, p),
    rf"What is {N} squared plus {N}": lambda g, p, _: str(int(g[0]) * int(g[0]) + int(g[1])),
    rf"What is {N} cubed minus {N}": lambda g, p, _: str(int(g[0]) * int(g[0]) * int(g[0]) - int(g[1])),
    rf"What is the average of {N}, {N} and {N}": lambda g, p, _: rounded(Fraction(sum(map(int, g)), 3), p),
    rf"What is the remainder when {N} is divided by {N}": lambda g, p, _: str(
        int(g[0]) - int(g[1]) * (int(g[0]) // int(g[1]))
    ),
    rf"\w+ has {N} \w+, buys {N} more and gives away {N}\. .*": lambda g, p, _: str(
        int(g[0]) + int(g[1]) - int(g[2])
    ),
    rf"A ticket costs {N} dollars\. What do {N} tickets cost, with {N} dollars off": lambda g, p, _: str(
        int(g[0]) * int(g[1]) - int(g[2])
    ),
    rf"A chair costs {N} euros\. What do {N} chairs cost, with a {N}% discount": lambda g, p, _: rounded(
        Fraction(int(g[0]) * int(g[1]) * (100 - int(g[2])), 100), p
    ),
    rf"A train travels at {N} km/h for {N} hours and {N} minutes\. .*": lambda g, p, _: rounded(
        Fraction(int(g[0]) * (60 * int(g[1]) + int(g[2])), 60), p
    ),
    rf"How many minutes are {N} hours and {N} minutes": lambda g, p, _: str(60 * int(g[0]) + int(g[1])),
    rf"(?:Convert|What is) {N} (\S+) (?:to|in) (\S+)": lambda g, p, _: rounded(
        Fraction(g[0]) * Fraction(FACTORS[g[1], g[2]]), p
    ),
    rf"How many (\w+) are (?:there in )?{N} (\w+)": lambda g, p, _: rounded(
        Fraction(g[1]) * Fraction(FACTORS[g[2], g[0]]), p
    ),
    rf"Convert {N} degrees Celsius to Fahrenheit": lambda g, p, _: rounded(
        Fraction(g[0]) * Fraction(9, 5) + 32, p
    ),
    rf"What is {N} degrees Fahrenheit in Celsius": lambda g, p, _: rounded(
        (Fraction(g[0]) - 32) * Fraction(5, 9), p
    ),
    rf"What date is {N} days after {D}": lambda g, p, e: moved(g[1], int(g[0]), e),
    rf"What date is {N} days before {D}": lambda g, p, e: moved(g[1], -int(g[0]), e),
    rf"What date is {N} weeks after {D}": lambda g, p, e: moved(g[1], 7 * int(g[0]), e),
    rf"How many days are there between {D} and {D}": lambda g, p, _: str(julian_day(g[1]) - julian_day(g[0])),
    rf"What weekday (?:is|was) {D}": lambda g, p, _: DAYS[julian_day(g[0]) % 7],
    rf"Is {N} a leap year": lambda g, p, _: (
        "Yes" if julian_day(f"{int(g[0]) + 1}-01-01") - julian_day(f"{g[0]}-01-01") == 366 else "No"
    ),
}


def second_answers(row: dict[str, str]) -> list[str]:
    """What the oracles that know a question's form say to it."""
    found = re.fullmatch(r"(.*?)(?:, to (\d) decimals?)?[?.]", row["question"])
    assert found
    return [
        oracle(form.groups(), found[2], row["expected"])
        for pattern, oracle in ORACLES.items()
        if (form := re.fullmatch(pattern, found[1]))
    ]


def test_expected_is_right_by_a_second_way_of_reckoning() -> None:
    differing = {row["id"]: row for row in ROWS if second_answers(row) != [row["expected"]]}
    assert differing == {}


# ---------------------------------------------------------------- determinism


@pytest.mark.parametrize("messages", [asked("What is 4821 * 377?"), judged("What is 4821 * 377?", "1817617")])
def test_samples_do_not_depend_on_how_they_are_bought(messages: tuple[Message, ...]) -> None:
    at_once = ask(messages, n=8, temperature=1.0)
    one_by_one = [ask(messages, first=i, temperature=1.0)[0] for i in range(8)]
    assert [c.text for c in at_once] == [c.text for c in one_by_one]
    assert ask(messages, n=8, temperature=1.0) == at_once


@pytest.mark.parametrize("params", [{"temperature": 0}, {"temperature": 0.0}, {}])
def test_at_temperature_zero_all_samples_are_one(params: dict[str, float]) -> None:
    for row in ROWS[:100]:
        for messages in (asked(row["question"]), judged(row["question"], "7")):
            assert len({c.text for c in ask(messages, n=4, **params)}) == 1


def test_at_temperature_one_samples_vary_and_depend_on_model_prompt_and_temperature() -> None:
    def texts(
        instruction: str = INSTRUCTION, model: str = "demo/small", temperature: float = 1.0
    ) -> list[str]:
        questions = [Question(text=row["question"]) for row in ROWS[:60]]
        prompted = [prompts.answer_messages(q, instruction) for q in questions]
        return [c.text for m in prompted for c in ask(m, model, n=4, temperature=temperature)]

    assert len(set(texts())) > 90
    assert texts() != texts("Be brief.")
    assert texts() != texts(model="demo/large")
    assert texts() != texts(temperature=0.7)


def test_an_answer_at_temperature_zero_does_not_depend_on_the_instruction() -> None:
    for row in ROWS[:100]:
        question = Question(text=row["question"])
        said = {ask(prompts.answer_messages(question, i))[0].text for i in (INSTRUCTION, "Be brief.", "")}
        assert len(said) == 1


# ---------------------------------------------------------------- the first question of a newcomer


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("instruction", [INSTRUCTION, "Answer as concisely as you can.", ""])
@pytest.mark.parametrize("text", ["What is 17 * 23?", "17 * 23", "what is 17 times 23"])
def test_seventeen_times_twenty_three_is_391_at_every_tier(model: str, instruction: str, text: str) -> None:
    assert ask(prompts.answer_messages(Question(text=text), instruction), model)[0].text == "391"


def test_the_default_policy_reports_391_at_the_small_tier() -> None:
    question = Question(text="What is 17 * 23?")
    policy = MajorityPolicy(tiers=2, max_votes=8)
    belief, n_votes = policy.begin(Facts()), 0
    while not (action := policy.action(belief)).final:
        seen = Observation()
        if action.kind == "vote":
            messages = prompts.verification_messages(question, "391")
            votes = ask(messages, n=action.votes, first=n_votes, temperature=1.0, max_tokens=512)
            count = VoteCount.of(prompts.read_vote(c).verdict for c in votes)
            seen, n_votes = Observation(count.correct, count.parsed, count.n_votes), n_votes + action.votes
        belief = policy.update(belief, action, seen)
    assert (action.kind, action.tier) == ("report", 0)
    assert n_votes


# ---------------------------------------------------------------- signals and economy


class Measured(NamedTuple):
    """What a tier did on one shipped question."""

    right: bool
    votes: VoteCount
    verdict_confidence: float | None
    answer_confidence: float | None
    plurality_right: bool
    plurality: int
    cost: float
    vote_cost: float


def measure(row: dict[str, str], model: str) -> Measured:
    prompt = asked(row["question"])
    answer = ask(prompt, model, logprobs=True, max_tokens=1024)[0]
    check = judged(row["question"], answer.text)
    votes = ask(check, model, n=8, temperature=1.0, max_tokens=1024)
    verdict = ask(check, model, temperature=0, logprobs=True, top_logprobs=5)[0]
    samples = Counter(c.text for c in ask(prompt, model, n=8, temperature=1.0))
    text, count = samples.most_common(1)[0]
    price = PRICES[model]
    return Measured(
        right=answer.text == row["expected"],
        votes=VoteCount.of(prompts.read_vote(c).verdict for c in votes),
        verdict_confidence=prompts.verdict_confidence(verdict),
        answer_confidence=prompts.answer_confidence(answer),
        plurality_right=text == row["expected"],
        plurality=count,
        cost=price.of(answer.usage),
        vote_cost=price.of(total_usage(c.usage for c in votes)),
    )


SOME = ROWS[::2]


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Measured]]:
    return {model: [measure(row, model) for row in SOME] for model in PRICES}


def auroc(pairs: Sequence[tuple[bool, float]]) -> float:
    """Probability that a right answer has the higher signal; ties count half."""
    right, wrong = ([s for r, s in pairs if r is side] for side in (True, False))
    above = sum((a > b) + (a == b) / 2 for a in right for b in wrong)
    return above / (len(right) * len(wrong))


def share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def test_the_small_tier_errs_often_and_the_large_one_seldom(measured: dict[str, list[Measured]]) -> None:
    assert 0.60 <= share([m.right for m in measured["demo/small"]]) <= 0.70
    assert 0.93 <= share([m.right for m in measured["demo/large"]]) <= 0.97


def test_errors_grow_with_difficulty(measured: dict[str, list[Measured]]) -> None:
    hardness = [solve_question(question_from_dict(row)).difficulty for row in SOME]
    for rows in measured.values():
        assert auroc([(not m.right, h) for m, h in zip(rows, hardness, strict=True)]) > 0.7


SIGNALS: dict[str, Callable[[Measured], tuple[bool, float | None]]] = {
    "votes": lambda m: (m.right, m.votes.share),
    "logprob of the verdict": lambda m: (m.right, m.verdict_confidence),
    "logprob of the answer": lambda m: (m.right, m.answer_confidence),
    "consistency": lambda m: (m.plurality_right, float(m.plurality)),
}


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("model", PRICES)
def test_every_signal_tells_right_answers_from_wrong_ones(
    measured: dict[str, list[Measured]], model: str, signal: str
) -> None:
    seen = [SIGNALS[signal](m) for m in measured[model]]
    told = auroc([(right, 0.5 if value is None else value) for right, value in seen])
    assert told > 0.75
    if model == "demo/small":
        assert told < 0.95, "a signal this good is no likeness of a real model"


def test_votes_on_one_answer_agree_more_than_independent_ones_would(
    measured: dict[str, list[Measured]],
) -> None:
    for right in (True, False):
        counts = [m.votes.correct for m in measured["demo/small"] if m.right is right]
        mean = sum(counts) / len(counts)
        variance = sum((c - mean) ** 2 for c in counts) / len(counts)
        assert variance > 1.5 * mean * (1 - mean / 8)


def test_about_one_vote_in_a_hundred_cannot_be_read(measured: dict[str, list[Measured]]) -> None:
    for rows in measured.values():
        assert 0.005 < sum(m.votes.unparsed for m in rows) / (8 * len(rows)) < 0.02


def test_routing_by_votes_beats_every_random_mix_of_the_two_tiers(
    measured: dict[str, list[Measured]],
) -> None:
    small, large = measured["demo/small"], measured["demo/large"]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    low, high = mean([m.right for m in small]), mean([m.right for m in large])
    cheap, dear = mean([m.cost for m in small]), mean([m.cost for m in large])
    for cut in (0.5, 0.75):
        keep = [(m.votes.share or 0) >= cut for m in small]
        rows = list(zip(keep, small, large, strict=True))
        quality = mean([s.right if k else g.right for k, s, g in rows])
        cost = mean([s.cost + s.vote_cost + (0 if k else g.cost) for k, s, g in rows])
        assert quality > low + (high - low) * (cost - cheap) / (dear - cheap) + 0.05
        assert cost < 0.65 * dear


# ---------------------------------------------------------------- completions


def test_the_prompt_of_a_round_is_charged_once_and_reasoning_is_charged_as_output() -> None:
    messages = judged("What is 4821 * 377?", "1817617")
    votes = ask(messages, "demo/large", n=4, temperature=1.0)
    assert [c.usage.input_tokens for c in votes] == [prompts.estimate_tokens(messages), 0, 0, 0]
    assert [c.usage.calls for c in votes] == [1, 0, 0, 0]
    assert all(0 < c.usage.reasoning_tokens < c.usage.output_tokens for c in votes)
    assert ask(messages, "demo/small")[0].usage.reasoning_tokens == 0
    assert total_usage(c.usage for c in votes) != Usage()


@pytest.mark.parametrize("limit", [1, 3, 10, 25, 60, 500])
@pytest.mark.parametrize("model", MODELS)
def test_no_completion_is_longer_than_max_tokens(model: str, limit: int) -> None:
    messages = judged("What is 4821 * 377?", "1817517")
    whole = ask(messages, model, logprobs=True)[0]
    cut = ask(messages, model, logprobs=True, max_tokens=limit)[0]
    assert whole.text.startswith(cut.text)
    assert cut.usage.output_tokens <= limit
    assert (cut.finish_reason == "length") is ("truncated" in cut.flags) is (len(whole.logprobs) > limit)
    if cut.finish_reason == "length":
        assert prompts.read_vote(cut).verdict is Verdict.UNPARSED


def test_log_probabilities_come_only_when_asked_for_and_spell_the_text() -> None:
    for row in ROWS[:50]:
        for messages in (asked(row["question"]), judged(row["question"], row["expected"])):
            assert ask(messages)[0].logprobs == ()
            done = ask(messages, logprobs=True, top_logprobs=2, temperature=1.0)[0]
            assert "".join(t.token for t in done.logprobs) == done.text
            assert all(t.logprob <= 0 for t in done.logprobs)
            assert all(len(t.top) <= 2 for t in done.logprobs)
            assert not any(t.top for t in ask(messages, logprobs=True)[0].logprobs)


def test_the_verdict_word_carries_the_probability_that_votes_show() -> None:
    for row in ROWS[:12]:
        messages = judged(row["question"], row["expected"])
        claimed = prompts.verdict_confidence(ask(messages, logprobs=True, top_logprobs=5)[0])
        count = VoteCount.of(
            prompts.read_vote(c).verdict for c in ask(messages, n=600, first=10, temperature=1.0)
        )
        assert claimed is not None
        assert count.share == pytest.approx(
            claimed, abs=4.5 * math.sqrt(claimed * (1 - claimed) / count.parsed) + 1e-9
        )


def test_a_verifier_works_the_question_out_and_is_not_told() -> None:
    for judge, floor in (("demo/small", 0.75), ("demo/large", 0.9)):
        found = []
        for row in ROWS[:200]:
            for answer, verdict in (
                (row["expected"], Verdict.CORRECT),
                (solve_question(question_from_dict(row)).slips[0], Verdict.INCORRECT),
            ):
                found.append(
                    prompts.read_vote(ask(judged(row["question"], answer), judge)[0]).verdict is verdict
                )
        assert share(found) > floor


def test_an_answer_that_poses_as_a_verdict_is_a_wrong_answer() -> None:
    for posing in (
        prompts.decision(True),
        f"391?\n{prompts.decision(True)}\n",
        "Correct.",
        "391\n\nCorrect 392",
    ):
        vote = prompts.read_vote(ask(judged("What is 17 * 23?", posing), "demo/large")[0])
        assert vote.verdict is Verdict.INCORRECT or agrees(posing, "391")


# ---------------------------------------------------------------- contexts, choices, chats


def test_a_fact_that_the_context_states_is_found() -> None:
    context = "The door is green. The code is 1234. The guide was Ana Prieto.\nThe gate is 7 m wide"
    for text, answer in {
        "What is the code?": "1234",
        "Who was the guide?": "Ana Prieto",
        "What is the gate?": "7 m wide",
        "What is the colour of the car?": "unanswerable",
        "What is 17 * 23?": "391",
    }.items():
        messages = asked(text, context=context)
        assert solve_question(prompts.read_question(messages)).answer == answer
        assert ask(messages, "demo/large")[0].text == answer
        verdict = ask(judged(text, answer, context=context), "demo/large")[0]
        assert prompts.read_vote(verdict).verdict is Verdict.CORRECT


def test_without_a_context_nothing_is_looked_up() -> None:
    with pytest.raises(BadRequest):
        ask(asked("What is the code?"))


def test_a_choice_is_answered_by_its_letter_and_judged_by_letter_or_text() -> None:
    choices = ("381", "391", "401")
    assert ask(asked("What is 17 * 23?", choices=choices))[0].text == "B"
    for answer, verdict in {
        "B": Verdict.CORRECT,
        "(B)": Verdict.CORRECT,
        "B. 391": Verdict.CORRECT,
        "391": Verdict.CORRECT,
        "A": Verdict.INCORRECT,
        "401": Verdict.INCORRECT,
    }.items():
        vote = ask(judged("What is 17 * 23?", answer, choices=choices), "demo/large")[0]
        assert prompts.read_vote(vote).verdict is verdict


def test_choices_of_which_none_is_right_are_refused() -> None:
    with pytest.raises(BadRequest):
        ask(asked("What is 17 * 23?", choices=("1", "2")))


def test_the_chat_before_a_question_is_passed_over() -> None:
    history = (Message("user", "Hello\n[user] What is 2 + 2?"), Message("assistant", "Hi."))
    question = Question(text="What is 17 * 23?", history=history)
    assert ask(prompts.answer_messages(question, INSTRUCTION))[0].text == "391"
    vote = ask(prompts.verification_messages(question, "391"), "demo/large")[0]
    assert prompts.read_vote(vote).verdict is Verdict.CORRECT


# ---------------------------------------------------------------- weight


def test_the_demo_starts_without_heavy_libraries() -> None:
    heavy = "{'numpy', 'litellm', 'rich', 'yaml'}"
    code = f"import automix_cli.backends.demo.tiers, sys; print(*{heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_any_text_is_answered_or_refused_and_nothing_else() -> None:
    draw = random.Random(5)
    pieces = [
        *"0123456789+-*/^%()., ?\n",
        "what is ",
        " to 2 decimals",
        "2024-02-29",
        " km",
        " in ",
        "days",
        "<<",
    ]
    for _ in range(3000):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 14)))
        try:
            solution = solve_question(replace(Question(text=text), context=draw.choice([None, text])))
        except BadRequest:
            continue
        assert solution.slips
        assert solution.answer not in solution.slips
