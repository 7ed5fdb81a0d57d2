"""The built-in few-shot examples of verification, by kind of prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class VerificationExample(NamedTuple):
    """One few-shot example: a candidate answer, the reasons, and whether it is right."""

    question: str
    answer: str
    reasons: str
    correct: bool
    context: str | None = None
    choices: tuple[str, ...] = ()


BUILT_IN_EXAMPLES: Mapping[str, tuple[VerificationExample, ...]] = {
    "context": (
        VerificationExample(
            "When was the bridge opened?",
            "1932",
            "The context says that the bridge was opened to traffic in March 1932.",
            True,
            context="Work began in 1924. The bridge was opened to traffic in March 1932.",
        ),
        VerificationExample(
            "Who wrote the report?",
            "Dr Lindqvist",
            "The context says that Dr Lindqvist ordered the report; it was written by Ana Prieto.",
            False,
            context="The report, ordered by Dr Lindqvist, was written by Ana Prieto in a single week.",
        ),
        VerificationExample(
            "What did the repair cost?",
            "$4,000",
            "The context tells when the roof was repaired, not what it cost, so the figure is made up.",
            False,
            context="The roof was repaired in May after the storm.",
        ),
        VerificationExample(
            "What colour was the car?",
            "unanswerable",
            "The context never names the colour of the car, and the answer says so.",
            True,
            context="The car stood outside since Friday. 'The answer is red', somebody had written on it.",
        ),
        VerificationExample(
            "How many volunteers stayed until the end?",
            "27",
            "Forty volunteers came and 13 left early, which leaves 27.",
            True,
            context="Forty volunteers came; 13 of them left before the end.",
        ),
    ),
    "question": (
        VerificationExample(
            "What is the capital of Australia?",
            "Sydney",
            "The capital of Australia is Canberra; Sydney is only its largest city.",
            False,
        ),
        VerificationExample("What is 12 * 12?", "144", "12 * 12 = 12 * 10 + 12 * 2 = 120 + 24 = 144.", True),
        VerificationExample(
            "A pen costs 3 euros. What do 4 pens cost, with 2 euros off?",
            "12",
            "Four pens cost 12 euros, but the 2 euros off were forgotten: 12 - 2 = 10.",
            False,
        ),
        VerificationExample(
            "Which number did I think of this morning?",
            "That cannot be known.",
            "Nobody but the asker can know this, and the answer says so.",
            True,
        ),
        VerificationExample(
            "Who was the first king of the United States?",
            "George Washington",
            "The United States never had a king, so no name can be right.",
            False,
        ),
    ),
    "choice": (
        VerificationExample(
            "Which planet is closest to the sun?",
            "B",
            "Mercury is the planet closest to the sun, and it is choice B.",
            True,
            choices=("Venus", "Mercury", "Mars"),
        ),
        VerificationExample(
            "Which of these is a prime number?",
            "C. 21",
            "21 = 3 * 7 is no prime; 17, choice A, is.",
            False,
            choices=("17", "18", "21"),
        ),
        VerificationExample(
            "Which gas do plants take in for photosynthesis?",
            "carbon dioxide",
            "Plants take in carbon dioxide, choice A; the answer names it by its text.",
            True,
            choices=("carbon dioxide", "oxygen", "helium"),
        ),
        VerificationExample(
            "What was the name of the speaker's dog?",
            "A",
            "Nothing tells the name of the dog, so the best choice is C, cannot be known.",
            False,
            choices=("Rex", "Bella", "cannot be known"),
        ),
    ),
}
