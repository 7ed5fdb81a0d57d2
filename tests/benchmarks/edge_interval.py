"""Coverage of the interval of d for fixed policies, whose edge is known exactly.

    python tests/benchmarks/edge_interval.py [--runs 1000] [--cells tied] [--rows 50 100 300 1000] [--jobs 2]

d is a policy's quality above the best random mix of single tiers that costs no more. Nothing is
fitted here: each policy is fixed, rows are drawn from a world whose means are computed, and the
interval is that of the verdict. Hulls are clear, or tied: two mixes, or two tiers, equally good.
On each hull there are three policies: a coin between two tiers (edge 0), a cascade whose signal is
just worth its cost (edge 0), and a cascade 3 points above the mixes. Prints coverage, wrong
"route" where the edge is 0, wrong "do not route" where it is above 1 point, and the bars; the exit
status is 1 where a bar is missed.

`--interval percentile` measures the plain percentile interval of the draws instead, for comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from runs import is_picked, option_parser, processes, rate_text, run_all, table_head, table_line
from worlds import common_difficulty

from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.frontier import Point, edge, mix_quality
from automix_cli.pomdp.arrays import Floats

ROWS = (50, 100, 300, 1000)
COVERAGE = {50: 0.90, 100: 0.91, 300: 0.91, 1000: 0.925}  # at least, in every world
MEAN_COVERAGE = 0.93  # at least, over the worlds, from 100 rows
WRONG_ROUTE = {50: 0.06, 100: 0.05, 300: 0.04, 1000: 0.04}  # at most, in every world of edge 0
MARGIN = 0.01  # an upper bound below it says "do not route"
ROUNDING_ERROR = 1e-9
SPREAD = 0.5  # of the logarithm of a row's length, with which all its costs rise
VOTE_COST = 0.3


class Hull(NamedTuple):
    """Rates and mean costs of tiers, and the shares of a coin between two of them that lies on the hull."""

    name: str
    rates: tuple[float, ...]
    costs: tuple[float, ...]
    coin: tuple[float, ...]


HULLS = (
    Hull("2 tiers, clear", (0.6, 0.85), (1.0, 20.0), (0.5, 0.5)),
    Hull("2 tiers, tied: equally good", (0.8, 0.8), (1.0, 20.0), (0.5, 0.5)),
    Hull("3 tiers, clear", (0.55, 0.78, 0.85), (1.0, 5.0, 20.0), (0.0, 0.5, 0.5)),
    Hull("3 tiers, tied: equal mixes", (0.55, 0.7, 0.85), (1.0, 10.5, 20.0), (0.5, 0.0, 0.5)),
    Hull("3 tiers, tied: two equally good", (0.6, 0.8, 0.8), (1.0, 5.0, 20.0), (0.0, 0.5, 0.5)),
)
# P(c of 4 votes say CORRECT): beta-binomial with (1, 4) for wrong answers and (4, 1) for right ones.
SIGNAL = np.array(
    [
        [np.float64(0.5), np.float64(0.2857), np.float64(0.1429), np.float64(0.0571), np.float64(0.0143)],
        [np.float64(0.0143), np.float64(0.0571), np.float64(0.1429), np.float64(0.2857), np.float64(0.5)],
    ]
)
SIGNAL /= SIGNAL.sum(axis=1, keepdims=True)
# The chance that each tier is reported after c votes; a tier that is not the first is asked besides it.
CASCADES = {
    2: np.array([[0.0, 1.0], [0.0, 1.0], [0.4, 0.6], [0.9, 0.1], [1.0, 0.0]]),
    3: np.array([[0.0, 0.3, 0.7], [0.0, 0.8, 0.2], [0.2, 0.8, 0.0], [0.8, 0.2, 0.0], [1.0, 0.0, 0.0]]),
}


class World(NamedTuple):
    """A joint law of states and signals, and a policy.

    Attributes:
        name: of hull and policy.
        costs: N, mean costs of the tiers.
        right: K×N, which tiers are right in each outcome.
        chance: K, of each outcome.
        report: K×N, the chance that each tier is reported there.
        price: K, the policy's cost there.
        truth: d, exactly.
        is_drawn: whether each row gets one report at random instead of the mean over reports.
    """

    name: str
    costs: Floats
    right: Floats
    chance: Floats
    report: Floats
    price: Floats
    truth: float
    is_drawn: bool = False

    def interval(self, rows: int, seed: int, resamples: Resamples, edge_of: EdgeOf) -> EdgeInterval:
        """Draw rows and compute the interval."""
        rng = np.random.default_rng(seed)
        at = rng.choice(len(self.chance), size=rows, p=self.chance)
        length = np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, rows))
        report = self.report[at]
        if self.is_drawn:
            tier = (rng.random((rows, 1)) > report.cumsum(axis=1)[:, :-1]).sum(axis=1)
            report = np.eye(len(self.costs))[tier]
            price = self.costs[tier]
        else:
            price = self.price[at]
        score = (report * self.right[at]).sum(axis=1)
        return EdgeInterval(
            *edge_of(score, price * length, self.right[at], length[:, None] * self.costs, resamples)
        )


class EdgeInterval(NamedTuple):
    """d and the bounds of its interval."""

    value: float
    low: float
    high: float


EdgeOf = Callable[[Floats, Floats, Floats, Floats, Resamples], tuple[float, float, float]]


def percentile_edge(
    score: Floats, cost: Floats, tier_scores: Floats, tier_costs: Floats, resamples: Resamples
) -> tuple[float, float, float]:
    """d with the percentile interval of its draws, without a correction of bias."""
    n = tier_scores.shape[1]
    columns = np.column_stack([score, cost, tier_scores, tier_costs])
    means, draws = columns.mean(axis=0), resamples.means(columns)

    def edges(part: Floats) -> Floats:
        return np.asarray(part[..., 0] - mix_quality(part[..., 2 + n :], part[..., 2 : 2 + n], part[..., 1]))

    low, high = np.quantile(edges(draws), (0.025, 0.975))
    return float(edges(means)), float(low), float(high)


def interval_named(name: str) -> EdgeOf:
    """The function that computes the interval."""
    if name == "percentile":
        return percentile_edge
    from automix_cli.evaluation.verdict import edge_of

    return edge_of


# ------------------------------------------------------------------ the worlds


@cache
def worlds() -> tuple[World, ...]:
    """All hulls with their three policies."""
    return tuple(world for hull in HULLS for world in _policies(hull))


def _policies(hull: Hull) -> Iterator[World]:
    coin = _world(hull, "a coin", np.tile(hull.coin, (5, 1)), noise=1.0)
    yield coin._replace(price=coin.report @ coin.costs, truth=0.0, is_drawn=True)
    for words, target in (("a cascade at break-even", 0.0), ("a cascade that pays", 0.03)):
        yield _world(hull, words, CASCADES[len(hull.rates)], noise=_noise_for(hull, target))


def _noise_for(hull: Hull, target: float) -> float:
    """How often the signal must be replaced by noise, for the cascade to have this edge."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        pays = _world(hull, "", CASCADES[len(hull.rates)], noise=middle).truth > target
        low, high = (middle, high) if pays else (low, middle)
    return high


