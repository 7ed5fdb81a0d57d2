"""Query-side routers on recorded answers: does routing by the question alone pay?

    python tests/benchmarks/query_routers.py [NAME ...] [--seed 0] [--draws 1000] [--drop-twins]

Recorded sets are looked for in AUTOMIX_DATA, else in ../shared/data beside the repository. For
each it fits every router on the training rows, chooses every setting there (on held-out folds of
those rows), and prints one Markdown table of what came of the other rows, with 95 % paired
bootstrap intervals; d and its interval are those of the verdict. Nothing that is learned or chosen
sees a held-out label: `learned` is given the training rows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from automix_cli.data.duplicates import near_duplicates
from automix_cli.data.oracle import oracle
from automix_cli.evaluation.bootstrap import BootstrapFigure, Interval, Resamples, interval
from automix_cli.evaluation.curves import Ends, gain_area
from automix_cli.evaluation.frontier import Point, hull, mix_quality
from automix_cli.evaluation.verdict import above_mix, correct_bias, verdict
from automix_cli.fitting.fit_query_router import FittedRouter, fit_router, require_sklearn
from automix_cli.fitting.query_router import Selection
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, QueryRouterKind
from automix_cli.pomdp.arrays import Floats, Ints

KEEP = 0.98
DATA = Path(os.environ.get("AUTOMIX_DATA") or Path(__file__).parents[2].parent / "shared" / "data")

# What a call costs, in USD per million tokens; the sets record no token counts, so all calls count alike.
PRICES = {
    "routellm_gsm8k": {"mixtral-8x7b-instruct": 0.24, "gpt-4-1106-preview": 24.7},  # as in RouteLLM
    "routellm_mmlu": {"mixtral-8x7b-instruct": 0.24, "gpt-4-1106-preview": 24.7},
    "llmrouter_9llms": {  # the set's own
        "gemma-2-9b-it": 0.1,
        "codegemma-7b": 0.2,
        "qwen2.5-7b-instruct": 0.2,
        "mistral-7b-instruct-v0.3": 0.2,
        "llama3-chatqa-1.5-8b": 0.2,
        "llama-3.1-8b-instruct": 0.2,
        "llama-3.3-nemotron-super-49b-v1": 0.9,
        "llama-3.1-nemotron-51b-instruct": 0.9,
        "llama3-chatqa-1.5-70b": 0.9,
    },
    "evouna_nq": {"chatgpt-3.5": 2.0, "text-davinci-003": 20.0, "gpt-4": 45.0},  # list prices of 2023
}


class Part(NamedTuple):
    """Some rows of a set: ids and questions, and n×N scores."""

    ids: list[str]
    texts: list[str]
    scores: Floats

    def some(self, rows: Ints) -> Part:
        """A part of the part."""
        return Part([self.ids[i] for i in rows], [self.texts[i] for i in rows], self.scores[rows])


def read(name: str) -> tuple[Part, list[str | None]]:
    """All rows of a set, with the split each belongs to."""
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    scores = [[row["tiers"][tier]["correct"] for tier in PRICES[name]] for row in rows]
    part = Part([row["id"] for row in rows], [row["question"] for row in rows], np.array(scores, dtype=float))
    return part, [row.get("split") for row in rows]


def cut(part: Part, splits: Sequence[str | None], seed: int) -> tuple[Part, Part]:
    """Training and held-out rows: the set's own split, else halves."""
    if splits[0] is not None:
        train = np.array([split == "train" for split in splits])
        return part.some(np.flatnonzero(train)), part.some(np.flatnonzero(~train))
    order = np.random.default_rng(seed).permutation(len(part.ids))
    half = len(order) // 2
    return part.some(np.sort(order[:half])), part.some(np.sort(order[half:]))


# ---------------------------------------------------------------- learned on training rows


class Settings(NamedTuple):
    """Places on the path of cost weights, chosen on held-out folds of the training rows.

    `kept`: the cheapest on the hull of settings and single tiers that keeps 98 % of the best tier's
    quality; None where only that tier itself does.
    `widest`: the one farthest above the random mixes of single tiers, of greatest d.
    """

    kept: int | None
    widest: int


class Learned(NamedTuple):
    """All that training rows decide; `best`, `small` and `large` are tiers."""

    fitted: dict[QueryRouterKind, FittedRouter]
    seconds: dict[QueryRouterKind, float]
    path: Floats
    settings: dict[tuple[QueryRouterKind, Selection], Settings]
    best: int
    small: int
    large: int


