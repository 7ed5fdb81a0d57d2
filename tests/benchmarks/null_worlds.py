"""What `calibrate` says, as a whole, where it is known whether routing pays.

    python tests/benchmarks/null_worlds.py [--runs N] [--router-runs N] [--cells pays] [--jobs 2]

In null worlds neither votes nor words say anything of the answers, so every "route" is wrong; some
files hold each question four or eight times, word for word or with another number, its labels
included, and some cells let routers that read the question take part. In paying worlds the cheapest
plan that keeps 98 % of the best tier lies 3 points above the random mixes. The truth of a run is the
mean edge of the policy that it fitted, whatever the verdict, on 20,000 fresh rows of the same world.

A null cell fails where the 99 % binomial interval of its wrong "route" lies above 2.5 %, a paying
one where that of its wrong "do not route" (the truth is at least one point) lies above 5 %; so do
the pools of cells that are alike. The exit status is then 1.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from known import NAMES, table_of
from msgspec.structs import replace
from runs import binomial_interval, is_picked, option_parser, processes, run_all, table_head, table_line
from worlds import MAX_VOTES, draw_world, null_world, paying_world

from automix_cli.data.near_copies import join_near_copies
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.evaluation.frontier import Point, edge
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import Always
from automix_cli.fitting.classes import NO_CLASSES, classes_for
from automix_cli.fitting.query_router_kinds import ClassChoice
from automix_cli.fitting.router_block import Settings

FRESH_ROWS, FRESH_SEED = 20_000, 10**6
WRONG_ROUTE, WRONG_DO_NOT = 0.025, 0.05
MARGIN = 0.01  # "do not route" is wrong where the truth is at least this
SETTINGS = Settings(max_votes=MAX_VOTES)
KINDS = ("route", "do not route", "not enough rows", "single tier", "no verdict")
ROOM = 60_000  # characters that a profile has for a router block


class Cell(NamedTuple):
    """A world, and the file that is drawn from it.

    `topics` are classes that a column names, dealt to the questions at random; `signal` tells whether
    the signal is chosen, too.
    """

    pays: bool
    tiers: int
    questions: int
    copies: int = 1
    router: ClassChoice = "none"
    is_near: bool = False
    topics: int = 0
    signal: bool = False

    @property
    def name(self) -> str:
        """The cell in words."""
        rows = f"{self.questions:,} rows" if self.copies == 1 else f"{self.questions:,} questions"
        parts = ["pays" if self.pays else "null", f"{self.tiers} tiers", rows]
        parts += [f"×{self.copies}{' nearly' * self.is_near}"] * (self.copies > 1)
        parts += [f"router {self.router}"] * (self.router != "none")
        parts += [f"{self.topics} classes"] * (self.topics > 0) + ["signal auto"] * self.signal
        return ", ".join(parts)

    def table(self, questions: int, seed: int, copies: int = 1) -> TraceTable:
        """Rows of the world."""
        model = paying_world(self.tiers) if self.pays else null_world(self.tiers)
        rows = draw_world(model, questions, seed, copies, is_near=self.is_near)
        if self.topics:
            rng, topics = np.random.default_rng(seed), dict[str, int]()
            for row in rows:
                row["topic"] = topics.setdefault(row["question"], int(rng.integers(self.topics)))
        table = table_of(rows, tiers=NAMES[: self.tiers], class_column="topic" if self.topics else None)
        return table if self.router == "none" else join_near_copies(table)


CELLS = (
    *(Cell(False, tiers, rows) for tiers in (2, 3) for rows in (100, 300, 1000)),
    *(Cell(False, 2, *size) for size in ((100, 4), (250, 4), (40, 8), (125, 8))),
    *(Cell(False, 3, *size) for size in ((100, 4), (40, 8))),
    Cell(False, 2, 100, 1, "auto"),
    Cell(False, 2, 100, 4, "auto"),
    Cell(False, 2, 100, 4, "knn"),
    Cell(False, 2, 40, 8, "knn"),
    Cell(False, 2, 100, 4, "knn", is_near=True),
    Cell(False, 2, 300, topics=5),
    Cell(False, 2, 100, 4, topics=5),
    Cell(False, 2, 300, signal=True),
    Cell(False, 3, 300, topics=5, signal=True),
    *(Cell(True, tiers, rows) for tiers in (2, 3) for rows in (100, 300, 1000)),
)


class Statement(NamedTuple):
    """What one run said, and the truth.

    Attributes:
        kind: of the verdict; "no verdict" for none.
        edge: d as it is stated; None without a verdict.
        truth: the edge of the fitted policy on fresh rows; None where it reads questions or classes.
        is_single: whether it chose a single tier.
    """

    kind: str
    edge: float | None
    truth: float | None
    is_single: bool


class Task(NamedTuple):
    """One run of a cell."""

    cell: Cell
    seed: int
    objective: Objective


def measure(task: Task) -> Statement:
    """Calibrate on rows of the cell and compare with the truth."""
    cell, seed, objective = task
    table, classes = cell.table(cell.questions, seed, cell.copies), NO_CLASSES
    if cell.router != "none" or cell.topics:
        classes = classes_for(cell.router, table, room=ROOM, pass_score=SETTINGS.pass_score, seed=seed)
    calibration = calibrate(
        table, SETTINGS, objective, seed=seed, classes=classes, compare_signals=cell.signal
    )
    verdict, is_single = calibration.verdict, isinstance(calibration.choice.setting, Always)
    truth = true_edge(cell, calibration) if cell.router == "none" and not cell.topics else None
    if verdict is None:
        return Statement("no verdict", None, truth, is_single)
    return Statement(verdict.kind, verdict.edge, truth, is_single)


def true_edge(cell: Cell, calibration: Calibration) -> float:
    """The mean edge, on fresh rows, of the policy that was fitted, whatever the verdict on it."""
    policy, fresh = replace(calibration, verdict=None).policy(), fresh_rows(cell)
    run = replay(policy, fresh)
    tiers = [Point(*pair) for pair in zip(fresh.mean_cost, fresh.score.mean(axis=0), strict=True)]
    return float(edge(Point(run.cost.mean(), run.score.mean()), tiers))


@cache
def fresh_rows(cell: Cell) -> TraceTable:
    """Rows of the cell's world that no run has seen."""
    return _fresh_rows(
        cell._replace(questions=0, copies=1, router="none", is_near=False, topics=0, signal=False)
    )