def _world(hull: Hull, words: str, rule: Floats, noise: float) -> World:
    """The joint law of state and signal under a rule that goes by the signal."""
    n = len(hull.rates)
    states, costs = (np.arange(2**n)[:, None] >> np.arange(n)) & 1, np.array(hull.costs)
    prior = np.array(common_difficulty(hull.rates))
    signal = SIGNAL[states[:, 0]]
    signal = (1 - noise) * signal + noise * (prior @ signal)
    report = np.tile(rule, (len(states), 1))
    chance = (prior[:, None] * signal).ravel()
    right = np.repeat(states, SIGNAL.shape[1], axis=0).astype(float)
    price = costs[0] + VOTE_COST + report[:, 1:] @ costs[1:]
    point = Point(float(chance @ price), float(chance @ (report * right).sum(axis=1)))
    truth = edge(point, [Point(*pair) for pair in zip(hull.costs, hull.rates, strict=True)])
    return World(f"{hull.name}; {words}", costs, right, chance / chance.sum(), report, price, truth)


# ------------------------------------------------------------------ the measurement


class Task(NamedTuple):
    """One run: rows of every world that is asked for, under the same resamples."""

    rows: int
    seed: int
    interval: str
    cells: tuple[str, ...]


def measure(task: Task) -> list[EdgeInterval]:
    """The intervals of all worlds in one run; within a world the runs are independent."""
    resamples, edge_of = Resamples.of(np.arange(task.rows), task.seed), interval_named(task.interval)
    places = [k for k, world in enumerate(worlds()) if is_picked(world.name, task.cells)]
    seeds = [1_000_003 * (k + 1) + task.seed for k in places]
    return [
        worlds()[k].interval(task.rows, seed, resamples, edge_of)
        for k, seed in zip(places, seeds, strict=True)
    ]


