"""Which signals rows hold, and what a policy sees that looks at one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known import table_of

from automix_cli.data.recorded_signals import signals_in, unread_notes, with_recorded
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError


def table(small: dict[str, Any], large: dict[str, Any] | None = None, signal: str = "auto") -> TraceTable:
    rows = [
        {
            "id": i,
            "tiers": {
                "small": {"score": i % 2, "cost": 1, **small},
                "large": {"score": 1, "cost": 9, **(large or {})},
            },
        }
        for i in range(4)
    ]
    return table_of(rows, confidences=signal)


HELD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "nothing": ({}, ("none",)),
    "a confidence": ({"confidence": 0.5}, ("none", "confidence")),
    "two more": (
        {"confidence": 0.5, "conf_b": 0.1, "myConf": 1},
        ("none", "confidence", "conf_b", "myConf"),
    ),
    "votes with their share": ({"votes": [1, 0], "confidence": 0.5, "vote_cost": 1}, ("none", "votes")),
    "votes and another": ({"votes": [1, 0], "conf_b": 0.5}, ("none", "conf_b", "votes")),
    "a verdict": ({"confidence": 0.5, "vote_cost": 1}, ("none", "verdict")),
    "a verdict beside its vote": ({"votes": [0], "confidence": 0.2, "vote_cost": 1}, ("none", "verdict")),
    "one vote and its share": ({"votes": [0], "confidence": 0, "vote_cost": 1}, ("none", "votes")),
    "samples": ({"samples": ["a", "b"], "confidence": 0.5}, ("none", "consistency")),
    "a score of another judge": ({"f1": 0.5, "judge": 1.0}, ("none",)),
    "no number": ({"confident": True, "conf": "high", "conf_b": None, "conf_c": 7}, ("none",)),
}


@pytest.mark.parametrize(("small", "names"), HELD.values(), ids=HELD)
def test_signals_come_the_cheapest_first(small: dict[str, Any], names: tuple[str, ...]) -> None:
    assert signals_in(table(small)) == names


def test_the_last_tier_alone_shows_nothing_that_a_plan_looks_at() -> None:
    assert signals_in(table({}, {"votes": [1, 0]})) == ("none",)


def test_tiers_that_record_different_signals_may_each_keep_their_own() -> None:
    rows = [
        {
            "id": i,
            "tiers": {
                "a": {"score": 1, "cost": 1, "votes": [1]},
                "b": {"score": 1, "cost": 2, "confidence": 0.5},
                "c": {"score": 1, "cost": 3},
            },
        }
        for i in range(3)
    ]
    own = table_of(rows)
    assert signals_in(own) == ("none", "confidence", "votes", "own")
    assert with_recorded(own, "own").signals[:2] == ("votes", "logprob")


def test_a_key_that_is_named_is_read_whatever_it_is_called() -> None:
    own = table({"entropy": 0.25, "conf_b": 0.5}, signal="entropy")
    assert with_recorded(own, "entropy").confidence[:, 0].tolist() == [0.25] * 4
    with pytest.raises(UsageError, match="the rows hold no 'entropi'; did you mean entropy") as caught:
        with_recorded(own, "entropi")
    assert caught.value.hint == "they hold none, conf_b, entropy; auto compares them"


def test_a_policy_sees_one_signal_and_parts_keep_all() -> None:
    own = table({"votes": [1, 0], "conf_b": 0.5}).subset(np.arange(3)).pick(["small", "large"])
    assert with_recorded(own, "votes").signals == ("votes", "votes")
    seen = with_recorded(own, "conf_b")
    assert seen.signals == ("logprob", "logprob")
    assert seen.confidence[:, 0].tolist() == [0.5] * 3
    assert not seen.votes.any()
    nothing = with_recorded(own, "none")
    assert np.isnan(nothing.confidence).all()
    assert nothing.max_votes == (0, 0)
    assert [with_recorded(own, name).signal_name for name in signals_in(own)] == ["none", "conf_b", "votes"]


def test_a_key_that_comes_late_or_in_some_rows_only_is_nan_elsewhere() -> None:
    rows: list[dict[str, Any]] = [
        {"id": i, "tiers": {"s": {"score": 1, "cost": 1}, "l": {"score": 1, "cost": 2}}} for i in range(300)
    ]
    rows[290]["tiers"]["s"]["conf_b"] = 0.5
    column = table_of(rows, confidences="auto").confidences["conf_b"]
    assert np.argwhere(~np.isnan(column)).tolist() == [[290, 0]]


UNREAD = {
    "text": ("high", '"high"'),
    "a truth value": (True, "true"),
    "out of range": (7, "7"),
    "a list": ([0.5], "a list"),
}


@pytest.mark.parametrize(("value", "got"), UNREAD.values(), ids=UNREAD)
def test_a_confidence_that_is_named_and_is_none_is_refused_and_others_are_counted(
    value: Any, got: str
) -> None:
    with pytest.raises(DataError) as caught:
        table({"conf_b": value}, signal="conf_b")
    assert caught.value.message == f"line 1: tiers.small.conf_b: expected a number in 0..1, got {got}"
    counted = table({"conf_b": value}, {"conf_b": 0.5, "conf_c": None})
    assert unread_notes(counted.unread_confidences) == [
        "tiers.small.conf_b: 4 values are no numbers in 0..1 and are left out (first in line 1: " + got + ")"
    ]
    assert table({"conf_b": value, "mine": 0.5}, signal="mine").confidences.keys() == {"mine"}
