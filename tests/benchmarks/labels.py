"""How often what is said of a loss is true, where labels of recorded rows are hidden, and how many it takes.

    python tests/benchmarks/labels.py [--runs 500] [--rows 400] [--labels 18 30 100]
    python tests/benchmarks/labels.py --needed

One half of a set is used without labels, to fit a plan to agreement with the large tier. The other half
is the world: files are drawn from it with replacement, rows of each are labelled, and what is said of the
loss is compared with the loss in the world, which all labels together tell. "Bound" is the most that can be
lost, without a label; "estimate" the interval at a number of labels that was fixed before. Labels are drawn
as `automix label` does, or at random from the rows on which answers differ. "Sequence" are the bounds of the
loss on the file that `label` shows after each label: a file counts where they held after every one.

`--needed` says with how many labels the interval of the loss on the rows of a set is as narrow as ± 1 point:
drawn as `label` does, random part included, and drawn from all rows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from msgspec.structs import replace
from recorded import DATA, Recorded

from automix_cli.data.groups import Grouping
from automix_cli.data.label_draw import LabelDraw, chance_by, draw_labels, label_weights, random_part
from automix_cli.data.read_traces import read_table
from automix_cli.data.relative import score_beside
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.held_out import HeldOutRun
from automix_cli.evaluation.label_sequence import SequentialDraw
from automix_cli.evaluation.loss import estimate_loss, loss_of
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats, Ints

# With the form in which answers are compared, and a cost_weight at which a plan reports some small answers.
SETS = (
    (Recorded("zeroeval_gsm8k", "ensemble5-small", "claude-3-5-sonnet-20241022"), "numeric", 0.01),
    (Recorded("zeroeval_math_l5", "ensemble5-small", "o1-mini-2024-09-12"), "exact", 0.03),
    (Recorded("cruxeval_output", "codellama-7b", "gpt-4o-mini-2024-07-18"), "exact", 0.03),
    (Recorded("mmlupro_confidence", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"), "exact", 0.01),
)


class World(NamedTuple):
    """Rows with all their labels, and what a policy reports on them.

    Attributes:
        table: n rows.
        reports: n×2.
        differs: n, whether answers differ.
        differing: n, chances to report another answer than the large tier's.
        loss: n.
    """

    table: TraceTable
    reports: Floats
    differs: Bools
    differing: Floats
    loss: Floats

    def take(self, rows: Ints) -> World:
        """Some rows, each a question of its own."""
        table = self.table.subset(rows)
        table = replace(table, grouping=Grouping.of(np.arange(len(rows), dtype=np.uint64)))
        return World(table, *(part[rows] for part in self[1:]))

    @property
    def worth(self) -> Floats:
        """n, the most that the loss of a row can be; NaN where answers are equal."""
        return np.where(self.differs, self.differing, np.nan)


class Count(NamedTuple):
    """Whether a bound held the truth, and its width."""

    held: bool
    width: float


class FileCounts(NamedTuple):
    """What was said of one file by labels; None where nothing was."""

    estimate: Count | None
    sequence: Count | None


# ---------------------------------------------------------------- the world, and files of it


def table_of(recorded: Recorded, scorer: str) -> TraceTable:
    """The rows with their labels, at a price of 1:20."""
    with recorded.path.open(encoding="utf-8") as lines:
        rows = enumerate(map(json.loads, lines), 1)
        table = read_table(rows, tiers=(recorded.small, recorded.large), compare=scorer)
    return recorded.priced(table.require_scores(drop=True), 20.0, 1 / 8)


def without_labels(table: TraceTable, has_label: Bools, inclusion: Floats | None = None) -> TraceTable:
    """The table beside the large tier, with the labels of some rows only."""
    score = np.where(has_label[:, None], table.score, np.nan)
    return score_beside(replace(table, score=score, inclusion=inclusion), table.tiers[-1])


def world_of(table: TraceTable, weight: float, rng: np.random.Generator) -> World:
    """One half of the rows, with a policy learned from the other half without a label."""
    is_world = rng.random(len(table)) < 0.5
    settings = Settings(max_votes=max(table.max_votes))
    learn = without_labels(table.subset(~is_world), np.zeros(int((~is_world).sum()), dtype=bool))
    policy = fit(learn, settings).policy(weight, settings)
    world = table.subset(is_world)
    is_equal = without_labels(world, np.zeros(len(world), dtype=bool)).score
    reports = replay(policy, world).reports
    return World(
        world,
        reports,
        (is_equal < 1).any(axis=1),
        (reports * (1 - is_equal)).sum(axis=1),
        (reports * (world.score[:, [-1]] - world.score)).sum(axis=1),
    )


class LabelsOfFile(NamedTuple):
    """Which rows of a file have a label, with which chances, and by which draw."""

    has_label: Bools
    inclusion: Floats | None
    draw: LabelDraw | None


def at_random(file: World, labels: int, number: int) -> LabelsOfFile:
    """Labels of rows drawn from those on which answers differ, all alike."""
    has_label = np.zeros(len(file.loss), dtype=bool)
    order = np.random.default_rng(number).permutation(np.flatnonzero(file.differs))
    has_label[order[:labels]] = True
    return LabelsOfFile(has_label, None, None)


def as_label_does(file: World, labels: int, number: int) -> LabelsOfFile:
    """So many labels of rows chosen by what they tell, and the random part beside them."""
    ids = [f"{number}:{place}" for place in range(len(file.loss))]
    draw = draw_labels(ids, label_weights(file.worth), labels, max(10, labels // 4), number)
    has_label = np.zeros(len(file.loss), dtype=bool)
    has_label[draw.order] = True
    return LabelsOfFile(has_label, np.where(has_label, draw.inclusion, np.nan), draw)


DRAWS: dict[str, Callable[[World, int, int], LabelsOfFile]] = {"random": at_random, "label": as_label_does}


def bound_of(file: World, truth: float) -> Count:
    """What is said of a file without a label."""
    table = without_labels(file.table, np.zeros(len(file.loss), dtype=bool))
    loss = loss_of(table, run_of(file, table), resamples_of(len(table)))
    assert loss is not None
    return Count(truth <= loss.most, loss.most)


def sure_bound_of(file: World) -> Count:
    """Whether the loss on the rows of a file is at most the share of them that is reported and differs."""
    share = float(file.differing.mean())
    return Count(float(file.loss.mean()) <= share + 1e-12, share)


def measure(file: World, truth: float, own: LabelsOfFile) -> FileCounts:
    """What is said of a file by labels, beside the truth."""
    table = without_labels(file.table, own.has_label, own.inclusion)
    assert table.relative is not None
    run, differing = run_of(file, table), float(file.differing.mean())
    loss = estimate_loss(run, resamples_of(len(table)), differing, table.relative)
    estimate = loss and Count(loss.low <= truth <= loss.high, (loss.high - loss.low) / 2)
    return FileCounts(estimate, _sequence(file, own))


@cache
def resamples_of(size: int) -> Resamples:
    """Resamples of so many questions of one row each."""
    return Resamples.of(np.arange(size), 0)


def run_of(file: World, table: TraceTable) -> HeldOutRun:
    """The policy's run on a file, as far as its loss goes."""
    none = np.zeros(len(table))
    return HeldOutRun(
        score=(file.reports * table.worth).sum(axis=1),
        cost=none,
        abstained=none,
        escalated=none,
        votes=none,
        differing=file.differing,
        reports=file.reports,
        best_score=none,
        single_folds=0,
        folds=1,
        n_plans=1,
    )


