"""Which rows are learned from and which are held out."""

from __future__ import annotations

import pytest
from comparisons import asking, compared, own_split, view_of
from known import draw_rows, table_of, two_tiers

from automix_cli.errors import UsageError
from automix_cli.evaluation.partition import duplicates_of, partitions_of


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_random_splits_keep_all_rows_of_a_question_on_one_side(copies: int, share: float) -> None:
    once = asking(50)
    rows = [row | {"id": f"{row['id']}-{k}"} for k in range(copies) for row in once]
    cut, table = partitions_of(table_of(rows), share, seed=2)[0], table_of(rows)
    alone = partitions_of(table_of(once), share, seed=2)[0]
    assert set(table.texts[cut.train]) == set(table_of(once).texts[alone.train])
    assert not set(table.groups[cut.train]) & set(table.groups[cut.test])
    assert len(cut.train) == copies * min(round(50 * share), 49)
    assert len(cut.train) + len(cut.test) == len(rows)


def test_a_large_question_is_learned_from_only_where_that_comes_nearer_to_the_share() -> None:
    rows = asking(30)
    for row in rows[:21]:
        row["question"] = "one question"
    sizes = {len(partitions_of(table_of(rows), 0.5, seed=seed)[0].train) for seed in range(20)}
    assert sizes <= {*range(5, 10), *range(21, 26)}


def test_random_splits_depend_on_questions_and_seeds_and_not_on_the_order_of_the_file() -> None:
    rows = draw_rows(two_tiers(), 101, 0)
    forth, back = table_of(rows), table_of(rows[::-1])
    cut, other = partitions_of(forth, 0.2, seed=3)[0], partitions_of(back, 0.2, seed=3)[0]
    assert set(forth.ids[cut.train]) == set(back.ids[other.train])
    assert len(cut.train) == 20
    assert sorted([*cut.train, *cut.test]) == list(range(101))
    assert set(partitions_of(forth, 0.2, seed=4)[0].train) != set(cut.train)


def test_rows_that_bring_their_own_split_keep_it_unless_asked_otherwise() -> None:
    rows = own_split(draw_rows(two_tiers(), 30, 0), 10)
    rows[0]["split"] = "validation"
    table = table_of(rows)
    cut = partitions_of(table, None)[0]
    assert (list(cut.train), list(cut.test)) == (list(range(1, 10)), list(range(10, 30)))
    assert len(partitions_of(table, 0.5)[0].train) == 15
    notes = view_of(compared(table, "oracle", partitions=[cut]), table).remarks()
    assert "note: 1 row of neither split (train, test) left out" in notes
    for row in rows:
        row["split"] = "test"
    assert len(partitions_of(table_of(rows), None)[0].train) == 15
    with pytest.raises(UsageError, match="bring their own"):
        partitions_of(table, None, repeat=3)
    assert [c.seed for c in partitions_of(table, 0.5, repeat=3, seed=7)] == [7, 8, 9]


def test_questions_on_both_sides_of_the_split_are_reported() -> None:
    rows = own_split(asking(60), 30)
    rows[40]["question"] = rows[3]["question"].upper()
    table = table_of(rows)
    twins = duplicates_of(table, partitions_of(table, None)[0])
    assert [(t.test, t.train) for t in twins.exact] == [(10, 3)]
    assert duplicates_of(table, partitions_of(table, None)[0], near_rows=0).exact == twins.exact
    result = compared(table, "oracle", partitions=partitions_of(table, None))
    assert any("1 held-out question" in note for note in view_of(result, table).remarks())
