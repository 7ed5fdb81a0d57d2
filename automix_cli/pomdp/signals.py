"""The signals there are: what shows whether a tier's answer is right.

This is the one list of them. A profile names a `Signal`. Rows record a `RecordedSignal`,
because a log-probability is either that of the answer's own tokens, which comes with the
answer, or that of a verdict, which is bought as one vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

Signal: TypeAlias = Literal["votes", "logprob", "consistency"]
LogprobOf: TypeAlias = Literal["verdict", "answer"]
RecordedSignal: TypeAlias = Literal["votes", "logprob", "verdict", "consistency"]

SIGNALS: tuple[Signal, ...] = get_args(Signal)
LOGPROB_OF: tuple[LogprobOf, ...] = get_args(LogprobOf)


class SignalFacts(NamedTuple):
    """What the rest of the package asks about a recorded signal.

    Attributes:
        evidence: what rows record of it, in words.
        purchase: votes on an answer are bought in `rounds`, `once`, or `never`: it then comes
            with the answer.
        continuous: it is one number, a confidence, instead of counts.
        of_samples: the answer is the plurality of several samples.
    """

    evidence: str
    purchase: Literal["rounds", "once", "never"]
    continuous: bool = False
    of_samples: bool = False

    @property
    def with_answer(self) -> bool:
        """Whether it comes with the answer, so that no vote is ever bought."""
        return self.purchase == "never"

    def max_votes(self, limit: int) -> int:
        """The most votes that one answer can get where a profile allows `limit`."""
        return {"rounds": limit, "once": 1, "never": 0}[self.purchase]

    def readings(self, limit: int) -> int:
        """How often a rule of thumb may look at one answer: up to `limit` votes or samples, else once."""
        return limit if self.purchase == "rounds" or self.of_samples else 1


SIGNAL_FACTS: Mapping[RecordedSignal, SignalFacts] = {
    "votes": SignalFacts("votes", "rounds"),
    "logprob": SignalFacts("confidence", "never", continuous=True),
    "verdict": SignalFacts("confidence", "once", continuous=True),
    "consistency": SignalFacts("samples", "never", of_samples=True),
}


def signal_facts(signal: Signal, logprob_of: LogprobOf) -> SignalFacts:
    """Return the facts of a profile's signal."""
    return SIGNAL_FACTS[recorded_signal(signal, logprob_of)]


def recorded_signal(signal: Signal, logprob_of: LogprobOf) -> RecordedSignal:
    """Return the form in which rows record a profile's signal.

    Example:
        >>> recorded_signal("logprob", "verdict"), recorded_signal("logprob", "answer")
        ('verdict', 'logprob')
    """
    return "verdict" if signal == "logprob" and logprob_of == "verdict" else signal
