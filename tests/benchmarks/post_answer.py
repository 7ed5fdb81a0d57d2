"""Post-answer policies on recorded answers: what each gains over a random mix of two tiers.

    python tests/benchmarks/post_answer.py [--quick] [--seeds 10] [--only votes|confidence]

Prints two Markdown tables of gain areas (quality points, mean height of the curve above the line
from small to large) on held-out rows, paired over seeds, with standard errors:

- sets with recorded votes, 200 training rows, at several prices: `pomdp` against
  `pomdp:all-at-once`, `threshold`, `paper-pomdp` and, where AUTOMIX_LLM_PYTHON names the Python
  of an environment that holds it (see `automix_llm_child.py`), the package automix-llm itself;
- sets with a continuous confidence, 300 training rows: `pomdp` against `threshold`.

A curve is drawn on held-out rows through the settings that no other one beats among the
cross-fitted training points and the single tiers, each fitted on all training rows and replayed in
exact expectation over the orders of the votes. Recorded agreement between samples is replayed as
votes on a fixed answer: a stand-in. The recorded sets are looked for as `recorded` says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import CONFIDENT, VOTED, Recorded

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.crossfit import crossfit, singles
from automix_cli.evaluation.curves import Ends, gain_area
from automix_cli.evaluation.families import Family
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.objective import settings_worth_having
from automix_cli.evaluation.paper import PaperFamily
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.rule_families import FittedRules, ThresholdFamily
from automix_cli.evaluation.settings import Always, LeastCost, Setting
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import Rule

RATIOS = (50, 20, 10)
VOTE_PRICES = (1 / 8, 1 / 2)
MARGIN = 0.3  # quality points by which a rival may lead in one cell


# ------------------------------------------------------------------ the package itself


class Package:
    """A running `automix_llm_child.py`."""

    def __init__(self, python: str) -> None:
        child = Path(__file__).with_name("automix_llm_child.py")
        self.process = subprocess.Popen(
            [python, str(child)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, job: dict[str, Any]) -> Any:
        """Send a job, wait for the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass(frozen=True, kw_only=True)
