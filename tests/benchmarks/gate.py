"""How often `bench --against` is wrong, and what it catches.

    python tests/benchmarks/gate.py intervals [--runs 600]     of four intervals, in worlds that are known
    python tests/benchmarks/gate.py power [--runs 600]         stated power beside simulated gates
    python tests/benchmarks/gate.py whole [--runs 60]          policies trained anew on other answers
    python tests/benchmarks/gate.py recorded [--runs 60]       recorded sets, answers hidden and swapped
    python tests/benchmarks/gate.py table                      the losses that are caught in 8 of 10 runs

`intervals`: per cent of runs in which the lower bound lies above the true change, and the upper one
below it. 2.5 is the most that either may be. `plain` is the bootstrap by question; `half` and `whole` have
half a question and a whole one more at the far end of the scale; `betting` is that of `sequences.py`.

`whole`: two runs of `bench` on the same questions, each with answers and votes drawn anew from the
same model, or, in the second, with a large tier that is 2 points worse; both gates are `>=0` and
`>=-0.01`. `recorded` does it with the two Llama generations of one set: in a row of the second run they are
swapped or not by a coin, so that nothing changed on average; then correct answers of large are
made wrong in 2 of 100 rows. The recorded sets are looked for as `recorded.py` says. Beside a share of pairs
stands its exact 95 % interval, and beside those with a loss the mean of what `chance_to_catch` states.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from comparisons import compared
from known import draw_rows, table_of, two_tiers
from recorded import DATA

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.against import compare_runs
from automix_cli.evaluation.choice_luck import luck_of_two
from automix_cli.evaluation.gates import read_gates
from automix_cli.evaluation.paired import (
    PairedSums,
    chance_to_catch,
    paired_interval,
    smallest_loss_caught,
)
from automix_cli.evaluation.run_lines import RunLines
from automix_cli.evaluation.sequences import capital
from automix_cli.views.bench_files import run_lines

World = tuple[tuple[float, ...], tuple[float, ...]]
WORLDS: dict[str, World] = {
    "1 % lost, 1 % won": ((-1, 0, 1), (0.01, 0.98, 0.01)),
    "3 % lost, 3 % won": ((-1, 0, 1), (0.03, 0.94, 0.03)),
    "10 % lost, 10 % won": ((-1, 0, 1), (0.1, 0.8, 0.1)),
    "1 % lost": ((-1, 0), (0.01, 0.99)),
    "2 % lost, 1 % won": ((-1, 0, 1), (0.02, 0.97, 0.01)),
    "graded": ((-1, -0.3, -0.1, 0, 0.1, 0.3, 0.5), (0.02, 0.05, 0.1, 0.66, 0.1, 0.05, 0.02)),
    "1 % lost, 10 % a little better": ((-1, 0, 0.1), (0.01, 0.89, 0.1)),
}
ROWS = (50, 100, 300, 1000)
EXTRA = {"plain": 0.0, "half": 0.5, "whole": 1.0}
GATES = ("quality_delta>=0", "quality_delta>=-0.01")
PLANTED = 0.02
VERDICTS = ("missed", "cannot tell", "met")


class Missed(NamedTuple):
    """Whether an interval lies above the truth, and below it."""

    above: bool
    below: bool


def sums_of(change: np.ndarray) -> PairedSums:
    return PairedSums(change, np.ones(len(change)), 1.0, 1.0)


# ------------------------------------------------------------------ intervals and power


def misses(change: np.ndarray, truth: float, rng: np.random.Generator) -> dict[str, Missed]:
    own = {name: paired_interval(sums_of(change), extra=extra) for name, extra in EXTRA.items()}
    missed = {name: Missed(low > truth + 1e-9, high < truth - 1e-9) for name, (low, high) in own.items()}
    drawn = rng.permutation(change)
    bets = capital(drawn - truth, 1 + truth) >= 40, capital(truth - drawn, 1 - truth) >= 40
    return {**missed, "betting": Missed(*bets)}


def intervals(runs: int) -> None:
    print(f"| rows | world | {' | '.join((*EXTRA, 'betting'))} |")
    for rows in ROWS:
        for name, (values, chances) in WORLDS.items():
            rng, truth = np.random.default_rng(3), float(np.dot(values, chances))
            drawn = rng.multinomial(rows, np.array(chances) / sum(chances), size=runs)
            own = [misses(np.repeat(np.array(values, float), counts), truth, rng) for counts in drawn]
            cells = [
                f"{100 * np.mean([o[kind].above for o in own]):.1f} / "
                f"{100 * np.mean([o[kind].below for o in own]):.1f}"
                for kind in (*EXTRA, "betting")
            ]
            print(f"| {rows} | {name} | {' | '.join(cells)} |", flush=True)


def power(runs: int) -> None:
    print("| rows | differ | loss | bar | stated | simulated |")
    for rows, differing, loss, bar in (
        *((400, 0.06, 0.02, 0.0), (400, 0.06, 0.04, 0.0), (400, 0.06, 0.02, -0.01), (1000, 0.06, 0.02, 0.0)),
        *((200, 0.1, 0.05, 0.0), (100, 0.3, 0.1, 0.0), (2000, 0.1, 0.02, -0.01), (100, 0.06, 0.06, 0.0)),
    ):
        shares = [(differing + loss) / 2, (differing - loss) / 2, 1 - differing]
        drawn = np.random.default_rng(5).multinomial(rows, shares, size=runs)
        caught = [
            paired_interval(sums_of(np.repeat([-1.0, 1.0, 0.0], counts))).high < bar for counts in drawn
        ]
        stated = chance_to_catch(rows, differing, loss, bar)
        print(
            f"| {rows} | {differing:.0%} | {loss:.0%} | {bar} | {stated:.2f} | {np.mean(caught):.2f} |",
            flush=True,
        )


def table(runs: int) -> None:
    """The losses in points that the gate `>=0` catches in 8 of 10 runs."""
    shares = (0.02, 0.06, 0.1, 0.2)
    print(f"| paired rows | {' | '.join(f'{share:.0%} differ' for share in shares)} |")
    for rows in (100, 200, 400, 1000, 2000, 5000):
        losses = [smallest_loss_caught(rows, share) for share in shares]
        print(
            f"| {rows:,} | {' | '.join('–' if x is None else f'{100 * x:.1f}' for x in losses)} |", flush=True
        )


# ------------------------------------------------------------------ whole runs of bench


def lines_of(rows: TraceTable) -> RunLines:
    """The chosen settings of a run of `bench`."""
    own = RunLines("run")

    def take(run: Any) -> None:
        for line in run_lines(run):
            own.add(json.loads(line), "run")

    compared(rows, "threshold,pomdp", runs="chosen", on_run=take)
    return own


class Verdicts(NamedTuple):
    """What the gates say of a run beside an earlier one: as it is, and with a loss planted in it.

    Attributes:
        stated: by gate, the chance with which such a loss is caught, as `bench` states it.
    """

    unchanged: list[str]
    lost: list[str]
    stated: list[float]


def verdicts(here: list[dict[str, Any]], there: list[dict[str, Any]], seed: int, *tiers: str) -> Verdicts:
    """Judge a run of `bench` on rows, and one on the same rows where these tiers have lost answers."""
    lost = here
    for tier in tiers:
        lost = worse(lost, tier, PLANTED, seed)
    unchanged, planted, old = (lines_of(table_of(rows)) for rows in (here, lost, there))
    stated = [_stated(planted, old, gate.value) for gate in read_gates(",".join(GATES))]
    return Verdicts(_judge(unchanged, old), _judge(planted, old), stated)


def _judge(new: RunLines, old: RunLines) -> list[str]:
    groups = {key: i for i, key in enumerate(sorted(new.keys()))}
    gates = read_gates(",".join(GATES))
    return [change.verdict for change in compare_runs(new, old, gates, "pomdp", groups).changes]


def _stated(new: RunLines, old: RunLines, bar: float) -> float:
    """The power that two runs state against a loss of `PLANTED`."""
    luck = luck_of_two(new.choices["pomdp"], old.choices["pomdp"], "quality")
    here, there = new.policies["pomdp"], old.policies["pomdp"]
    changes = np.array([here[key].means[0] - there[key].means[0] for key in here.keys() & there.keys()])
    spread = max(float((changes**2).mean()), PLANTED)
    return chance_to_catch(len(changes), spread, PLANTED, bar, luck=luck.moves, effect=luck.effect)


def worse(rows: list[dict[str, Any]], tier: str, share: float, seed: int) -> list[dict[str, Any]]:
    """The rows with this share of all made wrong, out of those that the tier has right."""
    rng, tiers = np.random.default_rng(seed), [row["tiers"][tier] for row in rows]
    right = [i for i, own in enumerate(tiers) if own["score"]]
    hidden = set(rng.choice(right, round(share * len(rows)), replace=False).tolist())
    return [
        {**row, "tiers": {**row["tiers"], tier: {**row["tiers"][tier], "score": 0}}} if i in hidden else row
        for i, row in enumerate(rows)
    ]


def drawn_worlds(rows: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Two runs on the same questions: what tiers are right on stays, votes and one answer in 20 are new."""
    first, votes = draw_rows(two_tiers(), rows, 2 * seed), draw_rows(two_tiers(), 4 * rows, 2 * seed + 1)
    rng = np.random.default_rng(seed)
    by_score: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for row in votes:
        by_score[row["tiers"]["small"]["score"]].append(row["tiers"]["small"])
    for _ in range(2):
        own = []
        for row in first:
            small, large = (
                1 - row["tiers"][t]["score"] if rng.random() < 0.05 else row["tiers"][t]["score"]
                for t in ("small", "medium")
            )
            drawn = by_score[small][rng.integers(len(by_score[small]))]
            own.append(
                {**row, "tiers": {"small": drawn, "medium": {**row["tiers"]["medium"], "score": large}}}
            )
        yield own