def learned(train: Part, costs: Floats, seed: int = 0) -> Learned:
    """Fit every router and choose its settings."""
    fitted, seconds, settings = {}, {}, {}
    path = np.array([0.0, *np.geomspace(0.002, 4, 41)]) / np.ptp(costs)
    means = train.scores.mean(axis=0)
    for kind in QUERY_ROUTER_KINDS:
        start = time.process_time()
        found = fitted[kind] = fit_router(kind, train.texts, train.scores, costs, seed=seed)
        seconds[kind] = time.process_time() - start
        for rule in found.router.rules:
            scores, spent = played(found, found.probs, rule, train, path)
            settings[kind, rule] = chosen(scores.mean(axis=0), spent.mean(axis=0), means, costs)
    best = int(np.lexsort((costs, -means))[0])
    small, large = int(np.lexsort((-means, costs))[0]), int(np.lexsort((-means, -costs))[0])
    return Learned(fitted, seconds, path, settings, best, small, large)


def chosen(qualities: Floats, spent: Floats, tiers: Floats, costs: Floats) -> Settings:
    """The settings that the points of a path, and those of the single tiers, suggest."""
    single, own = (
        [Point(round(c, 9), round(q, 9)) for c, q in zip(x, y, strict=True)]
        for x, y in ((costs.tolist(), tiers.tolist()), (spent.tolist(), qualities.tolist()))
    )
    corners = hull([*own, *single])
    enough = [k for k, point in enumerate(own) if point in corners and point.quality >= KEEP * tiers.max()]
    kept = min(enough, key=lambda k: own[k].cost, default=None)
    return Settings(kept, int(np.argmax(qualities - mix_quality(costs, tiers, spent))))


def played(
    found: FittedRouter, probs: Floats, rule: Selection, part: Part, path: Floats
) -> tuple[Floats, Floats]:
    """Score and cost of every row at every setting, n×K each."""
    rows, router = np.arange(len(probs)), found.router
    chosen = [router.choose(probs, rule, cost_weight=w, ids=part.ids) for w in path]
    return (
        np.stack([part.scores[rows, tier] for tier in chosen], axis=1),
        np.stack([router.costs[tier] for tier in chosen], axis=1),
    )


# ---------------------------------------------------------------- measured on held-out rows


class Line(NamedTuple):
    """One line of the table, as printed."""

    policy: str
    quality: str
    gain: str
    kept: str = ""
    widest: str = ""
    area: str = ""


HEADS = (
    "policy",
    "quality, λ = 0",
    "gain over best tier",
    "98 % kept: quality, cost, d",
    "greatest d",
    "gain area",
)


def points(value: float, bounds: Interval) -> str:
    """A difference in quality points with its interval."""
    return f"{100 * value:+.1f} [{100 * bounds.low:+.1f}, {100 * bounds.high:+.1f}]"


