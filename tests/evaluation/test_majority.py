"""MAJ@k as a policy: its names, its measures, and who cannot run it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trace_rows import draw_sample_rows, read_samples, sample_row

from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.evaluation.baseline_policies import MajorityOfSamples
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, majorities, pick_policies
from automix_cli.evaluation.policy_entry import why_unable
from automix_cli.evaluation.split import Split
from automix_cli.fitting.router_block import Settings

SETTINGS = Settings(max_votes=6)


def compared(table: TraceTable, names: str) -> Any:
    known = all_policies(table.tiers, "knn", majorities(names, table.tiers, table.fewest_samples))
    seated = [c for c in pick_policies(names, known) if not why_unable(c, table)]
    return bench(table, seated, SETTINGS, Objective("keep", 0.95), partitions=partitions_of(table, 0.5))


def test_majorities_are_measured_on_the_held_out_rows_and_pay_for_k_answers() -> None:
    table = read_samples(draw_sample_rows(200))
    found, cut = compared(table, "maj"), partitions_of(table, 0.5)[0]
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
    rows = draw_sample_rows(80)
    fooled = [{**r, "expected": "8"} if i >= 40 else r for i, r in enumerate(rows)]
    curves = []
    for given in (rows, fooled):
        table = read_samples(given)
        split = Split.of(table, np.arange(40), np.arange(40, 80), seed=0, settings=SETTINGS)
        curves.append(MajorityOfSamples(3, "small").train(split).curve)
    assert curves[0].points == curves[1].points
    assert read_samples(rows).by_majority("small", 3).score[40:, 0].mean() > 0.5
    assert read_samples(fooled).by_majority("small", 3).score[40:, 0].mean() < 0.5


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
    few = read_samples(
        [sample_row("x", ["7"] * 3), sample_row("y", ["7"] * 2), sample_row("z", ["7"] * 9, expected=None)]
    )
    whys = {
        (k, tier): why_unable(MajorityOfSamples(k, tier), table)
        for k, tier, table in [(3, "small", few.subset(np.arange(2))), (2, "small", few), (3, "large", few)]
    }
    assert whys == {
        (3, "small"): "row 'y' records 2 samples of small that can be judged",
        (2, "small"): "row 'z' records 0 samples of small that can be judged",
        (3, "large"): "no samples of large are recorded beside what is expected",
    }
    assert why_unable(MajorityOfSamples(2, "small"), few.subset(np.arange(2))) == ""