def _sequence(file: World, own: LabelsOfFile) -> Count | None:
    """The bounds that `label` shows, of the loss on the file."""
    if own.draw is None:
        return None
    losses = np.where(own.has_label, np.where(file.differs, file.loss, 0.0), np.nan)
    worth = np.nan_to_num(file.worth)
    low, high = SequentialDraw(own.draw, worth, losses, np.zeros(len(losses))).bounds()
    return Count(low <= float(np.where(file.differs, file.loss, 0.0).mean()) <= high, (high - low) / 2)


def files_of(world: World, runs: int, size: int) -> Iterator[World]:
    """Files drawn from a world."""
    rng = np.random.default_rng(1)
    for _ in range(runs):
        yield world.take(rng.integers(len(world.loss), size=size))


def print_coverage(runs: int, size: int, labels: list[int]) -> None:
    """A table: how often what is said held, and how wide it is."""
    print(f"{runs} files of {size} rows a set\n")
    print("| set | drawn | labels | held | ± or at most | files with one | sequence held | ± |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for recorded, scorer, weight in SETS:
        world = world_of(table_of(recorded, scorer), weight, np.random.default_rng(0))
        truth = float(world.loss.mean())
        bounds = [bound_of(file, truth) for file in files_of(world, runs, size)]
        print(f"| {recorded.name} | | 0 | {_held(bounds)} | {runs} | – | – |", flush=True)
        sure = [sure_bound_of(file) for file in files_of(world, runs, size)]
        print(f"| {recorded.name} | | 0, loss on the file | {_held(sure)} | {runs} | – | – |", flush=True)
        for name, draw in DRAWS.items():
            for n in labels:
                counts = [
                    measure(file, truth, draw(file, n, number))
                    for number, file in enumerate(files_of(world, runs, size))
                ]
                print(f"| {recorded.name} | {name} | {n} | {_cells(counts)} |", flush=True)


def _cells(counts: list[FileCounts]) -> str:
    estimates = [c.estimate for c in counts if c.estimate is not None]
    sequences = [c.sequence for c in counts if c.sequence is not None]
    return " | ".join(
        (
            _held(estimates),
            str(len(estimates)),
            _held(sequences),
        )
    )


def _held(counts: list[Count]) -> str:
    if not counts:
        return "– | –"
    share, width = np.mean(counts, axis=0)
    return f"{share:.1%} | {100 * width:.1f}"


# ---------------------------------------------------------------- how many labels it takes


AIM = 0.01  # half the width, in points of 1


def labels_by_weight(world: World) -> int:
    """The fewest labels, random part included, with which the interval is narrow enough: by its variance."""
    weight, n = label_weights(world.worth), len(world.loss)
    own, places = np.where(world.differs, world.loss, 0.0), np.flatnonzero(weight > 0)
    rng = np.random.default_rng(0)
    ranks = np.sort(rng.random((200, len(places))) / weight[places], axis=1)
    for labels in range(2, 4 * n):
        chosen = labels - random_part(labels)
        if chosen >= len(places):
            return labels
        chance = np.array([chance_by(weight[places], float(rank)) for rank in ranks[:, chosen]])
        variance = (own[places] ** 2 * (1 / chance - 1)).sum(axis=1).mean()
        if 1.96 * math.sqrt(variance) / n <= AIM:
            return labels
    return n


def labels_from_all(world: World) -> int:
    """The same where labels are drawn from all rows."""
    n, spread = len(world.loss), float(world.loss.std())
    for labels in range(2, n):
        if 1.96 * spread * math.sqrt(1 / labels - 1 / n) <= AIM:
            return labels
    return n


def print_needed() -> None:
    """A table: labels to an interval of ± 1 point."""
    print("| set | rows | reported and differ | loss in points | from all rows | as label does | share |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for recorded, scorer, weight in SETS:
        world = world_of(table_of(recorded, scorer), weight, np.random.default_rng(0))
        every, own = labels_from_all(world), labels_by_weight(world)
        facts = f"{len(world.loss):,} | {world.differing.mean():.1%} | {100 * world.loss.mean():.2f}"
        print(f"| {recorded.name} | {facts} | {every} | {own} | {own / every:.0%} |", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--labels", type=int, nargs="*", default=[18, 30, 100])
    parser.add_argument("--needed", action="store_true")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    if args.needed:
        print_needed()
    else:
        print_coverage(args.runs, args.rows, args.labels)


if __name__ == "__main__":
    main()
