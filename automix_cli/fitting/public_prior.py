"""What public sets teach about two tiers and votes: the prior of routing without calibration.

The numbers are figures, no data. `python tests/benchmarks/public_prior.py --numbers` makes them again
from recorded answers of real models, each set fitted as `calibrate` fits rows:

    cruxeval_output    CRUXEval output, 800 questions: codellama-7b → gpt-4o-mini with ten samples, and
                       the majority of five small models → gpt-4o (CRUXEval and ZeroEval)
    zeroeval_gsm8k     GSM8K, 1,319 questions: the majority of five small models → claude-3.5-sonnet
    zeroeval_math_l5   MATH level 5, 721 questions: the majority of five small models → o1-mini
    automix_repl_selfverify
                       ContractNLI, CoQA, NarrativeQA and Qasper, 1,000 questions each: Llama-3.1-8B with
                       three verdicts on its own answers → GPT-5 (a repetition of AutoMix)

Only the last one records verdicts. In the others the votes are samples, or other small models, that
agree with the answer: they stand in for verdicts, of which few are published.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from automix_cli.pomdp.pair_plan import Prior, SetKind, VoteEvidence, mixture

AIM = 0.98
"""The share of the last tier's quality that is to be kept on every set."""

MOST_COST = 1.02
"""The most that any set may cost, as a share of the last tier's price for every question."""

GIVE_UPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
"""The amounts that are compared: score given up for the price of an answer of the last tier."""

GIVE_UP = 0.05
"""The largest of them that keeps aim and cost on every set, with the prior of the other families."""

KINDS = (
    SetKind(
        "cruxeval_output",
        (0.215, 0.026, 0.439, 0.32),
        ((1.78, 0.71), (2.43, 0.68), (1.19, 0.15), (2.11, 0.12)),
    ),
    SetKind("cruxeval_output", (0.12, 0.01, 0.383, 0.487), ((17.78, 27.89), (5.96, 1.76))),
    SetKind(
        "zeroeval_gsm8k", (0.021, 0.012, 0.066, 0.9), ((4.76, 4.03), (12.4, 14.6), (3.75, 0.9), (6.59, 0.83))
    ),
    SetKind("zeroeval_math_l5", (0.097, 0.01, 0.582, 0.311), ((49.29, 106.35), (28.05, 21.96))),
    SetKind("automix_repl_selfverify", (0.126, 0.111, 0.295, 0.468), ((0.03, 0.09), (0.03, 0.06))),
    SetKind(
        *("automix_repl_selfverify", (0.333, 0.051, 0.206, 0.41), ((0.06, 0.05), (0.12, 0.03))),
        *((0.151, 0.827), (0.127, 0.885)),
    ),
    SetKind(
        *("automix_repl_selfverify", (0.66, 0.022, 0.203, 0.115), ((0.07, 0.08), (0.08, 0.05))),
        *((0.114, 0.769), (0.139, 0.758)),
    ),
    SetKind(
        *("automix_repl_selfverify", (0.578, 0.083, 0.187, 0.152), ((0.06, 0.02), (0.09, 0.02))),
        *((0.149, 0.801), (0.139, 0.865)),
    ),
)


class Extent(NamedTuple):
    """The least and the most."""

    least: float
    most: float


class PublicResult(NamedTuple):
    """Quality and cost of a rule on the public sets, as shares of the last tier's.

    Attributes:
        quality: on the worst and on the best set, each at its worst price.
        cost: over all sets and prices.
    """

    quality: Extent
    cost: Extent


RESULTS = {
    0.05: PublicResult(Extent(1.0, 1.0), Extent(1.0, 1.0)),
    0.1: PublicResult(Extent(0.723, 1.0), Extent(0.39, 1.0)),
    0.2: PublicResult(Extent(0.644, 1.0), Extent(0.29, 1.03)),
    0.3: PublicResult(Extent(0.359, 0.998), Extent(0.02, 1.0)),
}
"""By `give_up`, each set played with the prior of the other families, at twenty prices from 1:2 to 1:1000."""

HALF_RULE = PublicResult(Extent(0.511, 0.987), Extent(0.1, 5.54))
"""The rule of half on the same sets at the same prices."""


def public_prior(kinds: Sequence[SetKind] = KINDS) -> Prior:
    """Mix the kinds with a broad part that weighs as much as one family.

    The broad part is the family that nobody recorded: its votes may show nothing.
    """
    return mixture(kinds, 1 / (1 + len({kind.family for kind in kinds})))


@cache
def public_evidence() -> VoteEvidence:
    """What votes make of the prior of all public sets."""
    return VoteEvidence(public_prior())


def result_of(give_up: float) -> PublicResult | None:
    """The result of the smallest tabulated amount that is no smaller; None beyond the table.

    Example:
        >>> result_of(0.08) == RESULTS[0.1], result_of(0.5)
        (True, None)
    """
    return next((result for amount, result in RESULTS.items() if amount >= give_up), None)
