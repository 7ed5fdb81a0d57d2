"""MAJ@k from recorded samples: what k answers of one tier score together, and what they cost."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from automix_cli.data.read_traces import read_table
from automix_cli.data.samples import Samples, judge
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.baseline_policies import Majority
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.cuts import cuts_of
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.policies import all_policies, majorities, pick_policies
from automix_cli.evaluation.policy_entry import why_unable
from automix_cli.evaluation.split import Split
from automix_cli.fitting.router_block import Settings
from automix_cli.scoring import SCORERS, plurality, score

SETTINGS = Settings(max_votes=6)


def row(ident: object, samples: list[Any] | None, expected: Any = "7", **small: Any) -> dict[str, Any]:
    """A question on which `small` said `samples`."""
    cell = {"score": 0, "cost": 1, **({} if samples is None else {"samples": samples}), **small}
    tiers = {"small": cell, "large": {"score": 1, "cost": 20}}
    return {"id": ident, "question": f"q {ident}", "expected": expected, "tiers": tiers}


def read(rows: Iterable[dict[str, Any]], seed: int = 0, scorer: str | None = "numeric") -> TraceTable:
    return read_table(enumerate(rows, 1), seed=seed, scorer=scorer)


def sampled_rows(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Each of five samples is right with chance 0.6, and wrong ones scatter."""
    rng = random.Random(seed)
    said = [[rng.choice(("7", "7", "7", "8", "9")) for _ in range(5)] for _ in range(rows)]
    return [row(i, texts, score=int(texts[0] == "7")) for i, texts in enumerate(said)]


# ------------------------------------------------------------------ what they score


@pytest.mark.parametrize(
    ("texts", "k", "wanted"),
    [
        (["7", "8", "9"], 1, 1.0),
        (["7", "8", "8"], 3, 0.0),
        (["8", "7.0", "It is 7"], 3, 1.0),
        (["8", "7"], 2, 0.0),  # of equals the first drawn
        (["7", "8"], 2, 1.0),
        (["8", "9", "7", "7", "8", "7"], 5, 0.0),
        (["8", "9", "7", "7", "8", "7"], 6, 1.0),
    ],
)
def test_the_commonest_of_the_first_k_counts_and_of_equals_the_first(
    texts: list[str], k: int, wanted: float
) -> None:
    samples = Samples.of([judge(texts, ["7"], "numeric")], np.array([np.nan]))
    keys = np.arange(len(texts), dtype=np.uint64)[None, :]
    assert samples.plurality_scores(k, keys).tolist() == [wanted]


@pytest.mark.parametrize("scorer", SCORERS)
def test_counting_is_the_plurality_of_the_texts_in_every_order(scorer: str) -> None:
    texts, choices = ["A", "(B)", "B.", "A", "C"], ("Rome", "Paris", "Oslo")
    samples = Samples.of([judge(texts, ["B"], scorer, choices)], np.array([np.nan]))
    for order in permutations(range(5)):
        keys = np.array([[order.index(i) for i in range(5)]], dtype=np.uint64)
        for k in range(1, 6):
            said = plurality([texts[i] for i in order[:k]], scorer, choices).answer
            assert samples.plurality_scores(k, keys)[0] == score(said, ["B"], scorer, choices)


def test_the_chance_of_a_majority_is_that_of_the_binomial() -> None:
    table = read(sampled_rows(20_000))
    chance = {
        1: 0.6,
        3: 0.6**3 + 3 * 0.6**2 * 0.4 + 0.6 * 2 * 0.2 * 0.2,
    }  # three that differ: the first drawn
    for k, wanted in chance.items():
        assert table.by_majority("small", k).score[:, 0].mean() == pytest.approx(wanted, abs=0.012)


