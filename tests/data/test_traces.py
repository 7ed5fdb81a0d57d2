"""Tables of recorded runs: their parts, costs, scores, votes and signals."""

import math
import random
from typing import Any

import numpy as np
import pytest
from trace_rows import numbered, trace_row

from automix_cli.data import traces
from automix_cli.data.read_traces import read_table
from automix_cli.errors import DataError, UsageError


def test_a_tier_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="different names, got a, a"):
        read_table(numbered([trace_row(0, a={})]), tiers=("a", "a"))


def test_costs_given_replace_those_recorded_and_a_vote_cost_is_all_a_vote_costs() -> None:
    rows = [trace_row(0, a={"cost": 5, "vote_cost": 1, "round_cost": 3}, b={"cost": 7})]
    table = read_table(numbered(rows), costs={"a": 2.0}, vote_costs={"a": 0.5})
    assert table.cost.tolist() == [[2, 7]]
    assert table.vote_cost[0, 0] == 0.5
    assert table.round_cost[0, 0] == 0.0


def test_tiers_without_any_cost_are_named() -> None:
    table = read_table(numbered([trace_row(0, a={"cost": 5}, b={}, c={})]))
    with pytest.raises(DataError, match="no cost is recorded for b, c") as caught:
        table.require_costs()
    assert caught.value.hint == "--costs b=1,c=1"
    table.with_costs({"b": 1.0, "c": 2.0}).require_costs()


def test_rows_that_do_not_score_every_tier_are_counted_and_dropped_only_when_told() -> None:
    rows = [
        trace_row(0, a={"score": 1}, b={"score": 1}),
        trace_row(1, a={"score": 1}),
        trace_row(2, a={}, b={"score": 0}),
    ]
    table = read_table(numbered(rows))
    with pytest.raises(DataError, match="2 of 3 rows do not score every tier; without a score: a 1, b 1"):
        table.require_scores()
    assert table.require_scores(drop=True).ids.tolist() == ["q0"]
    with pytest.raises(DataError, match="2 of 2 rows do not score every tier"):
        table.subset(np.array([1, 2])).require_scores(drop=True)
    complete = table.subset(np.array([0]))
    assert complete.require_scores() is complete


def test_max_votes_is_the_fewest_on_any_row_of_the_tier() -> None:
    rows = [trace_row(i, a={"votes": [1] * (3 + i)}, b={"votes": [None] * 2}) for i in range(3)]
    table = read_table(numbered(rows))
    assert table.max_votes == (3, 2)
    assert table.subset(np.array([1, 2])).max_votes == (4, 2)
    assert table.subset(np.array([], dtype=int)).max_votes == (0, 0)


def test_the_signal_is_what_every_row_has_and_a_share_of_votes_never_stands_beside_them() -> None:
    both = {"votes": [1, 0], "confidence": 0.5}
    rows = [
        trace_row(i, a=both, b={"confidence": 0.5}, c={"samples": ["x", "y"], "confidence": 1}, d={})
        for i in range(2)
    ]
    assert read_table(numbered(rows)).signals == ("votes", "logprob", "consistency", "logprob")
    rows[1]["tiers"]["a"] = {"confidence": 0.5}
    rows[1]["tiers"]["c"] = {"samples": ["x"], "confidence": 1}
    table = read_table(numbered(rows))
    assert table.signals == ("logprob",) * 4
    assert table.with_signal("votes").signals == ("votes",) * 4
    assert read_table(numbered(rows), signal="verdict").signals == ("verdict",) * 4


def test_prompt_tokens_are_those_of_the_first_tier_that_counted_them() -> None:
    rows = [
        trace_row(0, a={"cost": 1, "input_tokens": 5}, b={"cost": 2, "input_tokens": 9}),
        trace_row(1, a={}, b={"input_tokens": 9}),
        trace_row(2, a={}, b={}),
    ]
    np.testing.assert_array_equal(read_table(numbered(rows)).prompt_tokens, [5, 9, math.nan])


def test_a_part_of_a_table_leaves_the_whole_as_it_was() -> None:
    rows = [
        trace_row(
            i,
            a={"score": i % 2, "votes": [1, 0, 0], "cost": 1, "vote_cost": 3, "round_cost": 2},
            b={"score": 1, "cost": 2},
        )
        for i in range(9)
    ]
    table = read_table(numbered(rows))
    before = {name: getattr(table, name).copy() for name in traces._PER_ROW}
    part = table.subset(np.array([4, 2])).pick(("b", "a")).with_costs({"a": 9.0}, {"a": 0.5})
    assert table.with_costs({"a": 9.0}, {"a": 0.5}).vote_cost[0, 0] == 0.5
    assert part.ids.tolist() == ["q4", "q2"]
    assert part.cost.tolist() == [[2, 9], [2, 9]]
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(table, name), value)


# ------------------------------------------------------------------ recorded votes


def voted(counts: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    return [
        trace_row(i, a={"votes": [1] * c + [0] * w + [None] * u}, b={"votes": [0]})
        for i, (c, w, u) in enumerate(counts)
    ]


def test_rows_with_the_same_votes_share_a_kind_whatever_their_order() -> None:
    counts = [(2, 1, 0), (0, 0, 3), (2, 1, 0), (1, 2, 0), (0, 0, 0)]
    own, other = read_table(numbered(voted(counts))).recorded_votes
    assert own.kinds[own.code].tolist() == [list(c) for c in counts]
    assert len(own.kinds) == 4
    assert own.counts.tolist() == [3, 3, 3, 3, 0]
    assert other.kinds.tolist() == [[0, 1, 0]]
    rng = random.Random(0)
    rows = voted(counts)
    for row in rows:
        rng.shuffle(row["tiers"]["a"]["votes"])
    shuffled = read_table(numbered(rows[::-1])).recorded_votes[0]
    assert shuffled.kinds[shuffled.code].tolist() == [list(c) for c in counts[::-1]]


def test_votes_of_hundreds_are_not_mixed_up() -> None:
    counts = [
        (0, 1, 0),
        (1, 0, 0),
        (0, 0, 256),
        (0, 256, 0),
        (300, 0, 0),
        (0, 300, 0),
        (1, 255, 256),
        (256, 1, 255),
    ]
    own = read_table(numbered(voted(counts))).recorded_votes[0]
    assert own.kinds[own.code].tolist() == [list(c) for c in counts]


def test_parts_of_a_table_keep_the_votes_of_their_rows_and_tiers() -> None:
    rng = random.Random(1)
    table = read_table(
        numbered(voted([(rng.randrange(3), rng.randrange(3), rng.randrange(2)) for _ in range(40)]))
    )
    rows = np.array([3, 3, 17, 0, 39])
    for part in (table.subset(rows), table.pick(("b", "a")).subset(rows)):
        for j, own in enumerate(part.recorded_votes):
            assert own.kinds[own.code].tolist() == part.votes[:, j].tolist()


def test_a_part_of_a_limited_table_is_planned_for_no_more_votes_than_the_whole_holds() -> None:
    rows = [trace_row(i, a={"votes": [1] * (3 + i)}, b={"votes": [1] * (9 - i)}) for i in range(4)]
    table = read_table(numbered(rows), tiers=("a", "b")).with_vote_limit()
    assert table.max_votes == (3, 6)
    assert table.subset(np.array([2, 3])).max_votes == (3, 6)
    assert table.subset(np.array([2])).pick(("b", "a")).max_votes == (6, 3)
    rows[3]["tiers"]["a"] = {"failed": "filtered"}
    assert read_table(numbered(rows), tiers=("a", "b")).max_votes == (3, 6), "no votes on no answer"