def whole(runs: int) -> None:
    for rows in (400, 1000):
        own = [verdicts(*drawn_worlds(rows, seed), seed, "medium", "small") for seed in range(runs)]
        report(f"{rows} rows, {rows // 2} held out, nothing changed", [one.unchanged for one in own])
        name = f"{rows} rows, {rows // 2} held out, both tiers {100 * PLANTED:g} points worse"
        report(name, [one.lost for one in own], [one.stated for one in own])


def recorded(runs: int) -> None:
    if not DATA.exists():
        print("no recorded sets: AUTOMIX_DATA names their folder")
        return
    first, second = (_llama(name) for name in ("automix_repl_selfverify", "automix_repl_logprob"))
    names = sorted(first.keys() & second.keys())
    for rows in (400, 1000):
        own = list[Verdicts]()
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            ids = rng.choice(names, rows, replace=False)
            coins = rng.random(rows) < 0.5
            here = [_row(i, first if coin else second, first) for i, coin in zip(ids, coins, strict=True)]
            there = [_row(i, second if coin else first, first) for i, coin in zip(ids, coins, strict=True)]
            own.append(verdicts(here, there, seed, "large", "small"))
        name = f"cnli, {rows} rows, {rows // 2} held out"
        report(f"{name}, generations swapped by a coin", [one.unchanged for one in own])
        report(
            f"{name}, and {100 * PLANTED:g} points hidden",
            [one.lost for one in own],
            [one.stated for one in own],
        )