@cache
def _fresh_rows(world: Cell) -> TraceTable:
    return world.table(FRESH_ROWS, FRESH_SEED)


# ------------------------------------------------------------------ the table


class Line(NamedTuple):
    """All runs of a cell, or of several."""

    name: str
    pays: bool
    statements: Sequence[Statement]
    seconds: float

    @property
    def wrong(self) -> int:
        """The runs whose verdict is wrong."""
        if not self.pays:
            return sum(s.kind == "route" for s in self.statements)
        return sum(
            s.kind == "do not route" and s.truth is not None and s.truth >= MARGIN for s in self.statements
        )

    @property
    def is_met(self) -> bool:
        """Whether the 99 % interval of the rate of wrong verdicts holds a rate that is allowed."""
        most = WRONG_DO_NOT if self.pays else WRONG_ROUTE
        return binomial_interval(self.wrong, len(self.statements), level=0.99).low <= most

    def text(self) -> str:
        """The line of the table."""
        runs, kinds = len(self.statements), Counter(s.kind for s in self.statements)
        main = [kinds.pop(kind, 0) for kind in KINDS]
        others = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "-"
        edges = [s.edge for s in self.statements if s.edge is not None]
        truths = [s.truth for s in self.statements if s.truth is not None]
        return table_line(
            self.name,
            runs,
            *(f"{count / runs:.0%}" for count in main),
            others,
            f"{sum(s.is_single for s in self.statements) / runs:.0%}",
            _points(edges),
            _points(truths) if truths else "≤ 0",
            f"{self.wrong} ({binomial_interval(self.wrong, runs, level=0.99)})",
            "met" if self.is_met else "FAILED",
            f"{self.seconds / runs:.2f}",
        )


def pools(cells: Sequence[Cell], lines: Sequence[Line]) -> Iterator[Line]:
    """Join the runs of cells that are alike, for rates of more runs."""
    alike: dict[tuple[str, bool], list[Line]] = {}
    for cell, line in zip(cells, lines, strict=True):
        copies = "copies" if cell.copies > 1 else "×1"
        size = f"{cell.questions:,} rows" if cell.pays else copies if cell.router == "none" else "routers"
        alike.setdefault((f"**{'pays' if cell.pays else 'null'}, {size}**", cell.pays), []).append(line)
    for (name, pays), own in alike.items():
        yield Line(
            name, pays, [s for line in own for s in line.statements], sum(line.seconds for line in own)
        )


def _points(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):+.2f}" if values else "-"


def main() -> int:
    """Run and print."""
    parser = option_parser(__doc__, runs=24)
    parser.add_argument(
        "--router-runs", type=int, default=10, metavar="N", help="of cells with a router [20]"
    )
    parser.add_argument("--sure", type=float, metavar="P", help="assurance that --keep 0.98 is met")
    args = parser.parse_args()
    objective = Objective() if args.sure is None else Objective()._replace(sure=args.sure)
    names = (
        "cell",
        "runs",
        "route",
        "do not",
        "not enough",
        "single tier",
        "no verdict",
        "other",
        "single chosen",
    )
    print(table_head(*names, "stated edge", "truth", "wrong (99 %)", "bar", "CPU s a run"))
    cells, lines = [cell for cell in CELLS if is_picked(cell.name, args.cells)], list[Line]()
    with processes(args.jobs) as pool:
        for cell in cells:
            runs = args.runs if cell.router == "none" else args.router_runs
            statements = run_all(pool, measure, [Task(cell, args.seed + k, objective) for k in range(runs)])
            lines.append(Line(cell.name, cell.pays, statements.results, statements.seconds))
            print(lines[-1].text(), flush=True)
    total = sum(line.seconds for line in lines)
    lines += pools(cells, lines)
    print("\n".join(line.text() for line in lines[len(cells) :]))
    print(f"\nseeds from {args.seed}, {args.jobs} processes, {total:.0f} CPU seconds")
    return 0 if all(line.is_met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
