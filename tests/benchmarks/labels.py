"""How often what is said of a loss is true, where labels of recorded rows are hidden.

    python tests/benchmarks/labels.py [--runs 500] [--rows 400] [--labels 30 100]

One half of a set is used without labels, to fit a plan to agreement with the large tier. The other half is
the world: files are drawn from it with replacement, labels are drawn of their rows at random, and what is
said of the loss is compared with the loss in the world, which all labels together tell. "Bound" is the most
that can be lost, without a label; "estimate" the interval by labels of rows on which answers differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import DATA, Recorded

from automix_cli.data.groups import Grouping
from automix_cli.data.read_traces import read_table
from automix_cli.data.relative import score_beside
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.loss import loss_of
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.problem import Policy

# With the form in which answers are compared, and a cost_weight at which a plan reports some small answers.
SETS = (
    (Recorded("zeroeval_gsm8k", "ensemble5-small", "claude-3-5-sonnet-20241022"), "numeric", 0.01),
    (Recorded("zeroeval_math_l5", "ensemble5-small", "o1-mini-2024-09-12"), "exact", 0.03),
    (Recorded("cruxeval_output", "codellama-7b", "gpt-4o-mini-2024-07-18"), "exact", 0.03),
    (Recorded("mmlupro_confidence", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"), "exact", 0.01),
)


class Outcome(NamedTuple):
    """What the policy came to on rows: what a measure of the loss looks at."""

    score: Floats
    differing: Floats


class Counts(NamedTuple):
    """How often the bound, and the interval by labels, held the loss of the world; and how wide they are."""

    bound: float
    most: float
    estimate: float
    width: float
    estimates: int


def table_of(recorded: Recorded, scorer: str) -> TraceTable:
    """The rows with their labels, at a price of 1:20."""
    with recorded.path.open(encoding="utf-8") as lines:
        rows = enumerate(map(json.loads, lines), 1)
        table = read_table(rows, tiers=(recorded.small, recorded.large), compare=scorer)
    return recorded.priced(table.require_scores(drop=True), 20.0, 1 / 8)


def without_labels(table: TraceTable, has_label: np.ndarray) -> TraceTable:
    """The table beside the large tier, with the labels of some rows only."""
    score = np.where(has_label[:, None], table.score, np.nan)
    return score_beside(replace(table, score=score), table.tiers[-1])


def play(policy: Policy, table: TraceTable) -> Outcome:
    """The policy on rows, worth beside the large tier."""
    run = replay(policy, table)
    return Outcome(run.score, 1 - (run.reports * table.score).sum(axis=1))


def measure(
    table: TraceTable, weight: float, runs: int, size: int, labels: int, rng: np.random.Generator
) -> Counts:
    """Draw files from one half of the rows, with a policy learned from the other half."""
    is_world = rng.random(len(table)) < 0.5
    settings = Settings(max_votes=max(table.max_votes))
    learn = without_labels(table.subset(~is_world), np.zeros(int((~is_world).sum()), dtype=bool))
    policy = fit(learn, settings).policy(weight, settings)
    world = table.subset(is_world)
    played = replay(policy, world)
    truth = float((world.score[:, -1] - played.score).mean())
    bounds, estimates = [], []
    for _ in range(runs):
        rows = rng.integers(len(world), size=size)
        file = world.subset(rows)
        file = replace(file, grouping=Grouping.of(np.arange(size, dtype=np.uint64)))
        has_label = np.zeros(size, dtype=bool)
        differs = np.flatnonzero(file.first_equal[:, -1] != 0)
        has_label[rng.permutation(differs)[:labels]] = True
        own = without_labels(file, has_label)
        loss = loss_of(own, play(policy, own), Resamples.of_table(own, 0))
        assert loss is not None
        bounds.append((truth <= loss.most, loss.most))
        if loss.by_labels is not None:
            value = loss.by_labels
            estimates.append((value.low <= truth <= value.high, (value.high - value.low) / 2))
    bound, most = np.mean(bounds, axis=0)
    estimate, width = np.mean(estimates, axis=0) if estimates else (np.nan, np.nan)
    return Counts(float(bound), float(most), float(estimate), float(width), len(estimates))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--labels", type=int, nargs="*", default=[30, 100])
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    print(f"{args.runs} files of {args.rows} rows a set\n")
    print("| set | labels | bound held | mean bound | estimate held | ± points | files with an estimate |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for recorded, scorer, weight in SETS:
        table = table_of(recorded, scorer)
        for labels in args.labels:
            c = measure(table, weight, args.runs, args.rows, labels, np.random.default_rng(0))
            cells = (
                f"{c.bound:.1%} | {100 * c.most:.1f} | {c.estimate:.1%} | {100 * c.width:.1f} | {c.estimates}"
            )
            print(f"| {recorded.name} | {labels} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