def _llama(name: str) -> dict[str, dict[str, Any]]:
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {str(row["id"]): row["tiers"] for row in rows if row.get("dataset") == "cnli"}


def _row(name: str, own: dict[str, Any], votes: dict[str, Any]) -> dict[str, Any]:
    """A row with one generation's answer, and the votes that were recorded (of the first alone)."""
    small, large = own[name]["llama-3.1-8b-instruct"], votes[name]["gpt-5"]
    bag = votes[name]["llama-3.1-8b-instruct"]["votes"]
    score = small.get("score", small.get("correct"))
    return {
        "id": str(name),
        "tiers": {
            "small": {"score": score, "votes": bag, "cost": 1.0, "vote_cost": 0.125},
            "large": {"score": large.get("score", large.get("correct")), "cost": 20.0},
        },
    }


def report(name: str, own: list[list[str]], stated: list[list[float]] | None = None) -> None:
    for i, gate in enumerate(GATES):
        verdicts_of_gate = [one[i] for one in own]
        shares = {v: f"{100 * np.mean([one == v for one in verdicts_of_gate]):.1f} %" for v in VERDICTS}
        low, high = exact_interval(verdicts_of_gate.count("missed"), len(own))
        shares["missed"] += f" of {len(own)} ({100 * low:.1f} to {100 * high:.1f})"
        power = "" if stated is None else f"; stated {100 * np.mean([one[i] for one in stated]):.1f} %"
        print(f"{name}; {gate}: {', '.join(f'{v} {s}' for v, s in shares.items())}{power}", flush=True)


def exact_interval(count: int, runs: int) -> tuple[float, float]:
    """The 95 % interval of Clopper and Pearson of a share, by its beta quantiles."""
    rng = np.random.default_rng(0)
    low = np.quantile(rng.beta(count, runs - count + 1, 200_000), 0.025) if count else 0.0
    high = np.quantile(rng.beta(count + 1, runs - count, 200_000), 0.975) if count < runs else 1.0
    return float(low), float(high)


PARTS: dict[str, Callable[[int], None]] = {
    own.__name__: own for own in (intervals, power, table, whole, recorded)
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--runs", type=int, help="how often (default: 60 of whole runs, else 600)")
    options = parser.parse_args()
    PARTS[options.part](options.runs or (60 if options.part in ("whole", "recorded") else 600))
