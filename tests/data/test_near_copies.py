"""Near-copies of questions: which are linked, what a template is, and that no order matters."""

from __future__ import annotations

import numpy as np
import pytest
from known import NAMES, table_of
from worlds import MAX_VOTES, draw_world, null_world

from automix_cli.data.groups import FEWEST_GROUPS, Grouping, question_keys, why_no_verdict
from automix_cli.data.near_copies import MOST_COPIES, group_near_copies, join_near_copies
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import Partition, partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.fitting.router_block import Settings

LONG = " ".join(f"word{i}" for i in range(70))


def group(texts: list[str], *, cut_templates: bool = True) -> Grouping:
    return group_near_copies(texts, Grouping.of(question_keys(texts, range(len(texts)))), cut_templates)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("Who wrote the novel Dune?", "who wrote the  novel DUNE?", True),
        ("Who wrote the novel Dune?", "Who wrote the novel Emma?", True),
        ("Who wrote the novel Dune?", "Who really wrote the novel Dune?", True),
        ("Tom has 3 figs and buys 15 more.", "Tom has 27 figs and buys 4 more.", True),
        (f"{LONG} one", f"{LONG} two", True),
        ("Who wrote the novel Dune?", "Who edited the novel Emma?", False),
        ("Who wrote the novel Dune?", "How far is the Moon from here?", False),
        ("Why?", "Who?", False),
        ("", "", False),
    ],
)
def test_questions_a_word_or_a_number_apart_are_one_group(one: str, other: str, together: bool) -> None:
    assert (len(group([one, other])) == 1) is together


def test_groups_that_there_are_stay_together_and_are_joined_through_any_of_their_rows() -> None:
    texts = ["alpha beta gamma delta one", "other words that nobody else has", "alpha beta gamma delta two"]
    by_column = Grouping.of(np.array([3, 3, 8], dtype=np.uint64))
    assert group_near_copies(texts, by_column).groups.tolist() == [0, 0, 0]


def template(count: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [f"What is {a} * {b}?" for a, b in rng.integers(2, 10_000, (count, 2))]


@pytest.mark.parametrize("count", [120, 1000])
def test_a_template_is_cut_into_blocks_that_can_be_judged(count: int) -> None:
    blocks = group(template(count))
    assert why_no_verdict(blocks) == ""
    assert FEWEST_GROUPS < len(blocks) < count
    assert blocks.sizes.max() <= MOST_COPIES


def test_in_rows_that_are_divided_already_questions_of_a_template_are_different_ones() -> None:
    assert len(group(template(100), cut_templates=False)) == 100


def test_in_a_template_questions_that_share_a_rare_number_come_first() -> None:
    texts = [*template(100), "What is 77777 * 5?", "What is 77777 * 6?", "What is 77777 * 7?"]
    assert len(set(group(texts).groups[-2:].tolist())) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    texts = [*template(60), *(f"{LONG} {i // 3}" for i in range(9)), "Who wrote Dune, the novel?", ""]
    order = np.random.default_rng(seed).permutation(len(texts))
    keys = question_keys(texts, range(len(texts)))
    whole = group_near_copies(texts, Grouping.of(keys))
    other = group_near_copies([texts[i] for i in order], Grouping.of(keys[order]))
    assert other.keys.tolist() == whole.keys.tolist()
    assert other.groups.tolist() == whole.groups[order].tolist()


# ---------------------------------------------------------------- what they do to a verdict

OBJECTIVE = Objective("keep", 0.95)


def verdict(table: TraceTable, partitions: list[Partition]) -> tuple[RoutingVerdict | None, str]:
    entries = pick_policies("knn", all_policies(table.tiers))
    found = bench(table, entries, Settings(max_votes=MAX_VOTES), OBJECTIVE, partitions=partitions)
    return found.outcome("knn").verdict, found.no_verdict


def near_copies(seed: int = 8) -> TraceTable:
    return table_of(draw_world(null_world(2), 100, seed, copies=4, is_near=True), tiers=NAMES[:2])


def test_a_router_that_knows_near_copies_only_is_not_told_to_route() -> None:
    table = near_copies()
    as_they_are, _ = verdict(table, partitions_of(table, None))
    assert as_they_are is not None
    assert as_they_are.kind == "route"
    joined = join_near_copies(table)
    assert joined.n_groups == 100
    together, _ = verdict(joined, partitions_of(joined, None))
    assert together is not None
    assert together.kind != "route"


def test_of_a_split_with_near_copies_on_both_sides_a_router_that_reads_questions_has_no_verdict() -> None:
    table = join_near_copies(near_copies(), cut_templates=False)
    halves = Partition(np.arange(0, 200), np.arange(200, 400), 0)
    found, why = verdict(table, [halves])
    assert found is None
    assert why == "100% of the questions held out stand in training, or near-copies of them do"
