"""All policies that look at answers, over random splits of recorded sets: who leads `pomdp` at equal cost?

    python tests/benchmarks/splits.py [--splits 10] [--budgets 0.25 0.5 0.75] [--only NAME ...]

Each set with votes (at 1/8 of the small tier's price) or with a continuous confidence is split at
random, as `automix bench --split --repeat` does; every policy chooses its settings on the training
rows (the best for each budget, given as the share of the way from the small tier's cost to the
large one's) and is measured on the others. Two Markdown tables with standard errors
over the splits: quality points by which each policy stands above the curve of `pomdp` at its own
cost, and gain areas. The recorded sets are looked for as `recorded` says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import CONFIDENT, VOTED, Recorded

from automix_cli.evaluation.bench import Bench, bench
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.partition import partitions_of
from automix_cli.evaluation.policies import all_policies, pick_policies
from automix_cli.fitting.router_block import Settings

RIVALS = ("self-consistency", "threshold", "double-threshold", "paper-pomdp", "pomdp:all-at-once")
VOTE = 1 / 8
MARGIN = 0.3  # quality points by which a rival may lead


class Line(NamedTuple):
    """One set: per policy (`pomdp` last) and split, NaN for none.

    `leads` maps a budget to the leads over `pomdp`, `area` holds the gain areas.
    """

    name: str
    leads: dict[float, NDArray[np.float64]]
    area: NDArray[np.float64]


def compared(recorded: Recorded, ratio: float, splits: int, share: float, budgets: Sequence[float]) -> Line:
    """Everybody on one set."""
    table = recorded.table()
    votes = table.max_votes[0]
    table = recorded.priced(table, ratio, VOTE if votes else 0.0)
    seated = pick_policies(",".join([*RIVALS, "pomdp"]), all_policies(table.tiers, "none"))
    settings, cuts = Settings(max_votes=votes), partitions_of(table, share, repeat=splits)
    leads = {}
    for budget in budgets:
        objective = Objective("budget", 1 + budget * (ratio - 1))
        found = bench(table, seated, settings, objective, partitions=cuts)
        leads[budget] = _by_split(found, "lead")
    print(f"{recorded.name}: done", file=sys.stderr, flush=True)
    return Line(f"{recorded.name}: {recorded.small} → {recorded.large}", leads, _by_split(found, "gain_area"))


def _by_split(found: Bench, measure: str) -> NDArray[np.float64]:
    rows = [found.outcome(name).by_split[measure] for name in (*RIVALS, "pomdp")]
    return np.array([[np.nan if x is None else x for x in row] for row in rows])


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over splits and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def report(lines: Sequence[Line]) -> Iterator[str]:
    """Both tables."""
    yield f"| lead over pomdp at equal cost | budget | {' | '.join(RIVALS)} | ahead |"
    yield "|---|---|" + "---|" * (len(RIVALS) + 1)
    for line in lines:
        for budget, leads in line.leads.items():
            found = [mean_and_error(own) for own in leads[:-1]]
            ahead = [n for n, (x, e) in zip(RIVALS, found, strict=True) if x > max(MARGIN, 2 * e)]
            cells = " | ".join(f"{x:+.2f} ± {e:.2f}" for x, e in found)
            yield f"| {line.name} | {budget:.0%} | {cells} | {', '.join(ahead) or '-'} |"
    yield ""
    yield f"| gain area | {' | '.join([*RIVALS, 'pomdp'])} |"
    yield "|---|" + "---|" * (len(RIVALS) + 1)
    for line in lines:
        areas = [mean_and_error(own) for own in line.area]
        cells = " | ".join("-" if np.isnan(x) else f"{x:.2f} ± {e:.2f}" for x, e in areas)
        yield f"| {line.name} | {cells} |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--ratio", type=float, default=20)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.25, 0.5, 0.75], metavar="SHARE")
    parser.add_argument("--only", nargs="*", metavar="NAME")
    args = parser.parse_args()
    sets = [r for r in (*VOTED, *CONFIDENT) if r.path.exists() and (not args.only or r.name in args.only)]
    if not sets:
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    lines = [compared(r, args.ratio, args.splits, args.share, args.budgets) for r in sets]
    print(
        f"{args.splits} splits, {args.share:.0%} of the rows for training, prices 1:{args.ratio:g}, "
        f"a vote {VOTE:g}\n"
    )
    print("\n".join(report(lines)))


if __name__ == "__main__":
    main()