class Line(NamedTuple):
    """The counts of one world at one number of rows."""

    world: World
    rows: int
    runs: int
    hits: int
    route: int
    do_not: int
    bias: float
    width: float

    @classmethod
    def of(cls, world: World, rows: int, intervals: Sequence[EdgeInterval]) -> Line:
        """Count over the runs of a world."""
        return cls(
            world,
            rows,
            len(intervals),
            sum(e.low - ROUNDING_ERROR <= world.truth <= e.high + ROUNDING_ERROR for e in intervals),
            sum(e.low > ROUNDING_ERROR for e in intervals),
            sum(e.high < MARGIN for e in intervals),
            float(np.mean([e.value for e in intervals])) - world.truth,
            float(np.mean([e.high - e.low for e in intervals])),
        )

    @property
    def coverage(self) -> float:
        """The share of intervals that hold the truth."""
        return self.hits / self.runs

    @property
    def wrong_route(self) -> float | None:
        """The share that says "route" at edge 0; None in other worlds."""
        return self.route / self.runs if abs(self.world.truth) < 1e-6 else None

    def text(self) -> str:
        """The line of the table."""
        wrong = "-" if self.wrong_route is None else rate_text(self.route, self.runs)
        too_low = rate_text(self.do_not, self.runs) if self.world.truth > MARGIN else "-"
        right = "-" if self.wrong_route is not None else f"{self.route / self.runs:.1%}"
        points = (f"{100 * x:+.2f}" for x in (self.world.truth, self.bias, self.width))
        coverage = rate_text(self.hits, self.runs)
        return table_line(self.world.name, self.rows, *points, coverage, wrong, right, too_low)


def bars(lines: Sequence[Line]) -> Iterator[tuple[str, bool]]:
    """Each bar in words, and whether it is met."""
    for rows in sorted({line.rows for line in lines}):
        here = [line for line in lines if line.rows == rows]
        worst = min(here, key=lambda line: line.coverage)
        least = COVERAGE.get(rows, 0.91)
        words = f"{rows:,} rows: least coverage {worst.coverage:.1%} ({worst.world.name}), bar {least:.1%}"
        yield words, worst.coverage >= least
        mean = float(np.mean([line.coverage for line in here]))
        if rows >= 100:
            yield f"{rows:,} rows: mean coverage {mean:.1%}, bar {MEAN_COVERAGE:.1%}", mean >= MEAN_COVERAGE
        wrong = [(line.wrong_route, line.world.name) for line in here if line.wrong_route is not None]
        if wrong:
            (rate, name), most = max(wrong), WRONG_ROUTE.get(rows, 0.04)
            yield f'{rows:,} rows: most wrong "route" {rate:.1%} ({name}), bar {most:.1%}', rate <= most


def main() -> int:
    """Run and print."""
    parser = option_parser(__doc__, runs=1000)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, metavar="N")
    parser.add_argument("--interval", choices=("verdict", "percentile"), default="verdict")
    args = parser.parse_args()
    names = ("world", "rows", "edge", "bias of d", "width", "coverage", 'wrong "route"', '"route"')
    print(table_head(*names, 'wrong "do not route"'))
    selection = [world for world in worlds() if is_picked(world.name, args.cells)]
    lines, seconds = [], 0.0
    with processes(args.jobs) as pool:
        for rows in args.rows:
            tasks = [Task(rows, args.seed + k, args.interval, tuple(args.cells)) for k in range(args.runs)]
            runs = run_all(pool, measure, tasks, chunk=10)
            seconds += runs.seconds
            own = [
                Line.of(world, rows, [run[k] for run in runs.results]) for k, world in enumerate(selection)
            ]
            print("\n".join(line.text() for line in own), flush=True)
            lines += own
    verdicts = list(bars(lines))
    print("\n" + "\n".join(f"- {'met' if is_met else 'MISSED'}: {words}" for words, is_met in verdicts))
    print(f"\n{args.runs} runs a cell, seeds from {args.seed}, {args.interval}, {seconds:.0f} CPU seconds")
    return 0 if all(is_met for _, is_met in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
