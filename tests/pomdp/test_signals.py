"""Signals: the one list, and that everything which depends on it knows every entry."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from automix_cli.errors import DataError
from automix_cli.pomdp.observations import observations_from_dict
from automix_cli.pomdp.signals import LOGPROB_OF, SIGNAL_FACTS, SIGNALS, RecordedSignal, recorded_signal


def test_every_signal_of_a_profile_is_recorded_in_a_form_with_facts_and_no_form_is_left_over() -> None:
    forms = {recorded_signal(signal, of) for signal, of in product(SIGNALS, LOGPROB_OF)}
    assert forms == set(SIGNAL_FACTS) == set(get_args(RecordedSignal))


@pytest.mark.parametrize("signal", SIGNALS)
def test_observations_of_every_signal_can_be_read(signal: str) -> None:
    with pytest.raises(DataError, match=f"observations of signal {signal}: the key [a-z]+ is missing"):
        observations_from_dict({"signal": signal})


@pytest.mark.parametrize("signal", ["verdict", "agreement", None, []])
def test_observations_of_any_other_signal_are_refused(signal: object) -> None:
    with pytest.raises(DataError, match="unknown signal"):
        observations_from_dict({"signal": signal})


@pytest.mark.parametrize(
    ("signal", "most", "with_answer"),
    [("votes", 8, False), ("verdict", 1, False), ("logprob", 0, True), ("consistency", 0, True)],
)
def test_how_many_votes_a_signal_may_buy(signal: RecordedSignal, most: int, with_answer: bool) -> None:
    facts = SIGNAL_FACTS[signal]
    assert (facts.max_votes(8), facts.with_answer) == (most, with_answer)
