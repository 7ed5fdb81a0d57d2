"""What comparing the answers of tiers adds to the plan, over random splits of recorded sets.

    python tests/benchmarks/agreement.py [--splits 10] [--only NAME ...]

Three tiers a set, at prices that are given with each line. The same plan is fitted, chosen and measured
twice on the same splits, without and with agreement: gain areas in quality points above the mix of
single tiers, with standard errors over the splits, and the difference in pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from msgspec.structs import replace
from recorded import DATA

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bench import bench
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.fitting.query_router_kinds import ClassChoice
from automix_cli.fitting.router_block import Settings

VOTE = 1 / 8


class Cell(NamedTuple):
    """Tiers of a recorded set and what they cost; `votes` of the first tier are bought or not."""

    name: str
    tiers: tuple[str, ...]
    prices: tuple[float, ...]
    scorer: str = "exact"
    votes: bool = False

    def table(self) -> TraceTable:
        """The rows that score every tier, at the given prices."""
        with (DATA / f"{self.name}.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        for row in rows:
            row["tiers"] = {name: row["tiers"][name] for name in self.tiers if name in row["tiers"]}
            for tier in row["tiers"].values() if not self.votes else ():
                for key in ("votes", "confidence"):
                    tier.pop(key, None)
        table = read_table(enumerate(rows, 1), tiers=self.tiers, compare=self.scorer).require_scores(
            drop=True
        )
        costs = dict(zip(self.tiers, self.prices, strict=True))
        return table.with_costs(costs, {self.tiers[0]: VOTE if self.votes else 0.0})

    def __str__(self) -> str:
        prices = ":".join(f"{price:g}" for price in self.prices)
        return f"{self.name}, {' → '.join(self.tiers)}, {prices}{', votes' if self.votes else ''}"


MINI, FOUR_O, SONNET = "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06", "claude-3-5-sonnet-20241022"
WITHOUT_VOTES = (
    Cell("zeroeval_math_l5", ("Qwen2.5-7B-Instruct", MINI, "o1-mini-2024-09-12"), (1, 2, 20)),
    Cell("cruxeval_output", ("Qwen2.5-7B-Instruct", MINI, FOUR_O), (1, 2, 20)),
    Cell("zeroeval_gsm8k", ("Meta-Llama-3-8B-Instruct", MINI, SONNET), (1, 2, 20), "numeric"),
)
SMALL, LARGE = ("qwen2.5-7b-instruct", "llama-3.1-8b-instruct"), ("llama-3.1-405b-instruct", FOUR_O)
MIDDLE = (MINI, "qwen2.5-32b-instruct", "llama-3.1-70b-instruct")
TRIPLES = (
    (SMALL[0], SMALL[1], LARGE[0]),
    (SMALL[0], SMALL[1], LARGE[1]),
    *((SMALL[0], middle, LARGE[1]) for middle in MIDDLE),
    (SMALL[1], MIDDLE[1], LARGE[0]),
    (SMALL[1], MIDDLE[0], LARGE[0]),
)
MMLUPRO = tuple(
    Cell("mmlupro_confidence", tiers, (1, middle, 20)) for tiers in TRIPLES for middle in (1.0, 2.0)
)
WITH_VOTES = (
    Cell("zeroeval_math_l5", ("ensemble5-small", MINI, "o1-mini-2024-09-12"), (1, 2, 20), votes=True),
    Cell("cruxeval_output", ("ensemble5-small", MINI, FOUR_O), (1, 2, 20), votes=True),
    Cell("zeroeval_gsm8k", ("ensemble5-small", MINI, SONNET), (1, 2, 20), "numeric", votes=True),
)


class Line(NamedTuple):
    """Gain areas of one cell by split, without and with a kind of evidence."""

    cell: object
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def gain_areas(
    table: TraceTable, policy: str, settings: Settings, splits: int, **options: Any
) -> NDArray[np.float64]:
    """The gain area of a policy by split, half of the rows for training; NaN where there is none."""
    return areas_of_each(table, (policy,), settings, splits, **options)[policy]


def areas_of_each(
    table: TraceTable,
    policies: Sequence[str],
    settings: Settings,
    splits: int,
    *,
    query_router: ClassChoice = "none",
    **options: Any,
) -> dict[str, NDArray[np.float64]]:
    """The same of several policies on the same splits; `query_router` is that of `pomdp+query`."""
    objective = Objective("budget", float(table.mean_cost.mean()))
    column = table.class_column and table.class_column.name
    plans = pick_policies(",".join(policies), all_policies(table.tiers, query_router, (), objective, column))
    partitions = tuple(partitions_of(table, 0.5, repeat=splits))
    compared = bench(table, plans, settings, objective, partitions=partitions, **options)
    areas = {policy: compared.outcome(policy).by_split["gain_area"] for policy in policies}
    return {
        policy: np.array([np.nan if area is None else area for area in own]) for policy, own in areas.items()
    }


def measure(cell: Cell, splits: int) -> Line:
    """Both plans on the same splits."""
    table = cell.table()
    settings = Settings(max_votes=max(table.max_votes))
    areas = [
        gain_areas(table, "pomdp", replace(settings, agreement=agreement), splits)
        for agreement in (False, True)
    ]
    print(f"{cell}: done", file=sys.stderr, flush=True)
    return Line(cell, *areas)


def table_of_lines(lines: Iterable[Line], evidence: str) -> Iterator[str]:
    """A Markdown table, line by line as they come."""
    yield f"| gain area | without | with {evidence} | difference |"
    yield "|---|---|---|---|"
    for line in lines:
        cells = [_words(own) for own in (line.before, line.after, line.after - line.before)]
        yield f"| {line.cell} | {' | '.join(cells)} |"


def report(lines: list[Line]) -> Iterator[str]:
    """The table, and the mean differences of its parts."""
    yield from table_of_lines(lines, "agreement")
    for words, own in (("without votes", WITHOUT_VOTES), ("mmlupro", MMLUPRO), ("with votes", WITH_VOTES)):
        gains = [float((line.after - line.before).mean()) for line in lines if line.cell in own]
        if gains:
            yield f"\nmean difference, {words}: {np.mean(gains):+.2f} over {len(gains)} cells"


def _words(values: NDArray[np.float64]) -> str:
    return f"{values.mean():+.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", nargs="*", metavar="NAME")
    args = parser.parse_args()
    cells = [c for c in (*WITHOUT_VOTES, *MMLUPRO, *WITH_VOTES) if not args.only or c.name in args.only]
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    lines = [measure(cell, args.splits) for cell in cells]
    print(f"{args.splits} splits, half of the rows for training\n")
    print("\n".join(report(lines)))


if __name__ == "__main__":
    main()
