"""What a column of classes, and the right one of several signals, add to the plan.

    python tests/benchmarks/class_and_signal.py [--splits 10] [--only classes signals] [--sets NAME ...]

Gain areas on recorded sets, in quality points above the mix of single tiers, on the splits of
`agreement.py`: of the plan as it is, and of the same plan with the classes of a column (used where that is
better in training), or with the signal that is chosen in training. Standard errors are over the splits, of
the differences in pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from agreement import VOTE, Line, gain_areas, table_of_lines
from recorded import CONFIDENT, DATA, VOTED, Recorded

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.fitting.router_block import Settings

LARGEST_LOSS, ERRORS = 0.3, 2.0  # points, and standard errors, that a cell may lie below the plan without


class Cell(NamedTuple):
    """Two tiers of a recorded set at 1:20, or at the recorded prices; a vote at an eighth of the first.

    `column` names classes; without one the signal is chosen.
    """

    recorded: Recorded
    column: str = ""
    has_prices: bool = False

    def table(self) -> TraceTable:
        """The rows that score both tiers, with every signal that they hold."""
        with self.recorded.path.open(encoding="utf-8") as lines:
            rows = list(map(json.loads, lines))
        tiers = self.recorded.small, self.recorded.large
        table = read_table(
            enumerate(rows, 1), tiers=tiers, class_column=self.column or None, confidences="auto"
        ).require_scores(drop=True)
        if self.has_prices:
            return table.with_costs({}, {tiers[0]: VOTE * float(table.mean_cost[0])})
        return self.recorded.priced(table, 20, VOTE if table.votes.any() else 0.0)

    def measure(self, splits: int) -> Line:
        """The plan without and with the evidence, on the same splits."""
        table = self.table()
        settings = Settings(max_votes=max(table.max_votes))
        before = gain_areas(table, "pomdp", settings, splits)
        if self.column:
            after = gain_areas(table, "pomdp+class", settings, splits)
        else:
            after = gain_areas(table, "pomdp", settings, splits, compare_signals=True)
        return Line(self, before, after)

    def __str__(self) -> str:
        name, small, large = self.recorded
        return f"{name}, {small} → {large}{f', by {self.column}' if self.column else ''}"


REPLICAS = (VOTED[3], CONFIDENT[4])  # two of AutoMix, with prices of their own
CLASSES = (
    *(Cell(recorded, "dataset", has_prices=True) for recorded in REPLICAS),
    *(Cell(recorded, "subject") for recorded in CONFIDENT[:2]),
    *(Cell(recorded, "dataset") for recorded in CONFIDENT[2:4]),
)
SIGNALS = (
    *(Cell(recorded) for recorded in CONFIDENT[:2]),
    *(Cell(recorded) for recorded in (VOTED[0], VOTED[2], VOTED[1])),
)
PARTS = {"classes": (CLASSES, "classes"), "signals": (SIGNALS, "the signal that was chosen")}


def measure(cells: list[Cell], splits: int, lines: list[Line]) -> Iterator[Line]:
    """The line of each cell as soon as it is measured; `lines` keeps them."""
    for cell in cells:
        lines.append(cell.measure(splits))
        yield lines[-1]


def losses(lines: list[Line]) -> list[str]:
    """The cells that lie below the plan without by more than is allowed."""
    bad = []
    for line in lines:
        gain = line.after - line.before
        error = float(gain.std(ddof=1)) / len(gain) ** 0.5
        if float(gain.mean()) < -max(LARGEST_LOSS, ERRORS * error):
            bad.append(str(line.cell))
    return bad


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sets", nargs="*", metavar="NAME")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    print(f"{args.splits} splits, half of the rows for training\n")
    bad: list[str] = []
    for part in args.only:
        cells, evidence = PARTS[part]
        lines: list[Line] = []
        picked_cells = [cell for cell in cells if not args.sets or cell.recorded.name in args.sets]
        for text in table_of_lines(measure(picked_cells, args.splits, lines), evidence):
            print(text, flush=True)
        print()
        bad += losses(lines)
    sys.exit(f"below the plan without: {'; '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