class PackageFamily:
    """`paper-pomdp` as the package itself trains and decides it."""

    package: Package
    votes: int

    def fit(self, table: TraceTable) -> FittedRules:
        """Train the package for each least cost."""
        small, large = table.mean_cost
        share = table.votes[:, 0, 0] / self.votes
        least = [k / 20 for k in range(20)]
        job = {
            "rows": [table.score[:, 0].tolist(), table.score[:, 1].tolist(), share.tolist()],
            "prices": [small, large, self.votes * table.vote_cost[0, 0]],
            "least": [small + k * (large - small) for k in least],
            "asked": [c / self.votes for c in range(self.votes + 1)],
        }
        between = tuple((c + 0.5) / self.votes for c in range(self.votes))
        return FittedRules(
            settings=tuple(LeastCost(k) for k in least),
            rules=tuple((Rule(self.votes, between, tuple(line)),) for line in self.package.ask(job)),
        )

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Return the rule trained for one least cost."""
        fitted = self.fit(table)
        return fitted.policy(fitted.settings.index(setting))


# ------------------------------------------------------------------ one curve


class Split(NamedTuple):
    """Rows to learn from, and rows to measure on."""

    train: TraceTable
    test: TraceTable
    seed: int


def split(table: TraceTable, rows: int, seed: int) -> Split:
    """Draw training rows at random."""
    order = np.random.default_rng(seed).permutation(len(table))
    return Split(table.subset(order[:rows]), table.subset(order[rows:]), seed)


def gain(family: Family, part: Split) -> float:
    """Gain area on held-out rows of the curve that the training rows suggest."""
    train, test, seed = part
    fitted = family.fit(train)
    curve = crossfit(train, family, seed=seed, whole=fitted)
    chosen = [own.setting for own in settings_worth_having(curve, train.tiers, singles(train))]
    places = [fitted.settings.index(setting) for setting in chosen if not isinstance(setting, Always)]
    points = []
    if places:
        run = fitted.play(test, np.arange(len(test)), np.array(places))
        means = zip(run.cost.mean(axis=1).tolist(), run.score.mean(axis=1).tolist(), strict=True)
        points = [Point(cost, score) for cost, score in means]
    area = gain_area(points, Ends(*singles(test).points())).value
    assert area is not None, "the large tier costs more by construction"
    return area


def families(part: Split, votes: int, package: Package | None) -> Iterator[tuple[str, Family]]:
    """Yield every family that is compared, by name."""
    settings = Settings(max_votes=votes)
    yield "pomdp", PlanFamily(settings=settings)
    yield "threshold", ThresholdFamily(settings=settings, max_votes=votes)
    if votes:
        yield "pomdp:all-at-once", PlanFamily(settings=settings, at_once=True)
        yield "paper-pomdp", PaperFamily(max_votes=votes)
        if package:
            yield "automix-llm", PackageFamily(package=package, votes=votes)


# ------------------------------------------------------------------ all of them


class Cell(NamedTuple):
    """Gain areas at one price of one set: one line per seed, one column per family, `pomdp` first."""

    name: str
    ratio: int
    vote: float
    names: tuple[str, ...]
    gains: NDArray[np.float64]

    @property
    def leads(self) -> NDArray[np.float64]:
        """`pomdp` less each rival, per seed."""
        return np.asarray(self.gains[:, :1] - self.gains[:, 1:])


def measure(
    recorded: Recorded, rows: int, seeds: int, ratios: Sequence[int], package: Package | None
) -> Iterator[Cell]:
    """All prices of one set."""
    table = recorded.table()
    votes = table.max_votes[0]
    prices = [(r, v) for r in ratios for v in (VOTE_PRICES if votes else (0.0,))]
    gains: dict[tuple[int, float], list[list[float]]] = {price: [] for price in prices}
    names: tuple[str, ...] = ()
    for seed in range(seeds):
        part = split(table, rows, seed)
        for ratio, vote in prices:
            at = Split(
                recorded.priced(part.train, ratio, vote), recorded.priced(part.test, ratio, vote), seed
            )
            found = list(families(at, votes, package))
            names = tuple(name for name, _ in found)
            gains[ratio, vote].append([gain(family, at) for _, family in found])
        print(f"{recorded.name}: seed {seed} done", file=sys.stderr, flush=True)
    name = f"{recorded.name}: {recorded.small} → {recorded.large}"
    return (Cell(name, *price, names, np.array(areas)) for price, areas in gains.items())


def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of the mean over the first axis."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def report(cells: list[Cell]) -> Iterator[str]:
    """The Markdown table, and what was required."""
    pomdp, *rivals = cells[0].names
    yield "| set | price | vote | " + " | ".join([pomdp, *rivals]) + " | behind |"
    yield "|---|---|---|" + "---|" * (len(rivals) + 2)
    for cell in cells:
        lead, spread = cell.leads.mean(axis=0), error(cell.leads)
        behind = [n for n, x, e in zip(rivals, lead, spread, strict=True) if x < -max(MARGIN, 2 * e)]
        areas = [
            f"{a:.2f} ± {e:.2f}" for a, e in zip(cell.gains.mean(axis=0), error(cell.gains), strict=True)
        ]
        areas = areas[:1] + [
            f"{a} ({x:+.2f} ± {e:.2f})" for a, x, e in zip(areas[1:], lead, spread, strict=True)
        ]
        vote = f"{cell.vote:g}" if cell.vote else "-"
        yield f"| {cell.name} | 1:{cell.ratio} | {vote} | {' | '.join(areas)} | {', '.join(behind) or '-'} |"
    leads = np.mean([cell.leads for cell in cells], axis=0)
    means = np.mean([cell.gains for cell in cells], axis=0).mean(axis=0)
    last = [f"{means[0]:.2f}"] + [
        f"{a:.2f} ({x:+.2f} ± {e:.2f})"
        for a, x, e in zip(means[1:], leads.mean(axis=0), error(leads), strict=True)
    ]
    yield f"| mean over cells | | | {' | '.join(last)} | |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="3 seeds, one price ratio")
    parser.add_argument("--only", choices=["votes", "confidence"])
    args = parser.parse_args()
    seeds, ratios = (3, RATIOS[1:2]) if args.quick else (args.seeds, RATIOS)
    python = os.environ.get("AUTOMIX_LLM_PYTHON")
    package = Package(python) if python else None
    for kind, sets, rows in (("votes", VOTED, 200), ("confidence", CONFIDENT, 300)):
        present = [recorded for recorded in sets if recorded.path.exists()]
        if args.only in (None, kind) and present:
            cells = [cell for r in present for cell in measure(r, rows, seeds, ratios, package)]
            print(f"\n{rows} training rows, {seeds} seeds; gain area in quality points (lead of pomdp)\n")
            print("\n".join(report(cells)), flush=True)
        elif not present:
            print(f"no recorded sets with {kind} at hand: set AUTOMIX_DATA", file=sys.stderr)


if __name__ == "__main__":
    main()
