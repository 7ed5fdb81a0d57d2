"""What it cost to ask every tier and to buy every vote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from trace_rows import numbered, trace_row

from automix_cli.data.collection_cost import collection_cost
from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import Embeddings, TraceTable


def table_of(*tiers: dict[str, Any]) -> TraceTable:
    rows = [
        trace_row(i, small={"score": 1, **each}, large={"score": 1, "cost": 20})
        for i, each in enumerate(tiers)
    ]
    return read_table(numbered(rows), tiers=("small", "large"))


VOTES = [1, 0, None]


@pytest.mark.parametrize(
    ("tiers", "dollars"),
    [
        ([{"cost": 1}, {"cost": 2}], 43),
        ([{"cost": 1, "votes": VOTES, "vote_cost": 0.5}], 22.5),
        ([{"cost": 1, "votes": VOTES, "vote_cost": 0.5, "round_cost": 4}], 26.5),
        ([{"cost": 1}, {}], 42),
        ([{"cost": 1, "votes": VOTES, "vote_cost": 0.5}, {"cost": 1, "votes": VOTES}], 45),
        ([{"cost": 1, "votes": VOTES}], None),
        ([{}], None),
    ],
    ids=[
        *("answers", "votes, unparsed ones too", "rounds", "a row without a cost is an average one"),
        *("so is a vote", "votes of unknown cost", "answers of unknown cost"),
    ],
)
def test_answers_and_votes_add_up(tiers: list[dict[str, Any]], dollars: float | None) -> None:
    assert collection_cost(table_of(*tiers)) == (None if dollars is None else pytest.approx(dollars))


def test_a_confidence_that_was_bought_costs_one_vote() -> None:
    rows = [{"cost": 1, "confidence": 0.5, "vote_cost": 0.25}, {"cost": 1, "vote_cost": 0.25}]
    assert collection_cost(table_of(*rows)) == pytest.approx(42)
    assert collection_cost(table_of(*rows).with_signal("verdict")) == pytest.approx(42.25)


def test_rows_set_aside_were_paid_for_too() -> None:
    rows = [trace_row(0, small={"score": 1, "cost": 1}, large={"score": 1, "cost": 20})]
    rows += [trace_row(1, small={"score": 1, "cost": 3, "votes": VOTES, "vote_cost": 0.5})]
    whole = read_table(numbered(rows), tiers=("small", "large"))
    rest = whole.require_scores(drop=True)
    assert len(rest) == 1
    assert rest.set_aside_usd == pytest.approx(4.5), "the large tier was not asked there"
    assert collection_cost(rest) == collection_cost(whole) == pytest.approx(25.5)


def test_rows_with_fewer_votes_that_are_set_aside_were_paid_for_too() -> None:
    bags = [VOTES[:1], *[VOTES] * 199]
    whole = table_of(*({"cost": 1, "votes": bag, "vote_cost": 0.5} for bag in bags))
    rest, count = whole.without_short_rows(3)
    assert (count, len(rest), rest.set_aside_usd) == (1, 199, pytest.approx(21.5))
    assert collection_cost(rest) == pytest.approx(collection_cost(whole))


def test_embeddings_are_part_of_it() -> None:
    table = table_of({"cost": 1}, {"cost": 1})
    embeddings = Embeddings("m", np.zeros((2, 3)), np.array([0.5, 0.25]), np.zeros(2))
    assert collection_cost(replace(table, embeddings=embeddings)) == pytest.approx(42.75)