class Sheet:
    """Held-out rows on which everybody is measured, resampled once for all."""

    def __init__(
        self, test: Part, costs: Floats, tiers: Sequence[str], known: Learned, draws: int, seed: int
    ):
        self.test, self.costs, self.tiers, self.known = test, costs, tiers, known
        self.resamples = Resamples.of(np.arange(len(test.ids)), seed, draws)
        self.means, self.drawn = test.scores.mean(axis=0), self.resamples.means(test.scores)
        self.alone = np.hstack([test.scores, np.broadcast_to(costs, test.scores.shape)])
        self.read = {kind: found.router.predict(test.texts) for kind, found in known.fitted.items()}

    def lines(self) -> Iterator[Line]:
        """Single tiers, routers with their rules, bounds, oracle."""
        test, known = self.test, self.known
        for j, tier in enumerate(self.tiers):
            name = f"always:{tier}" + (" (best in training)" if j == known.best else "")
            yield self.fixed(name, test.scores[:, j])
        for kind, rule in known.settings:
            yield self.routed(kind, rule)
        for kind, found in known.fitted.items():
            yield self.fixed(f"bound:{kind}", found.router.bound(self.read[kind], test.scores).score)
        spread = np.broadcast_to(self.costs, test.scores.shape)
        yield self.fixed("oracle", oracle(test.scores, spread).score)

    def fixed(self, name: str, scores: Floats) -> Line:
        """The line of one policy without settings."""
        drawn, value, best = self.resamples.means(scores), float(scores.mean()), self.known.best
        bounds = interval(drawn)
        quality = f"{100 * value:.1f} [{100 * bounds.low:.1f}, {100 * bounds.high:.1f}]"
        return Line(name, quality, points(value - self.means[best], interval(drawn - self.drawn[:, best])))

    def routed(self, kind: QueryRouterKind, rule: Selection) -> Line:
        """The line of a router with one of its rules."""
        found, settings = self.known.fitted[kind], self.known.settings[kind, rule]
        scores, spent = played(found, self.read[kind], rule, self.test, self.known.path)
        name = kind if found.router.rules == ("argmax",) else f"{kind}:{rule}"
        kept = "the best tier alone" if settings.kept is None else self.setting(scores, spent, settings.kept)
        widest = self.setting(scores, spent, settings.widest)
        line = self.fixed(name, scores[:, 0])
        return line._replace(kept=kept, widest=widest, area=self.area(scores, spent))

    def setting(self, scores: Floats, spent: Floats, place: int) -> str:
        """Quality, share of the best tier's cost, d with its interval, and the verdict."""
        own = np.column_stack([scores[:, place], spent[:, place], self.alone])
        means, tiers = own.mean(axis=0), len(self.tiers)
        value = round(float(above_mix(means, tiers)), 12)
        edge = correct_bias(value, above_mix(self.resamples.means(own), tiers).round(12))
        share = f"{100 * means[1] / self.costs[self.known.best]:.0f} %"
        kind = verdict(edge, len(scores)).kind
        return f"{100 * means[0]:.1f}, {share}, {points(edge.value, Interval(*edge[1:]))}: {kind}"

    def area(self, scores: Floats, spent: Floats) -> str:
        """Mean height of the curve above the line from the cheapest to the dearest tier."""
        ends = (self.known.small, self.known.large)
        sides = [np.column_stack([np.full(len(self.drawn), self.costs[j]), self.drawn[:, j]]) for j in ends]
        draws = gain_area.draws(self.resamples.means(spent), self.resamples.means(scores), np.hstack(sides))
        held = np.column_stack([spent.mean(axis=0), scores.mean(axis=0)])
        small, large = (Point(float(self.costs[j]), float(self.means[j])) for j in ends)
        area = BootstrapFigure.of(gain_area(held, Ends(small, large)), draws).measure()
        return f"{area.value:+.1f} [{area.low:+.1f}, {area.high:+.1f}]"


def report(name: str, seed: int, draws: int, drop_twins: bool) -> None:
    """Print the table of one set."""
    part, splits = read(name)
    train, test = cut(part, splits, seed)
    costs, tiers = np.array(list(PRICES[name].values())), list(PRICES[name])
    twins = near_duplicates(train.texts, test.texts)
    print(f"\n### {name}: {len(train.ids)} training rows, {len(test.ids)} held out\n")
    print(
        f"Held-out questions that also stand in training: {len(twins.exact)} as they are, {len(twins.near)}"
        f" nearly ({twins.share:.1%}){', left out' if drop_twins else ''}. Seed {seed}; 95 % intervals of"
        f" {draws} paired bootstrap draws.\n"
    )
    if drop_twins:
        seen = [twin.test for twin in (*twins.exact, *twins.near)]
        test = test.some(np.setdiff1d(np.arange(len(test.ids)), seen))
    known = learned(train, costs, seed)
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
    for line in Sheet(test, costs, tiers, known, draws, seed).lines():
        print("| " + " | ".join(line) + " |")
    print()
    for kind, found in known.fitted.items():
        start, some = time.perf_counter(), test.texts[:200]
        for text in some:
            found.router.read([text])
        each = 1e3 * (time.perf_counter() - start) / len(some)
        size = len(json.dumps(found.router.to_dict()))
        print(
            f"- {kind}: fitted in {known.seconds[kind]:.1f} s, {each:.2f} ms a question, {size:,} characters"
        )


def main() -> None:
    """Read the options and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=", ".join(PRICES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--drop-twins", action="store_true", help="leave out held-out rows with a twin")
    options = parser.parse_args()
    require_sklearn()
    for name in options.names or PRICES:
        if (DATA / f"{name}.jsonl").exists():
            report(name, options.seed, options.draws, options.drop_twins)
        else:
            print(f"{name}: skipped, not in {DATA} (set AUTOMIX_DATA)", file=sys.stderr)


if __name__ == "__main__":
    main()