def test_samples_are_drawn_by_seed_and_id_and_not_in_the_order_of_the_file() -> None:
    rows = [row(i, ["7"] * 3 + ["8"] * 3) for i in range(2_000)]  # sorted: the right ones first
    first = read(rows).by_majority("small", 1).score[:, 0]
    assert first.mean() == pytest.approx(0.5, abs=0.04)
    again = read(rows, seed=1).by_majority("small", 1).score[:, 0]
    assert 0.4 < (first == again).mean() < 0.6
    turned = read(reversed(rows)).by_majority("small", 1).score[:, 0]
    assert turned[::-1].tolist() == first.tolist()
    assert read(rows).reseed(1).by_majority("small", 1).score[:, 0].tolist() == again.tolist()


def test_a_part_of_a_table_and_other_orders_of_tiers_keep_their_samples() -> None:
    table = read(sampled_rows(600))  # more than one chunk
    whole = table.by_majority("small", 3).score[:, 0]
    rows = np.arange(7, 500, 3)
    assert table.subset(rows).by_majority("small", 3).score[:, 0].tolist() == whole[rows].tolist()
    picked = table.pick(["large", "small"]).by_majority("small", 3)
    assert picked.score[:, 1].tolist() == whole.tolist()


def test_a_tier_that_is_sampled_late_and_rows_of_different_lengths_are_counted() -> None:
    rows = [row(i, None) for i in range(300)] + [row(300 + i, ["7"] * (3 + i)) for i in range(4)]
    table = read(rows)
    assert table.fewest_samples == (0, 0)
    late = table.subset(np.arange(300, 304))
    assert late.fewest_samples == (3, 0)
    assert late.by_majority("small", 3).score[:, 0].tolist() == [1.0] * 4
    with pytest.raises(UsageError, match="fewer than 4 samples of small"):
        late.by_majority("small", 4)


