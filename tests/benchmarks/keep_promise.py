"""How often `--keep 0.98` is kept on new rows of recorded sets, and what it saves.

    python tests/benchmarks/keep_promise.py [--runs 6] [--train 100 250 500 half] [--sure P] [--jobs 2]

Each recorded set with votes (at 1/8 of the small tier's price) or with a confidence is split at
random; `calibrate` sees the training part, and the policy that it writes is replayed on the
others, 500 at least. Met: the policy's quality there is at least 0.98 times that of the tier that
is best there. Saved: its cost there is below that tier's. `half` trains on half of the rows, at
most 1,000. The bars hold for the pool over all sets of `half`: met in 80 % of the splits, and in 75 %
of those that save anything. The recorded sets are looked for as `recorded` says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from recorded import CONFIDENT, VOTED, Recorded
from runs import is_picked, option_parser, processes, rate_text, run_all, table_head, table_line

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import calibrate
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.router_block import Settings

SETS = (
    *VOTED,
    Recorded("cruxeval_output", "ensemble5-small", "gpt-4o-2024-08-06"),
    *CONFIDENT,
    Recorded("mmlupro_confidence", "qwen2.5-32b-instruct", "llama-3.1-405b-instruct"),
    Recorded("mcqa_msp", "mixtral-8x7b-instruct", "gpt-4-turbo"),
)
KEEP, MET, MET_AND_SAVES = 0.98, 0.80, 0.75
LEAST_HELD_OUT, MOST_TRAINING = 500, 1_000
VOTE = 1 / 8


class Task(NamedTuple):
    """One split of one set."""

    recorded: Recorded
    train: str
    seed: int
    ratio: float
    objective: Objective


class Outcome(NamedTuple):
    """What came of one split, on held-out rows.

    Attributes:
        kind: of the verdict.
        parity: quality as a share of the best tier's.
        saving: share of the best tier's cost.
        training, rows: how many rows were learned from and held out.
    """

    kind: str
    parity: float
    saving: float
    training: int
    rows: int

    @property
    def is_met(self) -> bool:
        """Whether the target was met."""
        return self.parity >= KEEP - 1e-12

    @property
    def saves(self) -> bool:
        """Whether it costs less than the best tier."""
        return self.saving > 1e-9


@cache
def table_of(recorded: Recorded, ratio: float) -> TraceTable:
    """All rows of a set, with prices."""
    table = recorded.table()
    return recorded.priced(table, ratio, VOTE if table.max_votes[0] else 0.0)


def training_rows(rows: int, train: str) -> int:
    """How many rows are learned from, so that enough are held out."""
    wanted = min(rows // 2, MOST_TRAINING) if train == "half" else int(train)
    return min(wanted, rows - LEAST_HELD_OUT)


def measure(task: Task) -> Outcome:
    """Calibrate on one part of the rows, and replay on the other."""
    table = table_of(task.recorded, task.ratio)
    share = training_rows(len(table), task.train) / len(table)
    (cut,) = partitions_of(table, share, seed=task.seed)
    training, fresh = table.subset(cut.train), table.subset(cut.test)
    settings = Settings(max_votes=max(table.max_votes))
    calibration = calibrate(training, settings, task.objective, seed=task.seed)
    run = replay(calibration.policy(), fresh)
    quality, cost = fresh.score.mean(axis=0), fresh.mean_cost
    best = int(np.lexsort((cost, -quality))[0])
    return Outcome(
        "no verdict" if calibration.verdict is None else calibration.verdict.kind,
        float(run.score.mean() / quality[best]),
        float(1 - run.cost.mean() / cost[best]),
        len(training),
        len(fresh),
    )


def line(name: str, train: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """The line of a set, or of all."""
    saving = [o for o in outcomes if o.saves]
    rows = "/".join(f"{np.mean([getattr(o, key) for o in outcomes]):.0f}" for key in ("training", "rows"))
    return table_line(
        name,
        train,
        rows,
        rate_text(sum(o.is_met for o in outcomes), len(outcomes)),
        rate_text(sum(o.is_met for o in saving), len(saving)),
        f"{np.mean([o.saving for o in outcomes]):.1%}",
        f"{min(o.parity for o in outcomes):.3f}",
        f"{sum(o.kind == 'route' for o in outcomes)}/{len(outcomes)}",
        f"{seconds / len(outcomes):.2f}",
    )


def main() -> int:
    """Run and print."""
    parser = option_parser(__doc__, runs=6)
    parser.add_argument("--train", nargs="+", default=["half", "500", "250", "100"], metavar="ROWS")
    parser.add_argument("--ratio", type=float, default=20, metavar="X", help="price of the large tier [20]")
    parser.add_argument("--sure", type=float, metavar="P", help="assurance that the target is met")
    args = parser.parse_args()
    sets = [r for r in SETS if r.path.exists() and is_picked(f"{r.name}: {r.small}", args.cells)]
    if not sets:
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    objective = Objective("keep", KEEP)
    if args.sure is not None:
        objective = objective._replace(sure=args.sure)
    print(
        table_head(
            "set",
            "training",
            "rows",
            "met",
            "met of those that save",
            "saving",
            "least parity",
            "route",
            "CPU s",
        )
    )
    total, pools = 0.0, dict[str, list[Outcome]]()
    with processes(args.jobs) as pool:
        for train in args.train:
            pools[train] = []
            start = total
            for recorded in sets:
                seeds = range(args.seed, args.seed + args.runs)
                runs = run_all(
                    pool, measure, [Task(recorded, train, seed, args.ratio, objective) for seed in seeds]
                )
                pools[train] += runs.results
                total += runs.seconds
                name = f"{recorded.name}: {recorded.small}"
                print(line(name, train, runs.results, runs.seconds), flush=True)
            print(line("**all**", train, pools[train], total - start), flush=True)
    print(
        f"\n{args.runs} splits of each set, seeds from {args.seed}, prices 1:{args.ratio:g}, a vote {VOTE:g}"
    )
    print(f"{total:.0f} CPU seconds")
    return 0 if _is_met(pools.get("half", [])) else 1


def _is_met(outcomes: Sequence[Outcome]) -> bool:
    saving = [o.is_met for o in outcomes if o.saves]
    whole = not outcomes or np.mean([o.is_met for o in outcomes]) >= MET
    return bool(whole and (not saving or np.mean(saving) >= MET_AND_SAVES))


if __name__ == "__main__":
    sys.exit(main())