def test_without_a_scorer_or_samples_a_table_holds_none() -> None:
    assert read(sampled_rows(3), scorer=None).samples == ()
    assert read([row(i, None) for i in range(3)]).samples == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            {"samples": [None, "7"]},
            "line 2: tiers.small.samples: expected text or a list of texts, got a list",
        ),
        ({"samples": "777"}, "line 2: tiers.small.samples: expected a list of texts, got text"),
        ({"sample_cost": -1}, "line 2: tiers.small.sample_cost: expected a finite number 0 or more, got -1"),
    ],
)
def test_samples_that_cannot_be_read_are_refused_with_their_line(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as refused:
        read([row(0, ["7", "7"]), row(1, **{"samples": ["7"], **bad})])
    assert str(refused.value) == said


# ------------------------------------------------------------------ what they cost


@pytest.mark.parametrize(
    ("cell", "k", "dollars"),
    [
        ({"cost": 2.0}, 3, 6.0),  # the price of one answer
        ({"cost": 5.0, "sample_cost": 1.0}, 3, 3.0),  # five, each a call of its own
        ({"cost": 5.0, "sample_cost": 0.5}, 3, 4.0),  # 2.5 of it is the prompt, paid once
        ({"cost": 1.0, "sample_cost": 1.0}, 4, 4.0),  # the price of one answer, said twice
    ],
)
def test_k_answers_cost_k_answers_and_a_shared_prompt_once(
    cell: dict[str, float], k: int, dollars: float
) -> None:
    table = read([row(0, ["7"] * 5, **cell)])
    assert table.by_majority("small", k).cost[0].tolist() == [dollars, 20.0]


def test_a_cost_that_is_given_is_that_of_one_answer() -> None:
    rows = [row(0, ["7"] * 5, cost=5, sample_cost=0.5)]
    table = read_table(enumerate(rows, 1), costs={"small": 2}, scorer="exact")
    assert table.by_majority("small", 3).cost[0, 0] == 6.0


# ------------------------------------------------------------------ at the table


def compared(table: TraceTable, names: str) -> Any:
    known = all_policies(table.tiers, "knn", majorities(names, table.tiers, table.fewest_samples))
    seated = [c for c in pick_policies(names, known) if not why_unable(c, table)]
    return bench(table, seated, SETTINGS, Objective("keep", 0.95), cuts=cuts_of(table, 0.5))


def test_majorities_are_measured_on_the_held_out_rows_and_pay_for_k_answers() -> None:
    table = read(sampled_rows(200))
    found, cut = compared(table, "maj"), cuts_of(table, 0.5)[0]
    assert [o.name for o in found.outcomes if o.group == "majority"] == [f"maj@{k}:small" for k in (1, 3, 5)]
    for k in (1, 3, 5):
        outcome = found.outcome(f"maj@{k}:small")
        held = table.by_majority("small", k).score[cut.test, 0]
        assert outcome.measures["quality"].value == pytest.approx(held.mean())
        assert outcome.measures["cost"].value == pytest.approx(k)
        assert [s.answers for s in outcome.spending] == pytest.approx([k, 0])
        assert outcome.measures["escalated"].value == 0
        assert outcome.measures["gain_area"].reason == "a single tier draws no curve"


def test_labels_of_held_out_rows_change_no_training_point() -> None:
    rows = sampled_rows(80)
    fooled = [{**r, "expected": "8"} if i >= 40 else r for i, r in enumerate(rows)]
    curves = []
    for given in (rows, fooled):
        table = read(given)
        split = Split.of(table, np.arange(40), np.arange(40, 80), seed=0, settings=SETTINGS)
        curves.append(Majority(3, "small").train(split).curve)
    assert curves[0] == curves[1]
    assert read(rows).by_majority("small", 3).score[40:, 0].mean() > 0.5
    assert read(fooled).by_majority("small", 3).score[40:, 0].mean() < 0.5


@pytest.mark.parametrize(
    ("asked", "samples", "names"),
    [
        ("all", (2, 0), []),
        ("all", (3, 0), ["maj@1:a", "maj@3:a"]),
        ("all", (8, 4), ["maj@1:a", "maj@3:a", "maj@5:a", "maj@7:a", "maj@1:b", "maj@3:b"]),
        ("all", (16, 0), [f"maj@{k}:a" for k in (1, 3, 5, 7, 9, 15)]),
        ("maj@8:a", (8, 0), [f"maj@{k}:a" for k in (1, 3, 5, 7, 8)]),
        ("maj@2", (2, 0), ["maj@2:a"]),
        ("maj@5", (4, 0), ["maj@1:a", "maj@3:a", "maj@5:a", "maj@5:b"]),  # nobody can: both will say why
        ("maj", (0, 0), ["maj@3:a", "maj@3:b"]),
        ("maj@0:a,maj@3:c,maj@x", (0, 0), []),
    ],
)
def test_odd_majorities_are_there_and_others_when_named(
    asked: str, samples: tuple[int, int], names: list[str]
) -> None:
    assert [m.name for m in majorities(asked, ("a", "b"), samples)] == names


def test_a_name_stands_for_its_tiers_and_maj_for_all() -> None:
    known = all_policies(("a", "b"), majorities=majorities("all", ("a", "b"), (5, 3)))
    single = ["always:a", "always:b"]
    assert [c.name for c in pick_policies("maj@3", known)] == [*single, "maj@3:a", "maj@3:b"]
    assert len(pick_policies("maj", known)) == 2 + 5
    with pytest.raises(UsageError, match="no policy 'maj@9:a'; did you mean maj@"):
        pick_policies("maj@9:a", known)


def test_who_has_no_samples_to_judge_says_so() -> None:
    few = read([row("x", ["7"] * 3), row("y", ["7"] * 2), row("z", ["7"] * 9, expected=None)])
    whys = {
        (k, tier): why_unable(Majority(k, tier), table)
        for k, tier, table in [(3, "small", few.subset(np.arange(2))), (2, "small", few), (3, "large", few)]
    }
    assert whys == {
        (3, "small"): "row 'y' records 2 samples of small that can be judged",
        (2, "small"): "row 'z' records 0 samples of small that can be judged",
        (3, "large"): "no samples of large are recorded beside what is expected",
    }
    assert why_unable(Majority(2, "small"), few.subset(np.arange(2))) == ""
